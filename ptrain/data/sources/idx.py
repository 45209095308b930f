"""IDX files, the format of MNIST and its relatives, gzip or not.

A file is: two zero bytes, a code of the type, the number of dimensions, every dimension as a big-endian 32-bit number,
then the values, big-endian. Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section "File formats".
"""

import gzip
import math
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from ptrain.data.samples import Samples, Source, check_shape, make_samples
from ptrain.data.sources.names import split_of
from ptrain.data.store.reading import need_content, no_values, reading
from ptrain.data.store.stream import Request
from ptrain.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_FILE = re.compile(
    r"(?P<stem>.*[-_.])?(?P<split>train|t10k|test|val|valid|validation)[-_.](?P<what>images|labels)[-_.]idx\d+(-\w+)?(?P<gz>\.gz)?$",
    re.I,
)
_CHUNK = 16 * 2**20
_KIND = "an IDX file"


def open_idx(spec: str, _: Request) -> Source:
    """Samples of a folder with train-images-idx3-ubyte, train-labels-idx1-ubyte and their like.

    The test pair, t10k-... or test-..., may be missing; then the test split is cut from the training samples. There may
    be a pair for validation, val-....
    """
    folder = Path(spec).expanduser()
    return read_folder(folder, name=f"idx:{folder}", description=f"IDX files of {folder}")


def read_folder(folder: Path, *, name: str, description: str, class_names: tuple[str, ...] | None = None) -> Source:
    """The samples of a folder of IDX files under a name of their own."""
    found = find_files(folder)
    for what, ending in (("images", "images-idx3-ubyte"), ("labels", "labels-idx1-ubyte")):
        if ("train", what) not in found:
            raise DataError(
                f"{folder}: no training {what}; expected a file such as train-{ending} or the same with .gz: check the "
                "folder and its file names"
            )
        for split in ("validation", "test"):
            if ("train", what) in found and sum(key[0] == split for key in found) == 1 and (split, what) not in found:
                like = f"{'val' if split == 'validation' else 't10k'}-{ending}"
                raise DataError(
                    f"{folder}: {split} split without {what}; expected a file such as {like}[.gz]: add it, or remove "
                    "the other file of the pair"
                )
    train, image_shape = _pair(found, "train")
    held_out: dict[str, Any] = {}
    for split in ("validation", "test"):
        if (split, "images") in found:
            held_out[split], shape = _pair(found, split)
            check_shape(shape, image_shape, held_out[split].origin)
    return Source(
        name=name,
        description=description,
        train=train,
        **held_out,
        image_shape=image_shape,
        feature_range=(0, 255) if train.features.dtype == np.uint8 else None,
        class_names=class_names,
    )


def find_files(folder: Path) -> dict[tuple[str, str], Path]:
    """The files of a folder by split (train, validation, test) and content (images, labels).

    Of a file and its .gz the plain one is taken. Raises DataError where two data sets are in one folder.
    """
    with reading(folder, "a folder of IDX files"):
        matches = [(path, match) for path in sorted(folder.iterdir()) if (match := _FILE.match(path.name))]
    found: dict[tuple[str, str], Path] = {}
    stems: dict[str, Path] = {}
    twice: tuple[Path, Path] | None = None
    for path, match in matches:
        split = split_of(match["split"]) or "test"  # t10k
        stems.setdefault(match["stem"] or "", path)
        # sorted order puts the plain file before its .gz
        first = found.setdefault((split, match["what"].lower()), path)
        if path.name.removesuffix(".gz") != first.name.removesuffix(".gz"):
            twice = twice or (first, path)
    if len(stems) > 1:
        names = ", ".join(path.name for path in stems.values())
        raise DataError(f"{folder}: more than one data set ({names}); expected one: give each its own folder")
    if twice is not None:
        first, second = twice
        raise DataError(f"{folder}: {first.name} and {second.name}: expected one of them: move the other one away")
    return found


def _pair(found: dict[tuple[str, str], Path], split: str) -> tuple[Samples, tuple[int, ...] | None]:
    images, labels = (found[split, what] for what in ("images", "labels"))
    return make_samples(read(images), read(labels), str(images), str(labels))


def read(path: Path) -> NDArray[np.generic]:
    """The array of an IDX file: a read-only memory map, or in memory where the file is compressed.

    Raises DataError where the file is no IDX file, or holds less or more than its header declares. Memory is taken
    only for what is really there, whatever the header says.
    """
    size = need_content(path, _KIND)
    with reading(path, _KIND), path.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.open(raw) if compressed else nullcontext(raw) as opened:
            stream = cast("BinaryIO", opened)
            dtype, shape, offset = _header(path, stream)
            declared = math.prod(shape) * dtype.itemsize
            if not compressed and size != offset + declared:
                raise _wrong_size(path, size - offset, shape, declared)
            if declared == 0:
                return no_values(shape, dtype)
            if not compressed:
                return np.memmap(raw, dtype, "r", offset, shape)
            array = np.frombuffer(_content(path, stream, shape, declared), dtype).reshape(shape)
        array.flags.writeable = False
        return array


def _content(path: Path, stream: BinaryIO, shape: tuple[int, ...], declared: int) -> bytearray:
    """What a compressed file holds, which is taken piece by piece and must be as much as it declares."""
    content = bytearray()
    while len(content) < declared:
        chunk = stream.read(min(_CHUNK, declared - len(content)))
        if not chunk:
            raise _wrong_size(path, len(content), shape, declared)
        content += chunk
    # reading up to the end also checks the sum of the whole file
    if stream.read(1):
        raise _wrong_size(path, f"more than {declared}", shape, declared)
    return content


def _header(path: Path, stream: BinaryIO) -> tuple[np.dtype[np.generic], tuple[int, ...], int]:
    """Type, shape and the offset of the values."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= 32:
        raise DataError(
            f"{path}: starts with {magic.hex(' ')}; expected an IDX file, 00 00, a type of 08 to 0e and the number of "
            "dimensions: check that it is the right file"
        )
    dimensions = stream.read(4 * magic[3])
    if len(dimensions) < 4 * magic[3]:
        raise DataError(f"{path}: ends inside its header; expected {magic[3]} dimensions: fetch it again")
    shape = tuple(int(size) for size in np.frombuffer(dimensions, ">u4"))
    return np.dtype(_TYPES[magic[2]]), shape, 4 + 4 * magic[3]


def _wrong_size(path: Path, found: int | str, shape: tuple[int, ...], declared: int) -> DataError:
    dimensions = " x ".join(map(str, shape))
    return DataError(
        f"{path}: {found} bytes of values; expected {declared} for its shape {dimensions}: "
        "the file is truncated or damaged, fetch it again"
    )
