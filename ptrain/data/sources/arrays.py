"""Arrays of features and labels in files: read by rows and put together to a stream."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.samples import check_counts, check_features, check_labels, row_ranges, whole_numbers
from ptrain.data.store.stream import Block, Stream
from ptrain.errors import DataError

Rows = Callable[[int, int], NDArray[np.generic]]
"""Reads the samples start .. stop - 1: (stop - start, ...)."""

READ_BYTES = 64 * 2**20
"""The most that one read takes, unless a single sample is larger; also the limit of a chunk of a file."""
_BLOCK_BYTES = 4 * 2**20
_BLOCK_ROWS = 4096
_PIECES = 64  # so many ranks can share a file; each piece costs a record


@dataclass(frozen=True, kw_only=True, eq=False)
class Array:
    """An array in a file, of which some rows at a time are read."""

    origin: str
    """File and name in it, for messages."""
    shape: tuple[int, ...]
    """(N, ...)"""
    dtype: np.dtype[Any]
    open: Callable[[], AbstractContextManager[Rows]]
    chunk: int = 1
    """Samples in a chunk of the file, which is unpacked whole."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one sample."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Arrays:
    """What a stream is made of: features (N, ...), labels (N,), the same for the test split, and groups (N,)."""

    features: Array
    labels: Array | None = None
    """None: all labels are 0."""
    test: tuple[Array, Array] | None = None
    groups: Array | None = None


def to_stream(
    arrays: Arrays, *, name: str, files: tuple[Path, ...], options: Mapping[str, Any], in_pieces: bool = False
) -> Stream:
    """The stream of arrays.

    ``in_pieces`` says that a part of the rows can be read without the rows before it, so that ranks can share them.
    Raises DataError where types and shapes cannot be trained on, before anything is read. A pass over the stream
    takes the memory of one read, at most READ_BYTES or one sample, and of one chunk of the file.
    """
    features, test = arrays.features, arrays.test
    for part, labels in ((features, arrays.labels), (features, arrays.groups), *([test] if test else [])):
        _check(part, labels)
    if test is not None and test[0].shape[1:] != features.shape[1:]:
        raise DataError(
            f"{test[0].origin}: samples of shape {test[0].shape[1:]} in the test split but {features.shape[1:]} in "
            f"{features.origin}: expected the same"
        )
    total, step = features.shape[0], _step(features)
    read = partial(_blocks, features, arrays.labels, arrays.groups)
    # in at most _PIECES pieces, each of whole reads
    spans = list(row_ranges(range(total), 1, step * -(-total // (step * _PIECES))))
    return Stream(
        name=name,
        description=f"arrays of {files[0]}",
        files=files,
        options=options,
        dtype=features.dtype,
        num_features=math.prod(features.shape[1:]),
        image_shape=features.shape[1:] if len(features.shape) > 2 else None,
        num_samples=total,
        train=lambda: read(range(total)),
        test=None if test is None else lambda: _blocks(*test, None, range(test[0].shape[0])),
        pieces=tuple((len(span), partial(read, span)) for span in spans) if in_pieces else None,
    )


def _step(features: Array) -> int:
    """How many rows are read at once: those of whole chunks, where a chunk fits into memory."""
    rows = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // features.row_bytes))
    at_once = max(1, READ_BYTES // features.row_bytes)
    return max(1, rows // features.chunk) * features.chunk if features.chunk <= at_once else at_once


def _check(features: Array, labels: Array | None) -> None:
    check_features(features.shape, features.dtype, features.origin)
    labels = features if labels is None else labels
    if labels is not features:
        check_labels(labels.shape, labels.origin)
        if labels.dtype.kind not in "biufUS":
            raise DataError(
                f"{labels.origin}: labels are {labels.dtype}: expected whole numbers or text of fixed length"
            )
    width = math.prod(features.shape[1:])
    check_counts(features.shape[0], width, labels.shape[0], features.origin, labels.origin)
    if features.row_bytes > READ_BYTES:
        raise DataError(
            f"{features.origin}: a sample of shape {features.shape[1:]} takes {features.row_bytes} bytes: expected at "
            f"most {READ_BYTES}; see that the samples are the first dimension"
        )


def check_chunk(sides: tuple[int, ...], dtype: np.dtype[Any], origin: str, how: str = "") -> None:
    """Raise DataError where a chunk of a file, which is unpacked whole, takes more than READ_BYTES."""
    size = math.prod(sides) * dtype.itemsize
    if size > READ_BYTES:
        raise DataError(
            f"{origin}: chunks of {size} bytes, each of which is unpacked whole; expected at most {READ_BYTES}: "
            f"write it with smaller chunks{how}"
        )


def _blocks(features: Array, labels: Array | None, groups: Array | None, span: range) -> Iterator[Block]:
    """Yield blocks of some MiB, from reads that unpack every chunk of the file once where that fits into memory."""
    rows = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // features.row_bytes))
    step = _step(features)
    with features.open() as read:
        label_blocks, group_blocks = _integers(labels, span, step), _integers(groups, span, step)
        for reads in row_ranges(span, 1, step):
            block = read(reads.start, reads.stop)
            if block.shape != (len(reads), *features.shape[1:]) or block.dtype != features.dtype:
                raise DataError(
                    f"{features.origin}: changed while it was read; expected {features.shape}: read it again"
                )
            flat = block.reshape(len(reads), -1)
            own, group = next(label_blocks), next(group_blocks)
            for first in range(0, len(reads), rows):
                part = slice(first, first + rows)
                zeros = np.zeros(len(flat[part]), np.uint8)
                yield flat[part], zeros if own is None else own[part], None if group is None else group[part]


def _integers(array: Array | None, span: range, step: int) -> Iterator[NDArray[np.generic] | None]:
    """Yield the labels or groups of each block, as integers or text; None for each where there are none."""
    if array is None:
        yield from repeat(None)
        return
    with array.open() as read:
        for part in row_ranges(span, 1, step):
            values = read(part.start, part.stop)
            if values.shape[0] != len(part):
                raise DataError(f"{array.origin}: changed while it was read; expected a file at rest: try again")
            yield _whole(values.reshape(len(values)), array.origin, part.start)


def _whole(values: NDArray[np.generic], origin: str, start: int) -> NDArray[np.generic]:
    """Labels as integers or text; raises DataError for a number that is not whole, naming its sample."""
    if values.dtype.kind == "f":
        return whole_numbers(values, origin, start)
    if values.dtype.kind == "S":
        try:
            return np.char.decode(values, "utf-8")  # type: ignore[arg-type]
        except UnicodeDecodeError:
            raise DataError(f"{origin}: a label is not UTF-8; expected text in UTF-8: write it again") from None
    return values.astype(np.uint8) if values.dtype.kind == "b" else values
