"""Zarr arrays and groups, versions 2 and 3, in a local folder.

The metadata are read and checked here before the library sees them: a codec that unpickles, such as numcodecs' pickle,
is in them for anyone to name, and so are shapes and chunks of any size.
"""

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptrain.data.sources import blosc_frames
from ptrain.data.sources.arrays import Array, Rows, check_chunk
from ptrain.data.sources.containers import Container, open_arrays
from ptrain.data.sources.names import listed
from ptrain.data.sources.validity import coding_of, decoded
from ptrain.data.store.reading import check_expansion, decoding, need_folder, need_package, reading
from ptrain.data.store.stream import Request, Stream
from ptrain.errors import DataError

KIND = "a folder of Zarr 2 or 3"
_METADATA = ("zarr.json", ".zarray", ".zgroup")
_OWN = (".z", "zarr.json")
_METADATA_BYTES = 2**20
_MOST_FILES = 1_000_000
_PLAIN = (
    *("blosc", "zlib", "gzip", "zstd", "lz4", "bz2", "lzma", "delta", "shuffle", "fixedscaleoffset", "bitround"),
    *("quantize", "packbits", "astype", "bytes", "transpose", "crc32", "crc32c", "adler32", "fletcher32"),
)
_CODECS = frozenset([*_PLAIN, *(f"numcodecs.{name}" for name in _PLAIN), "sharding_indexed"])
"""Codecs that only turn bytes into bytes."""
_NUMBERS_3 = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
)


class Meta(NamedTuple):
    """What the metadata of an array say."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]


def open_zarr(spec: str, request: Request) -> Stream:
    """The stream of FOLDER, FOLDER:/GROUP or FOLDER:/GROUP/FEATURES; see ``containers.open_arrays``."""
    stream = open_arrays("zarr", _container, spec, request)
    return replace(stream, files=tuple(path for folder in stream.files for path, _ in _files(folder)))


def _container(path: Path) -> Container:
    need_folder(path, KIND)
    if not is_zarr(path):
        raise DataError(f"{path}: no Zarr metadata ({', '.join(_METADATA)}) in it; expected {KIND}: check the path")

    def names(group: str) -> list[str] | None:
        folder = _folder(path, group)
        return _names(folder) if _is_group(folder) else None

    return Container(path, names, partial(open_array, path))


def is_zarr(path: Path) -> bool:
    """Whether a folder holds Zarr's metadata."""
    return any((path / name).is_file() for name in _METADATA)


def open_array(root: Path, name: str) -> Array:
    """An array below a folder, checked, to be read by rows."""
    origin = f"{root}:/{name}"
    folder = _folder(root, name)
    meta = _array_meta(folder, origin)
    stored = sum(size for path, size in _files(folder) if not path.name.startswith(_OWN))
    declared = math.prod(meta.shape) * meta.dtype.itemsize
    if declared and not stored and len(meta.shape) > 1:  # labels that are all 0 are legally not stored at all
        raise DataError(f"{origin}: declares {declared} bytes of values but holds none; expected them: write it again")
    check_expansion(origin, declared, stored)
    check_chunk(meta.chunks, meta.dtype, origin)
    how = partial(_rows, folder, origin, meta)
    array = Array(origin=origin, shape=meta.shape, dtype=meta.dtype, open=how, chunk=(*meta.chunks, 1)[0])
    fill = _json(folder / ("zarr.json" if _is_third(folder) else ".zarray")).get("fill_value")
    return decoded(array, coding_of(_attributes(folder, fill), meta.dtype, origin), fill)


def _attributes(folder: Path, fill: Any) -> dict[str, Any]:
    """The attributes of an array, with the missing value that xarray has in the metadata of version 2.

    Elsewhere ``fill_value`` is what a chunk that is not stored holds: a value as good as any.
    """
    if _is_third(folder):
        found = _json(folder / "zarr.json").get("attributes", {})
        return found if isinstance(found, dict) else {}
    attributes = _json(folder / ".zattrs") if (folder / ".zattrs").is_file() else {}
    if "_ARRAY_DIMENSIONS" in attributes and isinstance(fill, int | float):
        attributes.setdefault("_FillValue", fill)
    return attributes


@contextmanager
def _rows(folder: Path, origin: str, meta: Meta) -> Iterator[Rows]:
    zarr = need_package("zarr", origin)
    blosc_frames.guard()
    if _array_meta(folder, origin) != meta:
        raise DataError(f"{origin}: changed while it was read; expected a file at rest: try again")
    with decoding(origin, KIND):
        version = 3 if _is_third(folder) else 2
        array = zarr.open_array(zarr.storage.LocalStore(folder, read_only=True), mode="r", zarr_format=version)

    def rows(start: int, stop: int) -> NDArray[np.generic]:
        with decoding(f"{origin}, samples {start} to {stop - 1}", KIND):
            return np.asarray(array[start:stop])

    yield rows


def _folder(root: Path, name: str) -> Path:
    """The folder of a name, which must be below the root."""
    steps = [step for step in name.split("/") if step]
    if ".." in steps:
        raise DataError(f"{root}:/{name}: leaves the folder; expected the name of an array in it")
    folder = root.joinpath(*steps)
    if not is_zarr(folder):
        raise DataError(f"{root}: no array or group /{name} in it; expected one of {listed(_names(root))}")
    return folder


def _names(folder: Path) -> list[str]:
    with reading(folder, KIND):
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and is_zarr(path))


def _is_third(folder: Path) -> bool:
    return (folder / "zarr.json").is_file()


def _is_group(folder: Path) -> bool:
    if _is_third(folder):
        return _json(folder / "zarr.json").get("node_type") == "group"
    return not (folder / ".zarray").is_file()


def _array_meta(folder: Path, origin: str) -> Meta:
    """Shape, type and chunks of an array; raises DataError for what the library must not be given."""
    if _is_group(folder):
        raise DataError(f"{origin}: is a group; expected an array, one of {listed(_names(folder))}")
    try:
        file, check = ("zarr.json", _meta_3) if _is_third(folder) else (".zarray", _meta_2)
        return check(_json(folder / file), origin)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"[:120]
        raise DataError(f"{origin}: damaged metadata ({reason}); expected {KIND}: write it again") from None


def _meta_2(meta: dict[str, Any], origin: str) -> Meta:
    if not isinstance(meta["dtype"], str):
        raise DataError(f"{origin}: its type is compound; expected numbers: convert it")
    codecs = [meta.get("compressor"), *(meta.get("filters") or [])]
    _check_codecs([str(codec["id"]) for codec in codecs if codec is not None], origin)
    return _meta(np.dtype(meta["dtype"]), meta["shape"], meta["chunks"], origin)


def _meta_3(meta: dict[str, Any], origin: str) -> Meta:
    dtype = meta["data_type"]
    if dtype not in _NUMBERS_3:
        raise DataError(f"{origin}: its type is {str(dtype)[:80]}; expected numbers: convert it")
    if meta.get("storage_transformers"):
        raise DataError(f"{origin}: has storage transformers; expected none: write it again without them")
    grid = meta["chunk_grid"]
    if grid["name"] != "regular":
        raise DataError(f"{origin}: has a chunk grid {str(grid['name'])[:80]}; expected a regular one: write it again")
    _check_codecs(meta["codecs"], origin)
    return _meta(np.dtype(dtype), meta["shape"], grid["configuration"]["chunk_shape"], origin)


def _check_codecs(codecs: Any, origin: str) -> None:
    for codec in codecs:
        name, inner = (codec, {}) if isinstance(codec, str) else (codec["name"], codec.get("configuration") or {})
        if name not in _CODECS:
            raise DataError(
                f"{origin}: stored with the codec {str(name)[:80]}; expected one that only compresses, such as zstd "
                "or blosc: write it again"
            )
        for key in ("codecs", "index_codecs"):
            _check_codecs(inner.get(key, []), origin)


def _meta(dtype: np.dtype[Any], shape: Any, chunks: Any, origin: str) -> Meta:
    if dtype.kind not in "biufUS" or dtype.itemsize == 0:
        raise DataError(
            f"{origin}: its type is {dtype}; expected numbers, or labels as text of fixed length: convert it"
        )
    sides, parts = (*shape,), (*chunks,)
    if any(type(size) is not int or size < 0 for size in sides + parts) or 0 in parts:
        raise ValueError(f"shape {shape}, chunks {chunks}")
    if len(sides) != len(parts) or len(sides) > 32:
        raise ValueError(f"{len(sides)} dimensions in chunks of {len(parts)}")
    return Meta(shape=sides, dtype=dtype, chunks=parts)


def _json(path: Path) -> dict[str, Any]:
    with reading(path, KIND):
        if path.stat().st_size > _METADATA_BYTES:
            raise DataError(f"{path}: metadata of {path.stat().st_size} bytes; expected at most {_METADATA_BYTES}")
        content = path.read_bytes()
    what = " object"
    try:
        if isinstance(found := json.loads(content), dict):
            return found
    except (ValueError, RecursionError) as error:
        what = f" ({str(error)[:120]})"
    raise DataError(f"{path}: no JSON{what}; expected Zarr's metadata: write it again")


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield the regular files below a folder in a fixed order, and their bytes; raises DataError for anything else."""
    count = 0
    for parent, folders, names in os.walk(folder):
        folders.sort()
        count += len(names)
        if count > _MOST_FILES:
            raise DataError(f"{folder}: more than {_MOST_FILES} files; expected fewer: write it with larger chunks")
        for path in (Path(parent, name) for name in sorted(names)):
            with reading(path, "a chunk of Zarr"):
                found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise DataError(f"{path}: is no regular file; expected a chunk of Zarr: write it again")
            yield path, found.st_size
