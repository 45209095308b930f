"""Arrays of features and labels in one file: how they are named, read by rows, and put together to a stream."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.samples import check_feature_type, whole_numbers
from ptrain.data.store.stream import Block, Stream
from ptrain.errors import DataError

Rows = Callable[[int, int], NDArray[np.generic]]
"""Reads the samples start .. stop - 1: (stop - start, ...)."""

PAIRS = (("features", "labels"), ("x", "y"), ("X", "y"), ("X", "Y"), ("data", "labels"), ("data", "label"))
TRAIN_PAIRS = tuple((f"{x}_train", f"{y}_train") for x, y in PAIRS) + tuple(
    (f"train_{x}", f"train_{y}") for x, y in PAIRS
)
FEATURES = ("features", "x", "X", "data", "x_test", "X_test")
EXPECTED = "features and labels, x and y, X and y, data and labels, or x_train, y_train, x_test and y_test"
GROUPS = "groups"

READ_BYTES = 64 * 2**20
"""The most that one read takes, unless a single sample is larger; also the limit of a chunk of a file."""
_BLOCK_BYTES = 4 * 2**20
_BLOCK_ROWS = 4096
_PIECES = 64


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


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names of the arrays of a file."""

    features: str
    labels: str
    test_features: str | None = None
    test_labels: str | None = None


def find_names(names: Collection[str], origin: str) -> Names:
    """Return which of the names are features and labels by convention; raises DataError where none are."""
    pair = next((pair for pair in TRAIN_PAIRS + PAIRS if set(pair) <= set(names)), None)
    if pair is None:
        raise DataError(f"{origin}: holds {listed(names)}; expected {EXPECTED}: rename them")
    test = (pair[0].replace("train", "test"), pair[1].replace("train", "test"))
    given = [name for name in test if name not in pair and name in names]
    if len(given) == 1:
        raise DataError(f"{origin}: holds {given[0]} alone; expected {' and '.join(test)}: add the other one")
    if not given:
        return Names(features=pair[0], labels=pair[1])
    return Names(features=pair[0], labels=pair[1], test_features=test[0], test_labels=test[1])


def find_features(names: Collection[str], origin: str) -> str:
    """Return which of the names are features to predict; raises DataError where none are."""
    name = next((name for name in FEATURES if name in names), None)
    if name is None:
        raise DataError(f"{origin}: holds {listed(names)}; expected {' or '.join(FEATURES)}: rename the array")
    return name


def partner(name: str, names: Collection[str]) -> str | None:
    """Return the labels that belong to features of this name by convention, where they are there."""
    test_pairs = tuple((x.replace("train", "test"), y.replace("train", "test")) for x, y in TRAIN_PAIRS)
    return next((y for x, y in (*TRAIN_PAIRS, *test_pairs, *PAIRS) if x == name and y in names), None)


def listed(names: Collection[str]) -> str:
    """Return the first names for a message."""
    some = [name[:40] for name in sorted(names)]  # of a damaged file they may be anything
    return ", ".join(some[:8] + [f"{len(some) - 8} more"] * (len(some) > 8)) or "no arrays"


def split_inner(spec: str) -> tuple[Path, str]:
    """Return the path and the name in it of FILE, FILE:NAME or FILE:/GROUP/NAME; a name that is not given is empty."""
    path = Path(spec).expanduser()
    head, _, inner = spec.rpartition(":")
    if not head or path.exists():
        return path, ""
    return Path(head).expanduser(), inner.strip("/")


def to_stream(
    features: Array,
    labels: Array | None,
    *,
    name: str,
    files: tuple[Path, ...],
    test: tuple[Array, Array] | None = None,
    groups: Array | None = None,
    options: Mapping[str, Any],
    in_pieces: bool = False,
) -> Stream:
    """Return the stream of arrays of features (N, ...), labels (N,) and groups (N,); without labels they are all 0.

    ``in_pieces`` says that a part of the rows can be read without the rows before it, so that ranks can share them.
    Raises DataError where types and shapes cannot be trained on, before anything is read. A pass over the stream
    takes the memory of one read, at most READ_BYTES or one sample, and of one chunk of the file.
    """
    for part, part_labels in ((features, labels), *([test] if test else [])):
        _check(part, part_labels)
    if groups is not None:
        _check(features, groups)
    if test is not None and test[0].shape[1:] != features.shape[1:]:
        raise DataError(
            f"{test[0].origin}: samples of shape {test[0].shape[1:]} in the test split but {features.shape[1:]} in "
            f"{features.origin}: expected the same"
        )
    every = range(features.shape[0])
    return Stream(
        name=name,
        description=f"arrays of {files[0]}",
        files=files,
        options=options,
        dtype=features.dtype,
        num_features=math.prod(features.shape[1:]),
        image_shape=features.shape[1:] if len(features.shape) > 2 else None,
        num_samples=features.shape[0],
        train=lambda: _blocks(features, labels, groups, every),
        test=None if test is None else lambda: _blocks(*test, None, range(test[0].shape[0])),
        pieces=_pieces(features, labels, groups) if in_pieces else None,
    )


def _pieces(
    features: Array, labels: Array | None, groups: Array | None
) -> tuple[tuple[int, Callable[[], Iterator[Block]]], ...]:
    """Return the rows in at most _PIECES pieces, each of whole reads."""
    total, step = features.shape[0], _step(features)
    rows = step * -(-total // (step * _PIECES))
    spans = [range(start, min(start + rows, total)) for start in range(0, total, rows)]
    return tuple((len(span), partial(_blocks, features, labels, groups, span)) for span in spans)


def _step(features: Array) -> int:
    """Return how many rows are read at once: those of whole chunks, where a chunk fits into memory."""
    rows = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // features.row_bytes))
    at_once = max(1, READ_BYTES // features.row_bytes)
    return max(1, rows // features.chunk) * features.chunk if features.chunk <= at_once else at_once


def _check(features: Array, labels: Array | None) -> None:
    check_feature_type(np.empty(0, features.dtype), features.origin)
    if len(features.shape) < 2:
        raise DataError(
            f"{features.origin}: features of shape {features.shape}: expected one row a sample, such as (1000, 64); "
            "reshape them, and see that features and labels are not swapped"
        )
    if math.prod(features.shape) == 0:
        width = math.prod(features.shape[1:])
        raise DataError(
            f"{features.origin}: {features.shape[0]} samples of {width} features: expected at least 1 of each"
        )
    if features.row_bytes > READ_BYTES:
        raise DataError(
            f"{features.origin}: a sample of shape {features.shape[1:]} takes {features.row_bytes} bytes: expected at "
            f"most {READ_BYTES}; see that the samples are the first dimension"
        )
    if labels is None:
        return
    if len(labels.shape) not in (1, 2) or labels.shape[1:] not in ((), (1,)):
        raise DataError(
            f"{labels.origin}: labels of shape {labels.shape}: expected one class number a sample; "
            "turn one-hot rows into numbers with argmax"
        )
    if labels.dtype.kind not in "biufUS":
        raise DataError(f"{labels.origin}: labels are {labels.dtype}: expected whole numbers or text of fixed length")
    if labels.shape[0] != features.shape[0]:
        raise DataError(
            f"{features.origin}: {features.shape[0]} rows of features but {labels.shape[0]} labels in "
            f"{labels.origin}: expected one label a row; check that the two belong together"
        )


def _blocks(features: Array, labels: Array | None, groups: Array | None, span: range) -> Iterator[Block]:
    """Yield blocks of some MiB, from reads that unpack every chunk of the file once where that fits into memory."""
    rows = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // features.row_bytes))
    step = _step(features)
    with features.open() as read:
        label_blocks, group_blocks = _integers(labels, span, step), _integers(groups, span, step)
        for start in range(span.start, span.stop, step):
            stop = min(start + step, span.stop)
            block = read(start, stop)
            if block.shape != (stop - start, *features.shape[1:]) or block.dtype != features.dtype:
                raise DataError(
                    f"{features.origin}: changed while it was read; expected {features.shape}: read it again"
                )
            flat = block.reshape(stop - start, -1)
            own, group = next(label_blocks), next(group_blocks)
            for first in range(0, stop - start, rows):
                part = slice(first, first + rows)
                zeros = np.zeros(len(flat[part]), np.uint8)
                yield flat[part], zeros if own is None else own[part], None if group is None else group[part]


def _integers(array: Array | None, span: range, step: int) -> Iterator[NDArray[np.generic] | None]:
    """Yield the labels or groups of each block, as integers or text; None for each where there are none."""
    if array is None:
        while True:
            yield None
    with array.open() as read:
        for start in range(span.start, span.stop, step):
            values = read(start, min(start + step, span.stop))
            if values.shape[0] != min(step, span.stop - start):
                raise DataError(f"{array.origin}: changed while it was read; expected a file at rest: try again")
            yield whole(values.reshape(len(values)), array.origin, start)


def whole(values: NDArray[np.generic], origin: str, start: int = 0) -> NDArray[np.generic]:
    """Return labels as integers or text; raises DataError for a number that is not whole, naming its sample."""
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind == "S":
        try:
            return np.char.decode(values, "utf-8")  # type: ignore[arg-type]
        except UnicodeDecodeError:
            raise DataError(f"{origin}: a label is not UTF-8; expected text in UTF-8: write it again") from None
    if values.dtype.kind != "f":
        return values
    return whole_numbers(values, origin, start)
