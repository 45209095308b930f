"""Samples in memory or in a mapped file, splits of them, and the data set that a run works on."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptrain.data.labels import whole_labels
from ptrain.data.permutation import KeyedPermutation
from ptrain.errors import DataError

_LABELS_AT_ONCE = 2**18


class Named(NamedTuple):
    """What the samples are called, for the predictions of them."""

    heading: str
    """What the names are, such as file."""
    names: Sequence[str]
    """One a sample."""


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
    named: "Named | None" = None
    """What each sample is called, where it has a name."""

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
    """What people are told of what was left out, converted or matched as they will expect it, a line each."""
    warnings: tuple[str, ...] = ()
    """The same, of what they may not expect."""

    @property
    def about(self) -> dict[str, Any]:
        """These fields, for the next one."""
        return {field.name: getattr(self, field.name) for field in fields(About)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Source(About):
    """What a source of data hands over, before it is cut into splits."""

    train: Samples
    validation: Samples | None = None
    """The source's own validation split."""
    test: Samples | None = None
    """The source's own test split."""

    @property
    def held_out(self) -> dict[str, Samples]:
        """The source's own splits besides training, by name."""
        both = {"validation": self.validation, "test": self.test}
        return {name: samples for name, samples in both.items() if samples is not None}

    @property
    def for_test(self) -> str:
        """The name of the split to test on where only these samples are asked for: test, validation or train."""
        return next((name for name in ("test", "validation") if name in self.held_out), "train")


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
        """The distinct samples behind the splits: one, and one for each split of the source's own."""
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
    check_counts(features.shape[0], features.shape[1], len(samples.labels), origin, labels_origin or origin)
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


def check_counts(rows: int, width: int, labels: int, origin: str, labels_origin: str) -> None:
    """Raise DataError where there are no samples or features, or not as many labels as samples."""
    if rows == 0 or width == 0:
        raise DataError(f"{origin}: {rows} samples of {width} features: expected at least 1 of each")
    if rows != labels:
        raise DataError(
            f"{origin}: {rows} rows of features but {labels} labels in {labels_origin}: "
            "expected one label a row; check that the two belong together"
        )


def check_shape(found: tuple[int, ...] | None, expected: tuple[int, ...] | None, origin: str) -> None:
    """Raise DataError where samples of one shape, flattened, would be taken for others of the same size.

    Sides of length 1 do not matter, and samples that are flat already (None) fit all.
    """
    if found is None or expected is None:
        return
    here, there = ([side for side in shape if side > 1] for shape in (found, expected))
    if here == there or len(here) < 2 or len(there) < 2:
        return
    orders = itertools.permutations(range(len(found))) if len(found) < 6 else ()
    order = next((one for one in orders if tuple(found[axis] for axis in one) == tuple(expected)), None)
    axes = "" if order is None else ", ".join(str(axis + 1) for axis in order)
    fix = f"transpose them, with numpy.transpose(x, (0, {axes}))" if axes else "bring them into this shape"
    raise DataError(
        f"{origin}: samples of shape {' x '.join(map(str, found))}; expected {' x '.join(map(str, expected))}, as in "
        f"training: {fix}"
    )


def row_ranges(rows: range, row_bytes: int, limit: int) -> Iterator[range]:
    """Yield rows in parts of at most ``limit`` bytes, or one row."""
    step = max(1, limit // row_bytes)
    yield from (range(start, min(start + step, rows.stop)) for start in range(rows.start, rows.stop, step))
