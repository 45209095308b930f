"""Samples in memory or in a mapped file, splits of them, and the data set that a run works on."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.permutation import KeyedPermutation
from ptrain.errors import DataError

_LABELS_AT_ONCE = 2**18
LABEL_LIMIT = 1000
"""A label is too large when it is at least this and at least the number of samples: then it is no class number."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Features and labels as they are stored; never copied whole, so features may be a read-only memory map."""

    features: NDArray[np.generic]
    """(N, F), bool, integer or floating point of any width and byte order."""
    labels: NDArray[np.integer]
    """(N,), integers."""
    origin: str = "data"
    """File or source, for messages."""
    labels_origin: str | None = None
    """File of the labels where it is another one."""
    groups: NDArray[np.integer] | None = None
    """(N,), equal for samples that must be on one side of a split."""

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True, eq=False)
class Split:
    """A part of samples: positions start .. stop - 1 of their natural, of a permuted or of a listed order."""

    samples: Samples
    start: int
    stop: int
    permutation: KeyedPermutation | None = None
    index: NDArray[np.int64] | None = None
    """(N,), the sample at each position, memory-mapped: for splits that depend on labels or groups."""

    @property
    def in_order(self) -> bool:
        """Whether the samples are those from ``start`` to ``stop`` - 1 themselves."""
        return self.permutation is None and self.index is None

    @property
    def size(self) -> int:
        """Number of samples of the split."""
        return self.stop - self.start

    def labels(self, positions: range) -> Iterator[NDArray[np.integer]]:
        """Yield the labels at these positions, some 2**18 at a time."""
        for part in row_ranges(positions, 1, _LABELS_AT_ONCE):
            yield self.samples.labels[self.select(part)]

    def select(self, positions: range) -> "slice | NDArray[np.int64]":
        """What picks the samples at these positions out of an array: a slice, of which no copy is made, if possible."""
        if self.in_order:
            return slice(self.start + positions.start, self.start + positions.stop)
        return self.indices(np.arange(positions.start, positions.stop))

    def indices(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The indices into the samples of positions 0 .. size - 1 of the split. Both: (n,)."""
        order = positions + self.start if self.start else positions
        if self.index is not None:
            return np.asarray(self.index[order])
        return order if self.permutation is None else self.permutation(order)


@dataclass(frozen=True, kw_only=True, eq=False)
class About:
    """What a stream, a source and a data set say of themselves; the one hands it on to the next."""

    name: str
    """Such as csv:/path/file.csv, for messages and records."""
    description: str
    """One line: what the samples are."""
    image_shape: tuple[int, ...] | None = None
    """Shape of a sample before it was flattened, such as (28, 28)."""
    feature_range: tuple[float, float] | None = None
    """Smallest and largest value that a feature can have, such as (0, 255), where the source knows them."""
    class_names: tuple[str, ...] | None = None
    """Names of all classes, where the source knows them; else they are the numbers 0 .. largest training label."""
    feature_names: tuple[str, ...] | None = None
    schema: Mapping[str, Any] | None = None
    """What is needed to read other files the same way, as JSON has it: stored with the model."""
    notes: tuple[str, ...] = ()
    """What is to be said of how it was read: guessed, left out, reordered or converted."""
    warnings: tuple[str, ...] = ()
    """The same, where the result may be wrong for it."""

    @property
    def about(self) -> dict[str, Any]:
        """These fields, for the next one."""
        return {field.name: getattr(self, field.name) for field in fields(About)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Source(About):
    """What a source of data hands over, before it is cut into splits."""

    train: Samples
    test: Samples | None = None
    """The source's own test split."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSet(About):
    """Everything that a run needs to know about its data."""

    train: Split
    validation: Split | None
    test: Split | None
    num_features: int
    num_classes: int
    class_names: tuple[str, ...]
    split_sha256: str = ""
    """Hash of which sample is in which split."""

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that there are, by name: train, validation, test."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    @property
    def all_samples(self) -> list[Samples]:
        """The distinct samples behind the splits: one, or two where the source has its own test split."""
        return list({id(split.samples): split.samples for split in self.splits.values()}.values())


def make_samples(
    features: NDArray[np.generic], labels: NDArray[np.generic], origin: str, labels_origin: str | None = None
) -> tuple[Samples, tuple[int, ...] | None]:
    """Flat samples, and the shape of one sample where it has more than one dimension.

    features: (N, ...), labels: (N,) or (N, 1). Features with more than two dimensions are seen as (N, F), not copied.
    Raises DataError for shapes and types that cannot be trained on.
    """
    check_features(features.shape, features.dtype, origin)
    image_shape = None
    if features.ndim > 2:
        if not features.flags.c_contiguous:
            raise DataError(
                f"{origin}: features of shape {features.shape} in Fortran order: expected C order; "
                "save them with numpy.ascontiguousarray"
            )
        image_shape = features.shape[1:]
        features = features.reshape(len(features), math.prod(image_shape))
    samples = Samples(features, whole_labels(labels, labels_origin or origin), origin, labels_origin)
    check_shapes(samples)
    return samples, image_shape


def check_features(shape: tuple[int, ...], dtype: np.dtype[Any], origin: str) -> None:
    """Raise DataError unless these are rows of bool, integers, or floats of at most 64 bits."""
    if len(shape) < 2:
        raise DataError(
            f"{origin}: features of shape {shape}: expected one row a sample, such as (1000, 64); "
            "reshape them, and see that features and labels are not swapped"
        )
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        kind = {"U": "text", "S": "text", "O": "Python objects", "c": "complex numbers"}.get(dtype.kind)
        raise DataError(
            f"{origin}: features are {kind or dtype}: expected bool, integers, or floats of at most 64 bits; "
            "convert them to numbers first"
        )


def check_labels(shape: tuple[int, ...], origin: str) -> None:
    """Raise DataError unless this is the shape of one label a sample, (N,) or (N, 1)."""
    if len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
        raise DataError(
            f"{origin}: labels of shape {shape}: expected one class number a sample; "
            "turn one-hot rows into numbers with argmax"
        )


def check_counts(rows: int, width: int, labels: int, origin: str, labels_origin: str) -> None:
    """Raise DataError where there are no samples or features, or not as many labels as samples."""
    if rows == 0 or width == 0:
        raise DataError(f"{origin}: {rows} samples of {width} features: expected at least 1 of each")
    if rows != labels:
        raise DataError(
            f"{origin}: {rows} rows of features but {labels} labels in {labels_origin}: "
            "expected one label a row; check that the two belong together"
        )


def whole_labels(labels: NDArray[np.generic], origin: str) -> NDArray[np.integer]:
    """Labels as a vector of integers; whole floats are converted. Raises DataError where they are no numbers."""
    check_labels(labels.shape, origin)
    labels = labels[:, 0] if labels.ndim == 2 else labels
    match labels.dtype.kind:
        case "b":
            return labels.view(np.uint8)
        case "i" | "u":
            return labels  # type: ignore[return-value]
        case "f":
            return whole_numbers(labels, origin)
    raise DataError(f"{origin}: labels are {labels.dtype}: expected whole numbers 0, 1, 2, ...; number the classes")


def whole_numbers(labels: NDArray[np.generic], origin: str, first: int = 0) -> NDArray[np.int64]:
    """Return floats as integers; raises DataError for one that is not whole. ``first`` is the first sample's number."""
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64)
    wrong = np.flatnonzero(whole != labels)
    if wrong.size:
        raise DataError(
            f"{origin}: label {labels[wrong[0]]} of sample {first + wrong[0]} is not whole: expected class numbers "
            "0, 1, 2, ..."
        )
    return whole


def check_shapes(samples: Samples) -> None:
    """Raise DataError where there are no samples or features, where rows differ, or where labels are out of range."""
    rows, width = samples.features.shape
    labels_origin = samples.labels_origin or samples.origin
    check_counts(rows, width, len(samples.labels), samples.origin, labels_origin)
    lowest, highest = int(samples.labels.argmin()), int(samples.labels.argmax())
    if samples.labels[lowest] < 0:
        raise DataError(
            f"{labels_origin}: label {samples.labels[lowest]} of sample {lowest} is negative: expected class numbers "
            "0, 1, 2, ...; leave out samples without a class"
        )
    limit = max(LABEL_LIMIT, rows)
    if samples.labels[highest] >= limit:
        raise DataError(
            f"{labels_origin}: label {samples.labels[highest]} of sample {highest} is too large for {rows} samples: "
            f"expected class numbers below {limit}; number the classes 0, 1, 2, ..."
        )


def row_ranges(rows: range, row_bytes: int, limit: int) -> Iterator[range]:
    """Yield rows in parts of at most ``limit`` bytes, or one row."""
    step = max(1, limit // row_bytes)
    yield from (range(start, min(start + step, rows.stop)) for start in range(rows.start, rows.stop, step))
