"""Arrays of features and labels in files, which are read by rows."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.labels import check_labels, is_one_hot
from ptrain.data.samples import check_counts, check_features, check_shape
from ptrain.errors import DataError

Rows = Callable[[int, int], NDArray[np.generic]]
"""Reads the samples start .. stop - 1: (stop - start, ...)."""

READ_BYTES = 64 * 2**20
"""The most that one read takes, unless a single sample is larger; also the limit of a chunk of a file."""


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
    note: str | None = None
    """What was done to its values as the file says, for people."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one sample."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def in_memory(values: NDArray[np.generic], origin: str) -> Array:
    """An array that is in memory, or mapped."""
    return Array(
        origin=origin, shape=values.shape, dtype=values.dtype, open=lambda: nullcontext(lambda a, b: values[a:b])
    )


@dataclass(frozen=True, eq=False)
class Pair:
    """The arrays of a split: features (N, ...), labels (N,), (N, 1) or one-hot (N, K)."""

    features: Array
    labels: Array | None = None
    """None: all labels are 0."""
    groups: Array | None = None
    """(N,), equal for samples that must be on one side of a split."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """What a stream is made of."""

    train: Pair
    held_out: Mapping[str, Pair]
    """The splits ``validation`` and ``test`` of the file."""
    warnings: tuple[str, ...] = ()
    """What people may not expect of the choice of arrays."""
    name: str = ""
    files: tuple[Path, ...] = ()
    options: Mapping[str, Any] | None = None
    """What the result depends on besides the files."""

    @property
    def pairs(self) -> dict[str, Pair]:
        """All splits by name."""
        return {"train": self.train, **self.held_out}

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type that holds the features of all splits."""
        types = {pair.features.dtype for pair in self.pairs.values()}
        return types.pop() if len(types) == 1 else np.result_type(*types)

    @property
    def notes(self) -> tuple[str, ...]:
        """What people are told of values and labels: attributes that were obeyed, one-hot rows."""
        pairs = self.pairs.values()
        arrays = [one for pair in pairs for one in (pair.features, pair.labels) if one is not None]
        one_hot = [pair.labels for pair in pairs if pair.labels is not None and is_one_hot(pair.labels.shape)]
        return (
            *(array.note for array in arrays if array.note is not None),
            *(
                f"{pair.features.origin} is {pair.features.dtype.name} and {self.train.features.origin} "
                f"{self.train.features.dtype.name}: values are taken as they are"
                for pair in pairs
                if pair.features.dtype.name != self.train.features.dtype.name
            ),
            *(f"{labels.origin}: one-hot rows are classes 0 to {labels.shape[1] - 1}" for labels in one_hot),
        )

    def check(self) -> None:
        """Raise DataError where types and shapes cannot be trained on, before anything is read."""
        first = self.train.features
        texts = set()
        for name, pair in self.pairs.items():
            _check(pair.features, pair.labels)
            if pair.groups is not None:
                _check(pair.features, pair.groups)
                if is_one_hot(pair.groups.shape):
                    raise DataError(f"{pair.groups.origin}: groups of shape {pair.groups.shape}; expected one a sample")
            if pair.labels is not None:
                texts.add(pair.labels.dtype.kind in "US")
            if math.prod(pair.features.shape[1:]) != math.prod(first.shape[1:]):
                raise DataError(
                    f"{pair.features.origin}: samples of shape {pair.features.shape[1:]} in the {name} split but "
                    f"{first.shape[1:]} in {first.origin}: expected the same"
                )
            check_shape(pair.features.shape[1:], first.shape[1:], pair.features.origin)
        if len(texts) > 1:
            raise DataError(f"{self.name}: labels are text in one split and numbers in another; expected one of them")


def _check(features: Array, labels: Array | None) -> None:
    check_features(features.shape, features.dtype, features.origin)
    if labels is not None:
        check_labels(labels.shape, labels.dtype, labels.origin)
    rows, origin = (features.shape[0], "") if labels is None else (labels.shape[0], labels.origin)
    check_counts(features.shape[0], math.prod(features.shape[1:]), rows, features.origin, origin)


def check_chunk(sides: tuple[int, ...], dtype: np.dtype[Any], origin: str, how: str = "") -> None:
    """Raise DataError where a chunk of a file, which is unpacked whole, takes more than READ_BYTES."""
    size = math.prod(sides) * dtype.itemsize
    if size > READ_BYTES:
        raise DataError(
            f"{origin}: chunks of {size} bytes, each of which is unpacked whole; expected at most {READ_BYTES}: "
            f"write it with smaller chunks{how}"
        )
