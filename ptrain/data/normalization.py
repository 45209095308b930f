"""How stored features become the network's input: x -> (x - offset) * scale in float32."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ptrain.data.plan import owned_shards
from ptrain.data.samples import DataSet, Split, row_ranges

_CHUNK_BYTES = 8 * 2**20
_SLABS = 64
"""Parts of the training split that are summed on their own: the largest number of ranks that share the work."""

Gather = Callable[[list[NDArray[np.float64]]], Sequence[Sequence[NDArray[np.float64]]]]
"""Takes what this part found and returns what all parts found, in their order."""
Together = Callable[[Callable[[range], NDArray[np.float64]]], list[NDArray[np.float64]]]
"""Runs a task over all slabs and returns its results in their order."""


@dataclass(frozen=True, eq=False)
class Normalization:
    """x -> (x - offset) * scale. Both are float32, a number for all features, shape (), or one a feature, (F,)."""

    offset: NDArray[np.float32]
    scale: NDArray[np.float32]

    def __post_init__(self) -> None:
        # numbers are welcome too
        for name in ("offset", "scale"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float32))

    @classmethod
    def identity(cls) -> "Normalization":
        """The normalization that changes nothing."""
        return cls(np.asarray(0, np.float32), np.asarray(1, np.float32))

    def to_dict(self) -> dict[str, Any]:
        """Offset and scale as numbers or lists of numbers, for JSON: the arguments that make it again, bit by bit."""
        return {"offset": self.offset.tolist(), "scale": self.scale.tolist()}

    def on(self, device: torch.device) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Offset and scale on a device, None in place of the one that changes nothing."""
        offset = torch.from_numpy(self.offset.copy()).to(device) if self.offset.any() else None
        scale = torch.from_numpy(self.scale.copy()).to(device) if (self.scale != 1).any() else None
        return offset, scale


def normalize_(features: torch.Tensor, offset: torch.Tensor | None, scale: torch.Tensor | None) -> torch.Tensor:
    """Normalise float32 features (..., F) in place, with one rounding an operation, by what ``on`` gave."""
    if offset is not None:
        features.sub_(offset)
    if scale is not None:
        features.mul_(scale)
    return features


def fit_normalization(
    normalize: Literal["auto", "none", "unit", "standard"],
    dataset: DataSet,
    gather: Gather = lambda mine: [mine],
    part: int = 0,
    parts: int = 1,
) -> Normalization:
    """The normalization that ``--normalize`` asks for. Where there are several parts all of them call it.

    It may read the whole training split, each part its share of a fixed number of slabs. Their sums are added up in one
    order, so the result has the same bits on any number of parts.

    unit maps one range to 0..1 for all features: the source's, that of an 8-bit type or of bool, else from the
    smallest to the largest value in the training split. standard gives each feature mean 0 and deviation 1 (of the
    population, in float64, two passes); a feature that is constant is only shifted to 0. auto is standard for tables,
    and else unit for integers and bool, none for floats.
    """
    train = dataset.train
    kind = train.samples.features.dtype.kind
    if normalize == "auto" and dataset.schema is not None and dataset.schema.get("kind") == "table":
        normalize = "standard"  # every column has a unit of its own
    if normalize == "none" or (normalize == "auto" and kind == "f"):
        return Normalization.identity()
    slabs = [owned_shards(train.size, _SLABS, slab) for slab in owned_shards(_SLABS, parts, part)]

    def together(task: Callable[[range], NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        return [found for of_part in gather([task(slab) for slab in slabs if len(slab)]) for found in of_part]

    return _fit_standard(train, together) if normalize == "standard" else _fit_unit(dataset, together)


def _fit_unit(dataset: DataSet, together: Together) -> Normalization:
    dtype = dataset.train.samples.features.dtype
    if dataset.feature_range is not None:
        low, high = dataset.feature_range
    elif dtype.kind == "b":
        low, high = 0.0, 1.0
    elif dtype.kind in "iu" and dtype.itemsize == 1:
        low, high = (0.0, 255.0) if dtype.kind == "u" else (-128.0, 127.0)
    else:
        # of a wider type the data use a small part: dividing by 2**63 would leave nothing to learn from
        def extremes(slab: range) -> NDArray[np.float64]:
            lows, highs = zip(*((chunk.min(), chunk.max()) for chunk in _chunks(dataset.train, slab)), strict=True)
            return np.array([min(lows), max(highs)])

        lows, highs = zip(*together(extremes), strict=True)
        low, high = float(min(lows)), float(max(highs))
    return Normalization(np.asarray(low, np.float32), _inverse(np.asarray(high - low), np.asarray(high == low)))


def _fit_standard(train: Split, together: Together) -> Normalization:
    width = train.samples.features.shape[1]

    def moments(slab: range) -> NDArray[np.float64]:
        found = np.stack([np.zeros(width), np.full(width, np.inf), np.full(width, -np.inf)])
        for chunk in _chunks(train, slab):
            found[0] += chunk.sum(axis=0)
            np.minimum(found[1], chunk.min(axis=0), out=found[1])
            np.maximum(found[2], chunk.max(axis=0), out=found[2])
        return found

    sums, lows, highs = zip(*together(moments), strict=True)
    mean = sum(sums) / np.float64(train.size)  # one after the other: numpy's own sum would add in another order
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)

    def squares(slab: range) -> NDArray[np.float64]:
        found = np.zeros(width)
        for chunk in _chunks(train, slab):
            np.subtract(chunk, mean, out=chunk)
            found += np.square(chunk, out=chunk).sum(axis=0)
        return found

    # a second pass over deviations: the mean square less the squared mean would cancel
    variance = sum(together(squares)) / np.float64(train.size)
    # rounding gives a constant feature a tiny deviation: it is known by its range instead
    return Normalization(np.where(low == high, low, mean).astype(np.float32), _inverse(np.sqrt(variance), low == high))


def _inverse(width: NDArray[np.float64], constant: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return 1 / width as float32, and 1 where there is no width or none that float32 can invert."""
    usable = ~constant & (width > 1 / float(np.finfo(np.float32).max))
    return np.where(usable, 1 / np.where(usable, width, 1.0), 1.0).astype(np.float32)


def _chunks(split: Split, positions: range) -> Iterator[NDArray[np.float64]]:
    """Yield the features at these positions of a split in float64, in chunks of some megabytes. Each: (rows, F)."""
    features = split.samples.features
    for part in row_ranges(positions, 8 * features.shape[1], _CHUNK_BYTES):
        yield features[split.select(part)].astype(np.float64)
