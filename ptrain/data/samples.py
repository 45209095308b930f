"""Samples in memory or in a mapped file, splits of them, and the data set that a run works on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.permutation import KeyedPermutation


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

    def indices(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices into the samples of positions 0 .. size - 1 of the split. Both: (n,)."""
        order = positions + self.start if self.start else positions
        if self.index is not None:
            return np.asarray(self.index[order])
        return order if self.permutation is None else self.permutation(order)


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """What a source of data hands over, before it is cut into splits."""

    name: str
    description: str
    """One line: what the samples are."""
    train: Samples
    test: Samples | None = None
    """The source's own test split."""
    image_shape: tuple[int, ...] | None = None
    feature_range: tuple[float, float] | None = None
    class_names: tuple[str, ...] | None = None
    """Names of all classes, where the source knows them; else they are the numbers 0 .. largest training label."""
    feature_names: tuple[str, ...] | None = None
    schema: Mapping[str, Any] | None = None
    """What is needed to read other files the same way, as JSON has it: stored with the model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSet:
    """Everything that a run needs to know about its data."""

    name: str
    description: str
    """One line: what the samples are."""
    train: Split
    validation: Split | None
    test: Split | None
    num_features: int
    num_classes: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...] | None
    """Shape of a sample before it was flattened, such as (28, 28)."""
    feature_range: tuple[float, float] | None
    """Smallest and largest value that a feature can have, such as (0, 255), where the source knows them."""
    feature_names: tuple[str, ...] | None = None
    schema: Mapping[str, Any] | None = None
    """What is needed to read other files the same way, as JSON has it: stored with the model."""
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
        found: list[Samples] = []
        for split in self.splits.values():
            if not any(split.samples is other for other in found):
                found.append(split.samples)
        return found
