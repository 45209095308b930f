"""A synthetic scene: parcels of land with the spectra of their classes, computed row by row at any size.

A parcel is a cell of a Voronoi diagram of jittered grid points, with edges bent by smooth noise. Its class follows
smooth fields, so classes form regions. All pixels of a parcel share a deviation from the spectrum of their class, as
fields of one crop differ from each other; that is why pixels of one parcel in training and test flatter the accuracy.
"""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ptrain.data.scenes.raster import Color

ROWS = 64
"""Rows of a block of the generator: noise is drawn block by block, so that any part has the same pixels."""
NODATA = 0
SCALE = 10_000
"""Stored value of a reflectance of 1."""
PARCEL = 22
"""Mean side of a parcel in pixels."""
_CURVES = 4
_LABELLED = 0.5
"""Share of the parcels that have a class in the reference."""

# name, colour, share of vegetation, of soil, of water and of buildings
_LAND: tuple[tuple[str, Color, tuple[float, float, float, float]], ...] = (
    ("water", (43, 108, 176), (0.02, 0.03, 0.95, 0.0)),
    ("forest", (27, 94, 53), (0.80, 0.05, 0.15, 0.0)),
    ("meadow", (124, 185, 80), (0.90, 0.10, 0.0, 0.0)),
    ("maize", (240, 205, 70), (0.70, 0.30, 0.0, 0.0)),
    ("bare soil", (166, 113, 62), (0.08, 0.92, 0.0, 0.0)),
    ("built-up", (200, 60, 60), (0.12, 0.18, 0.0, 0.70)),
    ("wheat", (226, 170, 95), (0.38, 0.62, 0.0, 0.0)),
    ("vineyard", (142, 86, 160), (0.50, 0.42, 0.0, 0.08)),
    ("wetland", (84, 168, 165), (0.55, 0.10, 0.35, 0.0)),
    ("heath", (190, 130, 165), (0.45, 0.55, 0.0, 0.0)),
)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A synthetic scene: everything follows from these numbers."""

    height: int
    width: int
    bands: int
    classes: int
    noise: float
    """Standard deviation of a parcel from the spectrum of its class, relative to it; that of a pixel is half of it."""
    seed: int

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the values 1, 2, ..., classes."""
        more = tuple(f"class {number + 1}" for number in range(len(_LAND), self.classes))
        return (*(name for name, _, _ in _LAND[: self.classes]), *more)

    @cached_property
    def colors(self) -> tuple[Color, ...]:
        """Colours of the values 1, 2, ..., classes."""
        shades = self._draw("colors").integers(60, 230, (max(0, self.classes - len(_LAND)), 3))
        return (*(c for _, c, _ in _LAND[: self.classes]), *((int(r), int(g), int(b)) for r, g, b in shades))

    @cached_property
    def wavelengths(self) -> NDArray[np.float64]:
        """Centre of every band in nanometres."""
        return np.linspace(450, 2300, self.bands) if self.bands > 1 else np.array([850.0])

    @cached_property
    def spectra(self) -> NDArray[np.float64]:
        """Mean reflectance of each class. (classes, bands)."""
        chance = self._draw("mixtures")
        given = [mixture for _, _, mixture in _LAND[: self.classes]]
        mixtures = np.array([*given, *chance.dirichlet([1, 1, 0.2, 0.3], max(0, self.classes - len(_LAND)))])
        return mixtures @ _materials(self.wavelengths)

    def rows(self, block: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.uint8]]:
        """Scene (rows, width, bands), reference and truth (rows, width) of a block of up to ROWS rows.

        Reference and truth hold 1 to ``classes``; the reference 0 where a parcel is not labelled, both 0 outside the
        scene's swath.
        """
        y, x = np.mgrid[block * ROWS : min((block + 1) * ROWS, self.height), 0 : self.width]
        row, column = self._cells(y, x)
        truth = self._classes[row, column]
        chance = self._draw("noise", block)
        deviation = self._deviations[row, column] @ self._shapes + chance.normal(
            0, 0.5 * self.noise, (*y.shape, self.bands)
        )
        light = 1 + 0.12 * self._smooth("light", y / 90, x / 90)
        reflectance = self.spectra[truth] * light[..., None] * (1 + deviation)
        stored = np.clip(np.rint(reflectance * SCALE), 1, 65535).astype(np.uint16)
        outside = x + 0.35 * y > 0.93 * self.width + 0.35 * 0.55 * self.height
        stored[outside] = NODATA
        values = np.where(outside, 0, truth + 1).astype(np.uint8)
        return stored, np.where(self._labelled[row, column], values, 0).astype(np.uint8), values

    @property
    def num_blocks(self) -> int:
        """Number of blocks of rows."""
        return -(-self.height // ROWS)

    def _draw(self, purpose: str, number: int = 0) -> np.random.Generator:
        return np.random.default_rng([self.seed, number, *purpose.encode()])

    @cached_property
    def _grid(self) -> tuple[int, int]:
        return self.height // PARCEL + 5, self.width // PARCEL + 5

    @cached_property
    def _jitter(self) -> NDArray[np.float32]:
        return self._draw("jitter").uniform(0.05, 0.95, (*self._grid, 2)).astype(np.float32)

    @cached_property
    def _labelled(self) -> NDArray[np.bool_]:
        return self._draw("labelled").random(self._grid) < _LABELLED

    @cached_property
    def _classes(self) -> NDArray[np.int64]:
        """Class of every parcel: the largest of as many smooth fields, with some chance. (grid rows, grid columns)."""
        y, x = np.mgrid[: self._grid[0], : self._grid[1]]
        chance = self._draw("classes").normal(0, 0.35, (self.classes, *self._grid))
        fields = [self._smooth(f"class {number}", y / 5, x / 5) + chance[number] for number in range(self.classes)]
        return np.argmax(fields, axis=0)  # type: ignore[no-any-return]

    @cached_property
    def _deviations(self) -> NDArray[np.float32]:
        """Weights of the smooth deviations of every parcel. (grid rows, grid columns, _CURVES)."""
        return self._draw("deviations").normal(0, self.noise, (*self._grid, _CURVES)).astype(np.float32)

    @cached_property
    def _shapes(self) -> NDArray[np.float64]:
        """Smooth curves over the bands by which parcels of one class differ: cosines, of mean square 1 in sum."""
        position = np.linspace(0, 1, self.bands)
        curves = np.stack([np.cos(np.pi * order * position) for order in range(_CURVES)])
        return curves / math.sqrt(np.square(curves).sum(axis=0).mean())

    def _cells(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return grid row and column of the parcel of every pixel: the nearest of the jittered points around it."""
        down = y / PARCEL + 2 + 0.10 * self._smooth("bend y", y / 13, x / 13)
        right = x / PARCEL + 2 + 0.10 * self._smooth("bend x", y / 13, x / 13)
        best = np.full(y.shape, np.inf)
        row, column = np.zeros(y.shape, np.int64), np.zeros(y.shape, np.int64)
        for dy, dx in itertools.product((-1, 0, 1), repeat=2):
            i = np.clip(down.astype(np.int64) + dy, 0, self._grid[0] - 1)
            j = np.clip(right.astype(np.int64) + dx, 0, self._grid[1] - 1)
            point = self._jitter[i, j]
            distance = (i + point[..., 0] - down) ** 2 + (j + point[..., 1] - right) ** 2
            nearer = distance < best
            for kept, new in ((best, distance), (row, i), (column, j)):
                np.copyto(kept, new, where=nearer)
        return row, column

    def _smooth(self, purpose: str, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Smooth noise of deviation about 1 that changes over a distance of 1: a lattice, interpolated."""
        lattice = self._draw(purpose).normal(0, 1.4, (512, 512))
        i, j = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
        v, u = y - i, x - j
        v, u = v * v * (3 - 2 * v), u * u * (3 - 2 * u)
        i, j, below, right = i % 512, j % 512, (i + 1) % 512, (j + 1) % 512
        top = lattice[i, j] * (1 - u) + lattice[i, right] * u
        bottom = lattice[below, j] * (1 - u) + lattice[below, right] * u
        return top * (1 - v) + bottom * v


def _materials(wavelengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reflectances of vegetation, soil, water and buildings, drawn after their known shapes. (4, bands)."""

    def bump(centre: float, width: float) -> NDArray[np.float64]:
        return np.exp(-(((wavelengths - centre) / width) ** 2))

    edge = 1 / (1 + np.exp(-(wavelengths - 715) / 18))
    wet = 0.75 * bump(1450, 110) + 0.85 * bump(1950, 130)
    vegetation = 0.035 + 0.06 * bump(550, 40) + 0.42 * edge * (1 - 0.6 * (wavelengths > 1300) * 0.5) * (1 - wet)
    soil = (0.06 + 0.34 * (1 - np.exp(-(wavelengths - 400) / 800))) * (1 - 0.35 * bump(1950, 100))
    water = 0.09 * np.exp(-(wavelengths - 450) / 260) + 0.004
    buildings = 0.16 + 0.08 * (wavelengths - 450) / 1850 + 0.03 * bump(650, 120)
    return np.stack([vegetation, soil, water, buildings])
