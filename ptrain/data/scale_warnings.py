"""What people should know about the scale of features: far from unit size, or not that of the training data."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.normalization import Normalization
from ptrain.data.seen import Seen

_LARGE, _SMALL = 100.0, 0.01
"""Inputs of another size than this are far from unit size."""
_NAMED = 3
"""Features that a warning names."""
_FAR = 100.0
"""Ranges of the training data by which a single value may lie outside of them."""
_FRACTION, _TINY = 1 / 50, 1 / 200
"""Share of the training data's size below which fractions of whole numbers, or all features together, are foreign."""
_ENOUGH_ROWS, _ENOUGH_VALUES = 10, 50
"""Least samples, or samples times features, to judge from small values."""
Names = Sequence[str] | None


def high_loss(loss: float, num_classes: int) -> str | None:
    """A hint where the cross-entropy of the first epoch is far above that of guessing.

    Initial weights alone give two or three times as much where an epoch has few steps.
    """
    if loss <= 5 * math.log(num_classes):
        return None
    return (
        f"the first epoch's loss, {loss:.4g}, is far above ln({num_classes}) = {math.log(num_classes):.4g}, that of "
        "guessing: see that the inputs are near unit size (--normalize), or take a lower --lr"
    )


def far_from_unit(fitted: Normalization, names: Names) -> str | None:
    """A warning where inputs of the training split are far from unit size after scaling, which learns badly or not."""
    seen, rule = fitted.seen, fitted.rule
    if seen is None:
        return None
    offset, scale = (np.broadcast_to(one, seen.low.shape) for one in (fitted.offset, fitted.scale))
    size = np.maximum(np.abs(seen.low - offset), np.abs(seen.high - offset)) * scale
    width = (seen.high - seen.low) * scale
    large = size > _LARGE
    if rule == "none":
        if large.any():
            shown = _listed(large, size, names, lambda k: f"up to {size[k]:.6g}")
            return f"inputs far from unit size ({shown}): expected about 1; --normalize auto scales them"
        if 0 < size.max() < _SMALL:
            shown = f"all below {size.max():.2g}"
            return f"inputs far from unit size ({shown}): expected about 1; --normalize auto scales them"
    elif "standard" in rule and large.any():
        shown = _listed(large, size, names, lambda k: f"{seen.low[k]:.6g} to {seen.high[k]:.6g}")
        return (
            f"values more than {_LARGE:.0f} deviations from the mean ({shown}): outliers squeeze all others together; "
            "see that no number stands for a missing value"
        )
    elif rule.startswith("unit") and len(width) > 1:
        narrow = (width > 0) & (width < _SMALL)
        if narrow.any():
            shown = _listed(narrow, -width, names, lambda k: f"{width[k]:.2g}")
            return (
                f"--normalize unit leaves features a small part of 0 to 1 ({shown}): --normalize standard scales each "
                "by itself"
            )
    return None


def foreign(known: Seen, new: Seen, names: Names) -> str | None:
    """A warning where samples are on another scale than the training data: another unit, or another type of data.

    known, new: of the training split, (1,) where one range is that of all features, and of these samples, (F,).
    A feature is foreign where the mean of the samples lies outside of the range that was seen in training (few
    samples may lie somewhat outside), where a value lies far outside, or where all values are tiny beside those of
    training: all features together, or fractions where training had whole numbers. Samples of one class, or few,
    lie within the ranges.
    """
    num_values = new.count * len(new.low)
    if len(known.low) == 1:
        new = new.as_one
    wide = np.where(known.constant, np.maximum(np.abs(known.low), 1.0), known.high - known.low)
    room = wide * np.where(known.constant, 1.0, 1 / new.count + 1 / known.count)
    outside = (new.mean < known.low - room) | (new.mean > known.high + room)
    outside |= (new.low < known.low - _FAR * wide) | (new.high > known.high + _FAR * wide)
    size, usual = (np.maximum(np.abs(one.low), np.abs(one.high)) for one in (new, known))
    some = size > 0
    fractions = some & known.whole & ~new.whole & (size <= _FRACTION * usual) & (new.count >= _ENOUGH_ROWS)
    tiny = some & (size <= _TINY * usual)
    if num_values < _ENOUGH_VALUES or 10 * tiny.sum() < 9 * some.sum():
        tiny = np.zeros_like(some)
    found = outside | fractions | tiny
    if not found.any():
        return None
    strange = np.where(
        outside, np.maximum(known.low - new.low, new.high - known.high) / wide, usual / np.maximum(size, 1e-300)
    )

    def ranges(index: int) -> str:
        return (
            f"{new.low[index]:.6g} to {new.high[index]:.6g}, in training {known.low[index]:.6g} to "
            f"{known.high[index]:.6g}"
        )

    return (
        f"features on another scale than the training data ({_listed(found, strange, names, ranges)}): what is "
        "predicted from them means nothing; expected the units and the type of data of the training data"
    )


def _listed(found: NDArray[np.bool_], rank: NDArray[Any], names: Names, text: Any) -> str:
    """The first few of the features that were found, by rank, largest first, and how many more there are."""
    chosen = np.flatnonzero(found)
    first = chosen[np.argsort(-rank[chosen], kind="stable")][:_NAMED]
    more = len(chosen) - len(first)
    parts = [f"{_name(index, names, len(found))} {text(index)}" for index in sorted(first.tolist())]
    return "; ".join(parts) + (f"; and {more:,} more of {len(found):,} features" if more else "")


def _name(index: int, names: Names, width: int) -> str:
    if width == 1 and (names is None or len(names) != 1):
        return "all features:"
    return f"{names[index]}:" if names is not None and len(names) == width else f"feature {index}:"
