"""Reading the samples of a scene, window by window: pixels with their neighbourhoods, labels, and blocks as groups."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.scenes.classes import read_labels
from ptrain.data.scenes.open import open_grid
from ptrain.data.scenes.pairing import fitted
from ptrain.data.scenes.raster import Raster
from ptrain.data.scenes.unlabelled import Unlabelled
from ptrain.data.scenes.validity import REASONS, around, listed
from ptrain.data.scenes.windows import inside_blocks, neighborhoods, padded, windows
from ptrain.data.store.stream import Block
from ptrain.errors import DataError

WINDOW_BYTES = 16 * 2**20
"""Pixels that are read at a time. With GDAL's own blocks a scene takes at most about 0.6 GiB, whatever its size."""
_BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How pixels become samples."""

    side: int
    """Pixels on a side of a neighbourhood, odd."""
    block: int
    """Pixels on a side of a spatial block."""
    inside: bool
    """Whether a sample's neighbourhood must lie in its own block, as for ``--split blocks``."""

    @property
    def radius(self) -> int:
        """Pixels around the one in the middle."""
        return self.side // 2


@dataclass(kw_only=True)
class Reading:
    """Reads the samples of a scene, and counts the labelled pixels that have no value."""

    spec: str
    labels: str
    sampling: Sampling
    schema: Mapping[str, Any]
    numbers: Mapping[int, int]
    """Label by value of the reference."""
    unlabelled: frozenset[int]
    without: NDArray[np.int64] = field(default_factory=lambda: np.zeros(max(REASONS) + 1, np.int64))
    """Labelled pixels by the reason why they have no value, as far as was read."""

    @property
    def options(self) -> dict[str, Any]:
        """What the samples depend on besides the content of the files, as JSON has it."""
        numbers, nothing = sorted(self.numbers.items()), sorted(self.unlabelled)
        return {"scene": 2, **asdict(self.sampling), "numbers": numbers, "nothing": nothing, **self.schema}

    def samples(self) -> Iterator[Block]:
        """Yield the samples; windows without a labelled pixel are not read."""
        self.without[:] = 0
        side, block = self.sampling.side, self.sampling.block
        with open_grid(self.spec) as opened, open_grid(self.labels, reference=True) as reference:
            scene = fitted(opened, self.schema).scene
            pixel = scene.bands * scene.dtype.itemsize
            across = -(-scene.width // block)
            step = max(1, _BLOCK_BYTES // (side**2 * pixel))
            for rows, columns in windows(scene.height, scene.width, pixel, scene.block_rows, WINDOW_BYTES):
                numbers, chosen = self._numbers(reference, rows, columns)
                chosen &= kept(scene, self.sampling, rows, columns)
                if not chosen.any():
                    continue
                pixels, why = read_padded(scene, rows, columns, self.sampling.radius)
                why = around(why, side)
                self.without += np.bincount(why[chosen], minlength=len(self.without))
                around_each = neighborhoods(pixels, side)
                down, right = np.nonzero(chosen & (why == 0))
                for start in range(0, len(down), step):
                    y, x = down[start : start + step], right[start : start + step]
                    group = (y + rows.start) // block * across + (x + columns.start) // block
                    features = around_each[y, x].reshape(len(y), -1)
                    yield features.astype(features.dtype.newbyteorder("="), copy=False), numbers[y, x], group
        if not self.without[0]:
            what = f"none of the {self.without.sum():,} labelled pixels has a value in every band"
            raise DataError(
                f"{self.spec}: {what} ({listed(self.without)}); expected some: see its nodata value and its mask, and "
                "that scene and reference belong together"
            )

    def counted(self) -> tuple[str, ...]:
        """What the reading found that people should know."""
        total, without = int(self.without.sum()), self.without.copy()
        without[0] = 0
        if not without.any():
            return ()
        return (f"{without.sum():,} of {total:,} labelled pixels are left out for lack of a value ({listed(without)})",)

    def _numbers(self, reference: Raster, rows: range, columns: range) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The labels of a window, and which pixels have one. Raises DataError for a class that is not known."""
        values, labelled = read_labels(reference, rows, columns, Unlabelled(given=self.unlabelled))
        for value in self.unlabelled:
            labelled &= values != value
        known = np.array(sorted(self.numbers), np.int64)
        place = np.minimum(np.searchsorted(known, values), len(known) - 1)
        unknown = labelled & (known[place] != values)
        if unknown.any():
            row, column = (int(index[0]) for index in np.nonzero(unknown))
            value, names = int(values[row, column]), self.schema["class_names"]
            called = f" ({reference.names[value]})" if value in reference.names else ""
            pairs = [(str(one), names[label]) for one, label in sorted(self.numbers.items())]
            expected = [one if name == one else f"{one} ({name})" for one, name in pairs]
            raise DataError(
                f"{reference.origin}: class {value}{called} in row {rows[row]}, column {columns[column]}; expected one "
                f"of {', '.join(expected[:20])}, those of the training reference"
            )
        return np.array([self.numbers[value] for value in known.tolist()], np.int64)[place], labelled


def kept(scene: Raster, sampling: Sampling, rows: range, columns: range) -> NDArray[np.bool_]:
    """Which pixels of a window may be samples: all, or those whose neighbourhood lies in their own block."""
    if not sampling.inside or sampling.side == 1:
        return np.ones((len(rows), len(columns)), np.bool_)
    down = inside_blocks(rows, sampling.radius, scene.height, sampling.block)
    across = inside_blocks(columns, sampling.radius, scene.width, sampling.block)
    return down[:, None] & across


def read_padded(
    scene: Raster, rows: range, columns: range, radius: int
) -> tuple[NDArray[np.generic], NDArray[np.uint8]]:
    """The values of a window and ``radius`` more on every side, mirrored at the edges of the image; why some have none.

    Result: (rows + 2 * radius, columns + 2 * radius, bands), and the same without bands.
    """
    down, across = padded(rows, radius, scene.height), padded(columns, radius, scene.width)
    top, left = int(down.min()), int(across.min())
    pixels, why = scene.read(range(top, int(down.max()) + 1), range(left, int(across.max()) + 1))
    if pixels.shape[:2] == (len(down), len(across)):
        return pixels, why
    result = np.empty((len(down), len(across), scene.bands), pixels.dtype)
    # only the mirrored edges are taken one by one
    first, last = max(0, radius - columns.start), len(across) - max(0, columns.stop + radius - scene.width)
    for target, row in zip(result, down - top, strict=True):
        target[first:last] = pixels[row, across[first] - left : across[last - 1] - left + 1]
    for edge in (slice(None, first), slice(last, None)):
        result[:, edge] = pixels[np.ix_(down - top, across[edge] - left)]
    return result, why[np.ix_(down - top, across - left)]
