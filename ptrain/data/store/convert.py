"""From a stream to the converted form: features.npy, labels.npy, groups.npy, the same for splits held out, data.json.

Rows are written as they come, so memory is bounded by a block of the stream. Everything is written into FOLDER.partial
beside the folder and renamed at the end. A conversion that was interrupted goes on where it was.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptrain.data.labels import whole_labels
from ptrain.data.plan import owned_shards
from ptrain.data.store.cache import Stamp, content_sha256, file_sha256, key_of, need_same, stamp
from ptrain.data.store.rows import RowFiles, write_header, write_integers
from ptrain.data.store.stream import Block, Stream
from ptrain.errors import DataError
from ptrain.files import publish, write_file

VERSION = 1
DESCRIPTION = "data.json"
_SAVE_BYTES = 64 * 2**20
"""Features written between two records of how far a conversion is."""

Report = Callable[[int], None]
"""Told how many rows are written."""


def stream_key(stream: Stream) -> tuple[str, list[Stamp]]:
    """The SHA-256 of what the result of a conversion depends on, and the files as they were found."""
    stamps = [stamp(path) for path in stream.files]
    content = {
        "version": VERSION,
        "kind": stream.name.partition(":")[0],
        "files": [file_sha256(one) for one in stamps],
        "options": dict(stream.options),
        "classes": stream.class_names,
        "type": stream.dtype.str,
    }
    if stream.validation is not None:  # what is not there is not in the keys of conversions that are
        content["validation"] = True
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
    """Where a conversion is written before it is complete."""
    own = "" if alone else f".{os.uname().nodename}.{os.getpid()}"
    return folder.with_name(f".{folder.name}{own}.partial")


def write_part(
    stream: Stream, key: str, partial: Path, report: Report | None = None, part: int = 0, parts: int = 1
) -> None:
    """Write the rows of this part: all of them, or some of the stream's pieces where there are several parts."""
    prepare(partial, key)
    spans, written = _spans(stream), 0
    say = report or (lambda _: None)
    with RowFiles(stream, partial, "") as files:
        owned = owned_shards(len(spans), parts, part) if stream.pieces is not None else range(part == 0)
        for span in spans[owned.start : owned.stop]:
            written += _write_rows(files, span, partial, say, written)
    for name, blocks in stream.held_out.items() if part == 0 else ():
        with RowFiles(stream, partial, f"{name}_") as files:
            _write_rows(files, _Span(f"{name}_progress.json", blocks), partial, lambda _: None, 0)


def prepare(partial: Path, key: str) -> None:
    """Make the folder of an unfinished conversion; what is there of another one is removed."""
    mark = partial / "key"
    if mark.exists():
        if mark.read_text() == key:
            return
        shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    mark.write_text(key)


def finish(stream: Stream, key: str, stamps: list[Stamp], partial: Path, folder: Path) -> None:
    """Write headers and data.json, see that no file was changed, and give the folder its name."""
    for one in stamps:
        need_same(one)
    train = [_read(partial / span.record) for span in _spans(stream)]
    held_out = {name: _read(partial / f"{name}_progress.json") for name in stream.held_out}
    names = stream.class_names or tuple(sorted({name for one in train for name in one.classes})) or None
    _finish_split(stream, partial, "", train, names)
    for name, found in held_out.items():
        _finish_split(stream, partial, f"{name}_", [found], names)
    # the records of what is written go before what they tell of, should this be interrupted
    for path in sorted(partial.iterdir(), key=lambda path: path.suffix != ".json"):
        if path.suffix != ".npy":
            path.unlink()
    rows = sum(one.rows for one in train)
    content = {"version": VERSION, **stream.about, "class_names": names, "key": key}
    counted = () if stream.counted is None else stream.counted()
    content |= {
        "num_samples": rows,
        "num_features": stream.num_features,
        "notes": (
            *stream.notes,
            *left_out(stream, {"train": rows} | {name: one.rows for name, one in held_out.items()}),
        ),
        "warnings": (*stream.warnings, *counted),
        "counted": counted,
    }
    content |= {f"num_{name}": held_out[name].rows if name in held_out else None for name in ("validation", "test")}
    content["sources"] = {str(one.path): file_sha256(one) for one in stamps}
    content["sha256"] = {path.name: content_sha256(path) for path in sorted(partial.glob("*.npy"))}
    (partial / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    publish(partial, folder)


def left_out(stream: Stream, rows: Mapping[str, int]) -> tuple[str, ...]:
    """A note for each split of which not all samples of the file are there."""
    lost = {name: (number - rows[name], number) for name, number in (stream.num_offered or {}).items()}
    return tuple(
        f"{stream.name}: {gone:,} of {number:,} samples{'' if name == 'train' else f' for {name}'} are left out, which "
        "lack a value or a label"
        for name, (gone, number) in lost.items()
        if gone
    )


def _finish_split(
    stream: Stream, partial: Path, prefix: str, parts: "list[_Progress]", names: tuple[str, ...] | None
) -> None:
    """Write the headers of a split, and its names as numbers: classes by ``names``, groups as they were first met."""
    shape = (sum(one.rows for one in parts), stream.num_features)
    write_header(partial / f"{prefix}features.npy", stream.dtype, shape)
    classes = {name: number for number, name in enumerate(names or ())}
    write_integers(partial / f"{prefix}labels.npy", [(one.rows, _order(stream, one.classes, classes)) for one in parts])
    if (partial / f"{prefix}groups.int64").exists():
        met = dict.fromkeys(name for one in parts for name in one.groups)
        groups = {name: number for number, name in enumerate(met)}
        orders = [(one.rows, _order(stream, one.groups, groups)) for one in parts]
        write_integers(partial / f"{prefix}groups.npy", orders)


@dataclass(frozen=True)
class _Span:
    """Rows that are written one after the other, and the name of the file that says how far they are."""

    record: str
    blocks: Callable[[], Iterator[Block]]
    first: int = 0
    rows: int | None = None
    """None where it is known only at the end."""


def _spans(stream: Stream) -> list[_Span]:
    """The training rows of a stream: its pieces, or all of them in one."""
    if stream.pieces is None:
        return [_Span("progress.json", stream.train)]
    starts = accumulate((rows for rows, _ in stream.pieces), initial=0)
    numbered = enumerate(zip(stream.pieces, starts, strict=False))
    return [_Span(f"piece-{number}.json", blocks, start, rows) for number, ((rows, blocks), start) in numbered]


@dataclass(kw_only=True)
class _Progress:
    """How far rows are written, and the names met so far, in the order in which they were met."""

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
    write_file(path, json.dumps(content))


def _write_rows(files: RowFiles, span: _Span, partial: Path, report: Report, before: int) -> int:
    """Write the rows of a span from where an earlier try came to, which read the same blocks; return their number."""
    stream, record = files.stream, partial / span.record
    progress = _read(record)
    done = saved = progress.rows
    if done == span.rows:
        return done
    seen, row_bytes = 0, max(1, stream.num_features * stream.dtype.itemsize)
    for features, labels, groups in span.blocks():
        skip = min(max(0, done - seen), len(features))
        seen += len(features)
        if skip == len(features):
            continue
        numbers = _numbers(labels[skip:], progress.classes, stream)
        codes = None if groups is None else _codes(groups[skip:], progress.groups)
        files.write(span.first + progress.rows, features[skip:], numbers, codes)
        progress.rows = seen
        report(before + seen)
        if (seen - saved) * row_bytes >= _SAVE_BYTES:
            files.sync()  # before the record that says that they are there
            _save(record, progress)
            saved = seen
    if span.rows not in (None, seen):
        raise DataError(
            f"{stream.name}: {seen} rows from row {span.first} on; expected {span.rows}: the file is damaged, write it "
            "again"
        )
    files.sync()
    _save(record, progress)
    return seen


def _order(stream: Stream, found: dict[str, int], numbers: dict[str, int]) -> NDArray[np.int64] | None:
    """The number of each name that was found, in the order in which it was met; None where there are none."""
    for name in found:
        if name not in numbers:
            raise DataError(
                f"{stream.name}: class {name!r} is not in the training split; expected a class of the training samples"
            )
    return np.array([numbers[name] for name in found], dtype=np.int64) if found else None


def _numbers(labels: NDArray[np.generic], seen: dict[str, int], stream: Stream) -> NDArray[np.int64]:
    """Labels as class numbers, or as positions in ``seen`` where the names are found while reading."""
    if labels.dtype.kind not in "US":
        whole = whole_labels(labels, stream.name)
        if whole.dtype == np.uint64 and whole.max(initial=0) >= 2**63:
            raise DataError(f"{stream.name}: label {whole.max()}: expected one below 2**63: number the classes")
        return whole.astype(np.int64)
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
    """The number of each value in the order in which the values were first met."""
    if values.dtype.kind in "biu":
        return values.astype(np.int64)
    names, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    for index in np.argsort(first).tolist():
        seen.setdefault(str(names[index]), len(seen))
    return np.array([seen[str(name)] for name in names.tolist()], dtype=np.int64)[inverse]
