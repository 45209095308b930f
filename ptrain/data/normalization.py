"""How stored features become the network's input: x -> (x - offset) * scale, rounded to float32."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ptrain.data.plan import owned_shards
from ptrain.data.samples import DataSet, Split
from ptrain.data.seen import Gather, Seen, chunks, look, of_one_kind, range_of

_SLABS = 64
"""Parts of the training split that are summed on their own: the largest number of ranks that share the work."""

Together = Callable[[Callable[[range], NDArray[np.float64]]], list[NDArray[np.float64]]]
"""Runs a task over all slabs and returns its results in their order."""


@dataclass(frozen=True, eq=False)
class Normalization:
    """x -> (x - offset) * scale. Both are float64, a number for all features, shape (), or one a feature, (F,)."""

    offset: NDArray[np.float64]
    scale: NDArray[np.float64]
    rule: str = "none"
    """How they were found, for people."""
    seen: Seen | None = None
    """What the training split holds: (F,), or (1,) where all features are of one kind."""

    def __post_init__(self) -> None:
        # numbers are welcome too
        for name in ("offset", "scale"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))

    @classmethod
    def identity(cls) -> "Normalization":
        """The normalization that changes nothing."""
        return cls(np.zeros(()), np.ones(()))

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: the arguments that make it again, bit by bit."""
        seen = None if self.seen is None else self.seen.to_dict()
        return {"offset": self.offset.tolist(), "scale": self.scale.tolist(), "rule": self.rule, "seen": seen}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Normalization":
        """What ``to_dict`` gave, or an earlier version that had only offset and scale."""
        seen = content.get("seen")
        return cls(**{**content, "seen": None if seen is None else Seen.from_dict(seen)})

    def on(self, device: torch.device, dtype: np.dtype[Any]) -> "Scaling":
        """The normalization of features of this stored type on a device.

        Types that float32 does not hold are shifted and scaled in float64: seconds since 1970 differ by less than
        float32 can tell apart.
        """
        offset, scale = (torch.from_numpy(one.copy()) for one in (self.offset, self.scale))
        changes = bool(offset.any()) or bool((scale != 1).any())
        working = torch.float64 if changes and not np.can_cast(dtype, np.float32) else torch.float32
        return Scaling(
            working,
            offset.to(device, working) if offset.any() else None,
            scale.to(device, working) if (scale != 1).any() else None,
        )


@dataclass(frozen=True, eq=False)
class Scaling:
    """Offset and scale on a device, None in place of the one that changes nothing."""

    working: torch.dtype
    """Type in which is computed: float32 or float64, which both are."""
    offset: torch.Tensor | None
    scale: torch.Tensor | None

    def apply_(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise features (..., F) of the working type in place, with one rounding an operation."""
        if self.offset is not None:
            features.sub_(self.offset)
        if self.scale is not None:
            features.mul_(self.scale)
        return features

    def bind(self, raw: torch.Tensor, out: torch.Tensor) -> Callable[[], object]:
        """Make the operation that fills ``out`` (..., F), float32, from features of the same shape as stored."""
        if self.working == torch.float32:
            return lambda: self.apply_(out.copy_(raw))
        between = torch.empty(raw.shape, dtype=self.working, device=raw.device)
        return lambda: out.copy_(self.apply_(between.copy_(raw)))


def fit_normalization(
    normalize: Literal["auto", "none", "unit", "standard"],
    dataset: DataSet,
    gather: Gather = lambda mine: [mine],
    part: int = 0,
    parts: int = 1,
) -> Normalization:
    """The normalization that ``--normalize`` asks for. Where there are several parts all of them call it.

    It reads the whole training split, each part its share of a fixed number of slabs. Their sums are added up in one
    order, so the result has the same bits on any number of parts.

    unit maps one range to 0..1 for all features: that of the type where more than half of it is used (of bool, and of
    integers of at most 16 bits), else from the smallest to the largest value in the training split. standard gives each
    feature mean 0 and deviation 1 (of the population, in float64, two passes); a feature that is constant is only
    shifted to 0. auto is unit where all features are of one kind, such as pixels (``of_one_kind``), and else
    standard, which then leaves features that are 0 or 1 as they are.
    """
    seen = look(dataset.train, gather, part, parts)
    one_kind = of_one_kind(dataset, seen)
    slabs = [owned_shards(dataset.train.size, _SLABS, slab) for slab in owned_shards(_SLABS, parts, part)]

    def together(task: Callable[[range], NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        return [found for of_part in gather([task(slab) for slab in slabs if len(slab)]) for found in of_part]

    if normalize == "none":
        fitted = Normalization.identity()
    elif normalize == "unit" or (normalize == "auto" and one_kind):
        fitted = _unit(dataset, seen)
    else:
        fitted = _standard(dataset.train, seen, together)
        if normalize == "auto" and seen.binary.any():
            fitted = _without_binary(fitted, seen.binary)
    rule = f"auto: {fitted.rule}" if normalize == "auto" else fitted.rule
    return replace(fitted, rule=rule, seen=seen.as_one if one_kind and fitted.offset.ndim == 0 else seen)


def _without_binary(fitted: Normalization, binary: NDArray[np.bool_]) -> Normalization:
    """The normalization without features that are 0 or 1: those of a rare category would become very large."""
    rule = f"standard, mean 0 and deviation 1; {binary.sum():,} of {len(binary):,} features stay 0 or 1"
    return Normalization(np.where(binary, 0.0, fitted.offset), np.where(binary, 1.0, fitted.scale), rule)


def _unit(dataset: DataSet, seen: Seen) -> Normalization:
    low, high, whose = range_of(dataset.train.samples.features.dtype, *seen.range)
    rule = f"unit, by {low:.6g}..{high:.6g} of {whose}"
    return Normalization(np.asarray(low), _inverse(np.asarray(high - low), np.asarray(high == low)), rule)


def _standard(train: Split, seen: Seen, together: Together) -> Normalization:
    width = train.samples.features.shape[1]

    def sums(slab: range) -> NDArray[np.float64]:
        found = np.zeros(width)
        for chunk in chunks(train, slab):
            found += chunk.astype(np.float64).sum(axis=0)
        return found

    # one after the other: numpy's own sum would add in another order
    mean = sum(together(sums)) / np.float64(train.size)

    def squares(slab: range) -> NDArray[np.float64]:
        found = np.zeros(width)
        for chunk in chunks(train, slab):
            deviations = chunk.astype(np.float64)
            deviations -= mean
            found += np.square(deviations, out=deviations).sum(axis=0)
        return found

    # a second pass over deviations: the mean square less the squared mean would cancel
    deviation = np.sqrt(sum(together(squares)) / np.float64(train.size))
    # rounding gives a constant feature a tiny deviation: it is known by its range instead
    offset = np.where(seen.constant, seen.low, mean)
    return Normalization(offset, _inverse(deviation, seen.constant), "standard, mean 0 and deviation 1 of each feature")


def _inverse(width: NDArray[np.float64], constant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return 1 / width, and 1 where there is no width or none that float32 can invert."""
    usable = ~constant & (width > 1 / float(np.finfo(np.float32).max))
    return np.where(usable, 1 / np.where(usable, width, 1.0), 1.0)
