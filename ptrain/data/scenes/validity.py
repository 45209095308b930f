"""Which pixels have a value: what a file says by nodata values, masks and alpha bands, and what is no number."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.scenes.windows import spread

Mask = Callable[[range, range], NDArray[np.bool_]]
"""Which pixels of a window, rows and columns, the file masks out."""

MASKED, NODATA, NO_NUMBER, NEAR = 1, 2, 3, 4
"""Why a pixel has no value; 0 where it has one."""
REASONS = {
    MASKED: "masked out",
    NODATA: "nodata",
    NO_NUMBER: "NaN, infinite or too large",
    NEAR: "next to such a pixel",
}
_LARGEST = 3.4e38
"""A little below float32's largest number, which stands for nodata and is often written with few digits."""
_ALPHA_NAMES = ("", "alpha", "mask", "transparency", "opacity")


def lacking(
    stored: NDArray[np.generic],
    values: NDArray[np.generic],
    nodata: Sequence[float | None],
    masked: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Why each pixel has no value in some band, 0 for pixels that have all.

    stored: (h, w, bands), what the file has. values: the same with scale and offset. Result: (h, w).
    """
    why: NDArray[np.uint8] = np.zeros(stored.shape[:2], np.uint8)
    if values.dtype.kind == "f":
        why[~(np.abs(values) <= _LARGEST).all(axis=2)] = NO_NUMBER
    for band, value in enumerate(nodata):
        if value is not None and not np.isnan(value):
            # a float32 band is compared with the float32 that was meant
            with np.errstate(over="ignore"):
                meant = np.asarray(value).astype(stored.dtype) if stored.dtype.kind == "f" else value
            why[stored[:, :, band] == meant] = NODATA
    if masked is not None:
        why[masked] = MASKED
    return why


def around(why: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Why each pixel has no neighbourhood. why: padded by half a side, as the result is not."""
    radius = side // 2
    own = why[radius : why.shape[0] - radius, radius : why.shape[1] - radius]
    return own if side == 1 else np.where((own == 0) & spread(why > 0, side), np.uint8(NEAR), own)


def listed(counts: NDArray[np.int64]) -> str:
    """How many pixels there are of each reason. counts: by reason."""
    return ", ".join(f"{counts[why]:,} {reason}" for why, reason in REASONS.items() if counts[why])


def is_alpha(name: str | None, sampled: NDArray[Any]) -> bool:
    """Whether a band that a file declares as alpha is one.

    GDAL gives an image of four bytes a pixel an alpha band unless it is told not to, so that a fourth spectral band is
    often declared as one. It is one unless it has another name, or most of its values differ from one another: an
    alpha band is the same almost everywhere inside the image, and 0 outside.
    """
    if name is not None and name.strip().casefold() not in _ALPHA_NAMES and not re.fullmatch(r"\D*\d+", name):
        return False
    _, counts = np.unique(sampled[sampled > 0], return_counts=True)
    return counts.size == 0 or bool(2 * counts.max() > counts.sum())


def scaling(scales: Sequence[float], offsets: Sequence[float]) -> NDArray[np.float64] | None:
    """Scale and offset of every band, (2, bands), or None where they change nothing; a scale of 0 or NaN is none."""
    found = np.array([scales, offsets], np.float64)
    found[:, ~np.isfinite(found).all(axis=0) | (found[0] == 0)] = [[1], [0]]
    return None if (found[0] == 1).all() and not found[1].any() else found


def scaled_type(stored: np.dtype[Any]) -> np.dtype[Any]:
    """The type of scaled values: numbers of 16 bits stay different in float32."""
    return np.dtype(np.float32 if stored.itemsize <= 2 or stored == np.float32 else np.float64)


def shown(found: NDArray[np.float64]) -> str:
    """Scale and offset for people, those of the first band where bands differ."""
    same = "" if (found == found[:, :1]).all() else " of the first band"
    return f"{found[0, 0]:g} and {found[1, 0]:g}{same}"


def declared(tags: Mapping[str, str], key: str) -> float | None:
    """A number that a file declares, or None."""
    try:
        return float(tags[key])
    except (KeyError, ValueError):
        return None
