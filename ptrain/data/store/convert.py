"""From a stream to the converted form: features.npy, labels.npy, groups.npy, the same for the test split, data.json.

Rows are written as they come, so memory is bounded by a block of the stream. Everything is written into FOLDER.partial
beside the folder and renamed at the end. A conversion that was interrupted goes on where it was.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.plan import owned_shards
from ptrain.data.samples import whole_labels
from ptrain.data.store.cache import Stamp, file_sha256, key_of, need_same, stamp
from ptrain.data.store.stream import Block, Stream
from ptrain.errors import DataError

VERSION = 1
DESCRIPTION = "data.json"
_SAVE_BYTES = 64 * 2**20
"""Features written between two records of how far a conversion is."""
_HEADER_BYTES = 128
_COPY_ROWS = 2**18

Report = Callable[[int], None]
"""Told how many rows are written."""


def stream_key(stream: Stream) -> tuple[str, list[Stamp]]:
    """Return the SHA-256 of what the result of a conversion depends on, and the files as they were found."""
    stamps = [stamp(path) for path in stream.files]
    content = {
        "version": VERSION,
        "kind": stream.name.partition(":")[0],
        "files": [file_sha256(one) for one in stamps],
        "options": dict(stream.options),
        "classes": stream.class_names,
        "type": stream.dtype.str,
    }
    return key_of(content), stamps


def convert(stream: Stream, folder: Path, report: Report | None = None, *, alone: bool = True) -> None:
    """Write the converted form of a stream; ``folder`` must not exist and appears when it is complete.

    ``alone`` is False where another process may be at the same conversion: then it does not start from what is there.
    Raises DataError for bad data and for files that change meanwhile, OSError where the folder cannot be written.
    """
    key, stamps = stream_key(stream)
    partial = partial_of(folder, alone)
    try:
        write_part(stream, key, partial, report)
        finish(stream, key, stamps, partial, folder)
    except DataError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        if not alone:
            shutil.rmtree(partial, ignore_errors=True)


def partial_of(folder: Path, alone: bool = True) -> Path:
    """Return where a conversion is written before it is complete."""
    own = "" if alone else f".{os.uname().nodename}.{os.getpid()}"
    return folder.with_name(f".{folder.name}{own}.partial")


def write_part(
    stream: Stream, key: str, partial: Path, report: Report | None = None, part: int = 0, parts: int = 1
) -> None:
    """Write the rows of this part: all of them, or some of the stream's pieces where there are several parts."""
    prepare(partial, key)
    if stream.pieces is not None:
        _write_pieces(stream, partial, report, part, parts)
    elif part == 0:
        _write_split(stream, stream.train, partial, "", report)
    if part == 0 and stream.test is not None:
        _write_split(stream, stream.test, partial, "test_", None)


def prepare(partial: Path, key: str) -> None:
    """Make the folder of an unfinished conversion; what is there of another one is removed."""
    mark = partial / "key"
    if mark.exists() and mark.read_text() == key:
        return
    if partial.exists() and mark.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    mark.write_text(key)


def finish(stream: Stream, key: str, stamps: list[Stamp], partial: Path, folder: Path) -> None:
    """Write headers and data.json, see that no file was changed, and give the folder its name."""
    for one in stamps:
        need_same(one)
    described: dict[str, Any] = {}
    written = {prefix: _written(stream, partial, prefix) for prefix in ("", "test_")}
    names = stream.class_names
    if names is None:
        names = tuple(sorted({name for one in written[""] for name in one.classes})) or None
    for prefix, parts in written.items():
        if not parts:
            continue
        total = sum(one.rows for one in parts)
        _write_header(partial / f"{prefix}features.npy", stream.dtype, (total, stream.num_features))
        numbers = {name: number for number, name in enumerate(names or ())}
        _shrink(partial / f"{prefix}labels.npy", [(one.rows, _order(stream, one.classes, numbers)) for one in parts])
        if (partial / f"{prefix}groups.npy").exists():
            groups: dict[str, int] = {}
            for name in (name for part in parts for name in part.groups):
                groups.setdefault(name, len(groups))
            _shrink(partial / f"{prefix}groups.npy", [(one.rows, _order(stream, one.groups, groups)) for one in parts])
        described[prefix] = total
    files = sorted(partial.glob("*.npy"))
    content = {
        "version": VERSION,
        "name": stream.name,
        "description": stream.description,
        "key": key,
        "num_samples": described.get("", 0),
        "num_test": described.get("test_"),
        "num_features": stream.num_features,
        "feature_names": stream.feature_names,
        "class_names": names,
        "image_shape": stream.image_shape,
        "feature_range": stream.feature_range,
        "schema": stream.schema,
        "sources": {str(one.path): file_sha256(one) for one in stamps},
        "sha256": {path.name: _sha256(path) for path in files},
    }
    for path in partial.iterdir():
        if path.suffix != ".npy":
            path.unlink()
    (partial / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for path in (*files, partial / DESCRIPTION, partial):
        _sync(path)
    partial.rename(folder)


@dataclass(kw_only=True)
class _Progress:
    """How far the rows of a split are written, and the names met so far, in the order in which they were met."""

    rows: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)


def _read(path: Path) -> _Progress:
    if not path.exists():
        return _Progress()
    content = json.loads(path.read_bytes())
    names = {kind: {name: number for number, name in enumerate(content[kind])} for kind in ("classes", "groups")}
    return _Progress(rows=content["rows"], **names)


def _save(path: Path, progress: _Progress) -> None:
    content = {"rows": progress.rows, "classes": list(progress.classes), "groups": list(progress.groups)}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


def _write_split(
    stream: Stream, blocks: Callable[[], Iterator[Block]], partial: Path, prefix: str, report: Report | None
) -> None:
    place = partial / f"{prefix}progress.json"
    progress = _read(place)
    done, saved, seen = progress.rows, progress.rows, 0
    row_bytes = max(1, stream.num_features * stream.dtype.itemsize)
    with _Files(stream, partial, prefix) as files:
        for features, labels, groups in blocks():
            skip = min(max(0, done - seen), len(features))
            seen += len(features)
            if skip == len(features):
                continue
            files.write(
                progress.rows,
                features[skip:],
                _numbers(labels[skip:], progress.classes, stream),
                None if groups is None else _codes(groups[skip:], progress.groups),
            )
            progress.rows = seen
            if report is not None:
                report(seen)
            if (progress.rows - saved) * row_bytes >= _SAVE_BYTES:
                files.sync()
                _save(place, progress)
                saved = progress.rows
        files.sync()
    _save(place, progress)


def _write_pieces(stream: Stream, partial: Path, report: Report | None, part: int, parts: int) -> None:
    pieces = stream.pieces or ()
    starts = [0, *np.cumsum([rows for rows, _ in pieces]).tolist()]
    written = 0
    with _Files(stream, partial, "") as files:
        for number in owned_shards(len(pieces), parts, part):
            rows, blocks = pieces[number]
            mark = _mark(partial, number)
            names = _Progress(rows=rows)
            if not mark.exists():
                position = starts[number]
                for features, labels, groups in blocks():
                    codes = None if groups is None else _codes(groups, names.groups)
                    files.write(position, features, _numbers(labels, names.classes, stream), codes)
                    position += len(features)
                    if report is not None:
                        report(written + position - starts[number])
                if position != starts[number + 1]:
                    raise DataError(
                        f"{stream.name}: {position - starts[number]} rows in piece {number}; expected {rows}: "
                        "the file is damaged, write it again"
                    )
                files.sync()
                _save(mark, names)
            written += rows


def _mark(partial: Path, number: int) -> Path:
    """Return the file that says that a piece is written."""
    return partial / f"piece-{number}.done"


def _written(stream: Stream, partial: Path, prefix: str) -> list[_Progress]:
    """Return what was written for a split, in order: its pieces, or all in one, or nothing."""
    if prefix == "" and stream.pieces is not None:
        return [_read(_mark(partial, number)) for number in range(len(stream.pieces))]
    path = partial / f"{prefix}progress.json"
    return [_read(path)] if path.exists() else []


def _order(stream: Stream, found: dict[str, int], numbers: dict[str, int]) -> NDArray[np.int64] | None:
    """Return the number of each name that was found, in the order in which it was met; None where there are none."""
    for name in found:
        if name not in numbers:
            raise DataError(
                f"{stream.name}: class {name!r} is in the test split alone; expected a class of the training samples"
            )
    return np.array([numbers[name] for name in found], dtype=np.int64) if found else None


class _Files:
    """The .npy files of a split: rows are written at their place, the headers when all is known."""

    def __init__(self, stream: Stream, partial: Path, prefix: str):
        self.dtype, self.width = stream.dtype, stream.num_features
        self.origin = stream.name
        self._paths = {kind: partial / f"{prefix}{kind}.npy" for kind in ("features", "labels", "groups")}
        self._open: dict[str, int] = {}

    def __enter__(self) -> "_Files":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open.values():
            os.close(file)

    def write(
        self, row: int, features: NDArray[np.generic], labels: NDArray[np.int64], groups: NDArray[Any] | None
    ) -> None:
        """Write rows from ``row`` on."""
        if features.shape != (len(labels), self.width):
            raise DataError(
                f"{self.origin}: rows of {features.shape[1]} features with {len(labels)} labels at sample {row}; "
                f"expected {len(features)} rows of {self.width} features: the file is damaged, write it again"
            )
        self._put("features", row, np.ascontiguousarray(features, dtype=self.dtype))
        self._put("labels", row, labels)
        if groups is not None:
            self._put("groups", row, np.ascontiguousarray(groups, dtype=np.int64))

    def sync(self) -> None:
        """Bring what was written to the disk."""
        for file in self._open.values():
            os.fdatasync(file)

    def _put(self, kind: str, row: int, block: NDArray[Any]) -> None:
        if kind not in self._open:
            self._open[kind] = os.open(self._paths[kind], os.O_WRONLY | os.O_CREAT, 0o666)
        view = block.reshape(-1).view(np.uint8).data
        row_bytes = block.nbytes // len(block) if len(block) else 0
        position = _HEADER_BYTES + row * row_bytes
        while view:
            written = os.pwrite(self._open[kind], view, position)
            view, position = view[written:], position + written


def _numbers(labels: NDArray[np.generic], seen: dict[str, int], stream: Stream) -> NDArray[np.int64]:
    """Return labels as class numbers, or as places in ``seen`` where the names are found while reading."""
    if labels.dtype.kind not in "US":
        return whole_labels(labels, stream.name).astype(np.int64)
    if stream.class_names is None:
        return _codes(labels, seen)
    numbers = {name: number for number, name in enumerate(stream.class_names)}
    names, inverse = np.unique(labels, return_inverse=True)
    for name in names.tolist():
        if name not in numbers:
            raise DataError(
                f"{stream.name}: class {name!r}: expected one of {', '.join(stream.class_names[:20])}, "
                "the classes of the training samples; correct or leave out its samples"
            )
    return np.array([numbers[name] for name in names.tolist()], dtype=np.int64)[inverse]


def _codes(values: NDArray[np.generic], seen: dict[str, int]) -> NDArray[np.int64]:
    """Return the number of each value in the order in which the values were first met."""
    if values.dtype.kind in "biu":
        return values.astype(np.int64)
    names, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    for index in np.argsort(first).tolist():
        seen.setdefault(str(names[index]), len(seen))
    return np.array([seen[str(name)] for name in names.tolist()], dtype=np.int64)[inverse]


def _write_header(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Write the header of a .npy file of version 1.0, whose room was left free."""
    text = str({"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    header = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little") + text.encode()
    with path.open("r+b") as file:
        file.write(header.ljust(_HEADER_BYTES - 1) + b"\n")
        file.truncate(_HEADER_BYTES + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)


def _shrink(path: Path, parts: list[tuple[int, NDArray[np.int64] | None]]) -> None:
    """Rewrite a file of int64 in the smallest type that holds it; each part has rows, and an order to be put in."""
    rows = sum(count for count, _ in parts)
    stored = np.memmap(path, np.int64, "r", _HEADER_BYTES, (rows,)) if rows else np.zeros(0, np.int64)

    def blocks() -> Iterator[NDArray[np.int64]]:
        first = 0
        for count, order in parts:
            for start in range(first, first + count, _COPY_ROWS):
                block = stored[start : min(start + _COPY_ROWS, first + count)]
                yield block if order is None else order[block]
            first += count

    low, high = 0, 0
    for block in blocks():
        low, high = min(low, int(block.min())), max(high, int(block.max()))
    dtype = smallest_type(low, high)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(bytes(_HEADER_BYTES))
        for block in blocks():
            file.write(block.astype(dtype).tobytes())
    _write_header(temporary, dtype, (rows,))
    temporary.replace(path)


def smallest_type(low: int, high: int) -> np.dtype[Any]:
    """Return the smallest integer type that holds these numbers of 64 bits."""
    for name in ("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8"):
        bounds = np.iinfo(name)
        if bounds.min <= low and high <= bounds.max:
            return np.dtype(name)
    return np.dtype("<i8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def described(folder: Path) -> Mapping[str, Any]:
    """Return data.json of a converted data set. Raises DataError where it is missing or not ours."""
    path = folder / DESCRIPTION
    stamp(path, "a folder of ptrain data convert")  # the open of a FIFO would wait for a writer
    try:
        content = json.loads(path.read_bytes())
        if content["version"] != VERSION:
            raise DataError(
                f"{path}: version {content['version']} of the form; expected {VERSION}: convert the data again"
            )
        return dict(content)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); expected a folder of ptrain data convert"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"{path}: is damaged; expected what ptrain data convert writes: convert the data again"
        ) from None
