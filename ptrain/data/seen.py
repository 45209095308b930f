"""What the features of a split hold: their ranges, found by all ranks together, and what kind of numbers they are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.plan import owned_shards
from ptrain.data.samples import DataSet, Split, row_ranges

_CHUNK_BYTES = 8 * 2**20
_MANY = 16
"""Features from which on one range of all of them says that they are of one kind, such as pixels."""

Gather = Callable[[Any], Sequence[Any]]
"""Takes what this part found and returns what all parts found, in their order."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What the features of some samples hold, one number a feature: (F,); of no samples nothing lies in the ranges."""

    count: int
    """Number of samples."""
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    whole: NDArray[np.bool_]
    """Whether a feature has whole numbers only."""

    @classmethod
    def of(cls, features: NDArray[Any]) -> "Seen":
        """What some rows hold, (n, F) of any stored type, n at least 1."""
        whole = np.ones(features.shape[1], np.bool_)
        if features.dtype.kind == "f":
            whole = (features == np.rint(features)).all(axis=0)
        low, high = (one.astype(np.float64) for one in (features.min(axis=0), features.max(axis=0)))
        return cls(len(features), low, high, features.mean(axis=0, dtype=np.float64), whole)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Seen":
        """What ``to_dict`` gave."""
        arrays: dict[str, Any] = {
            name: value if name == "count" else np.array(value) for name, value in content.items()
        }
        return cls(**arrays)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {name: value if name == "count" else value.tolist() for name, value in vars(self).items()}

    @property
    def as_one(self) -> "Seen":
        """The same of all features together: (1,)."""
        low, high = self.range
        whole = np.array([bool(self.whole.all())])
        return Seen(self.count, np.array([low]), np.array([high]), np.array([float(self.mean.mean())]), whole)

    def of_bands(self, bands: int) -> "Seen":
        """The same of features that are bands of several pixels, (pixels, bands): one number a band."""
        if len(self.low) == 1:
            return self
        low, high, mean = (one.reshape(-1, bands) for one in (self.low, self.high, self.mean))
        whole = np.asarray(self.whole.reshape(-1, bands).all(axis=0), np.bool_)
        return Seen(self.count, low.min(axis=0), high.max(axis=0), mean.mean(axis=0), whole)

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Whether a feature has one value only."""
        return np.equal(self.low, self.high)

    @property
    def binary(self) -> NDArray[np.bool_]:
        """Whether a feature is 0 or 1, such as that of a category."""
        return self.whole & (self.low >= 0) & (self.high <= 1) & ~self.constant

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value of all features."""
        return float(self.low.min()), float(self.high.max())


def merged(parts: Sequence[Seen], width: int) -> Seen:
    """What several parts hold together."""
    count = sum(part.count for part in parts)
    mean = sum((part.mean * (part.count / count) for part in parts), np.zeros(width))
    return Seen(
        count,
        np.min([np.full(width, np.inf), *(part.low for part in parts)], axis=0),
        np.max([np.full(width, -np.inf), *(part.high for part in parts)], axis=0),
        mean,
        np.all([np.ones(width, np.bool_), *(part.whole for part in parts)], axis=0),
    )


def look(split: Split, gather: Gather = lambda mine: [mine], part: int = 0, parts: int = 1) -> Seen:
    """What a split holds. Where there are several parts all of them call it, and each reads its share."""
    everybody = gather(look_at_part(split, part, parts))
    return merged([one for of_part in everybody for one in of_part], split.samples.features.shape[1])


def look_at_part(split: Split, part: int, parts: int) -> list[Seen]:
    """What this part of a split holds, in one piece; none where the part is empty."""
    mine: list[Seen] = []
    for chunk in chunks(split, owned_shards(split.size, parts, part)):
        mine = [merged([*mine, Seen.of(chunk)], chunk.shape[1])]
    return mine


def chunks(split: Split, positions: range) -> Iterator[NDArray[Any]]:
    """Yield the features at these positions of a split as they are stored, in chunks of some megabytes: (rows, F)."""
    features = split.samples.features
    for part in row_ranges(positions, 8 * features.shape[1], _CHUNK_BYTES):
        yield features[split.select(part)]


def of_one_kind(dataset: DataSet, seen: Seen) -> bool:
    """Whether one range fits all features, as that of pixels does: what the training split holds decides.

    They are where they are bool, pixels of an image (whole numbers, or 0 to 1), or at least 16 bytes a sample; and
    where there are at least 16 features, besides those that are constant or 0 and 1, and more than half of them have
    the smallest value of all and one from the upper half of the range. For columns of a table only the latter holds;
    bands of a scene never are, since each has a range of its own.
    """
    dtype, kind = dataset.train.samples.features.dtype, (dataset.schema or {}).get("kind")
    low, high = seen.range
    if kind == "scene":
        return False
    if kind != "table":
        if dtype.kind == "b" or dataset.feature_range is not None:
            return True
        if dtype == np.uint8 and dataset.num_features >= _MANY:
            return True
        if _is_image(dataset.image_shape) and low >= 0 and (high <= 1 or seen.whole.all()):
            return True
    free = ~(seen.constant | seen.binary)
    reaching = free & (seen.low == low) & (seen.high >= low + (high - low) / 2)
    return int(free.sum()) >= _MANY and 2 * int(reaching.sum()) > int(free.sum())


def _is_image(shape: tuple[int, ...] | None) -> bool:
    """Whether this is the shape of an image: two sides, and at most 4 channels in front of or behind them."""
    return shape is not None and (len(shape) == 2 or (len(shape) == 3 and min(shape[0], shape[2]) <= 4))


def range_of(dtype: np.dtype[Any], low: float, high: float) -> tuple[float, float, str]:
    """The range that one for all features is, and whose it is.

    It is the type's where more than half of that is used, for integers of at most 16 bits, else that of the data.
    """
    if dtype.kind == "b":
        return 0.0, 1.0, "bool"
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        limits = np.iinfo(dtype.newbyteorder("="))
        if 2 * (high - low) > int(limits.max) - int(limits.min):
            return float(limits.min), float(limits.max), dtype.newbyteorder("=").name
    return low, high, "the data"
