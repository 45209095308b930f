"""Where an image is on the ground, and whether two images are in the same place."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ptrain.data.scenes import gdal
from ptrain.data.scenes.sidecar import Sidecar

Transform = tuple[float, ...]
"""Six numbers a, b, c, d, e, f: x = a * column + b * row + c, y = d * column + e * row + f."""
Point = tuple[float, float, float, float, float]
"""A ground control point: row, column, x, y, z."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A georeference, as far as a file has one."""

    crs: str | None = None
    """Coordinate reference system of the transform as WKT."""
    transform: Transform | None = None
    points: tuple[Point, ...] = ()
    """Ground control points."""
    points_crs: str | None = None
    rpcs: Any = None
    """Rational polynomial coefficients, as rasterio has them."""

    @property
    def is_known(self) -> bool:
        """Whether the image lies anywhere."""
        return self.transform is not None or bool(self.points) or self.rpcs is not None

    @property
    def options(self) -> dict[str, Any]:
        """What rasterio wants to write a file in this place."""
        rasterio = gdal.load_rasterio()
        if self.transform is not None:
            return {"crs": self.crs, "transform": rasterio.Affine(*self.transform), "rpcs": self.rpcs}
        if self.points:
            return {"crs": self.points_crs, "gcps": _control_points(self.points), "rpcs": self.rpcs}
        return {"crs": self.crs, "rpcs": self.rpcs}


def place_of(dataset: Any, sidecar: Sidecar) -> Place:
    """The georeference of an open dataset, or else that of the sidecar beside it."""
    crs = dataset.crs.to_wkt() if dataset.crs else None
    transform: Transform | None = tuple(dataset.transform)[:6]
    if crs is None and dataset.transform.is_identity:
        transform = None
    points, points_crs = dataset.gcps
    if crs is None and transform is None and not points:
        crs, transform = sidecar.place
        crs = _checked(crs)
    return Place(
        crs=crs,
        transform=transform,
        points=tuple((one.row, one.col, one.x, one.y, one.z or 0.0) for one in points),
        points_crs=points_crs.to_wkt() if points_crs else None,
        rpcs=dataset.rpcs,
    )


def compare(here: Place, there: Place, width: int, height: int) -> tuple[tuple[str, str] | None, str | None]:
    """In what two places differ, what was found (``there``) and what was expected; and what should be said of them.

    The same coordinate system has many spellings: two are the same where they put the corners of the image in the same
    place. What only one of them has is not compared. Transforms may differ by a hundredth of a pixel, and so may
    coordinate systems by a tenth.
    """
    crs, other = here.crs or here.points_crs, there.crs or there.points_crs
    one, another = here.transform or _fitted(here), there.transform or _fitted(there)
    if crs and other and not _same_crs(crs, other):
        corners = [] if one is None else [_applied(one, x, y) for x, y in _corners(width, height)]
        if one is None or not _same_coordinates(crs, other, corners, _pixel(one) / 10):
            return (f"coordinate system {name(other)}", name(crs)), None
    if one is not None and another is not None:
        fitted = here.transform is None or there.transform is None
        if not same_transform(one, another, width, height, 0.5 if fitted else 0.01):
            of = " of its control points" if fitted else ""
            return (f"transform{of} {shown(another)}", shown(one)), None
    if crs and other and name(crs) != name(other):
        return None, f"coordinate systems {name(other)} and {name(crs)} give the same coordinates here: taken as one"
    if here.is_known != there.is_known or (one is None) != (another is None):
        return None, "only one of the two says where it is: taken as the same place"
    return None, None


def name(crs: str) -> str:
    """A coordinate system for people, such as EPSG:32633."""
    found = gdal.load_rasterio().crs.CRS.from_wkt(crs)
    code = found.to_epsg()
    return f"EPSG:{code}" if code else str(found.to_string())[:60]


def shown(transform: Transform) -> str:
    """The corner and the size of a pixel."""
    return f"{transform[2]:.10g}, {transform[5]:.10g}, {transform[0]:.10g}, {transform[4]:.10g}"


def same_transform(first: Transform, second: Transform, width: int, height: int, share: float = 0.01) -> bool:
    """Whether two transforms put all corners of an image in the same place, within this share of a pixel."""
    difference = tuple(one - other for one, other in zip(first, second, strict=True))
    corners = [_applied(difference, x, y) for x, y in _corners(width, height)]
    return all(max(abs(x), abs(y)) <= share * _pixel(first) for x, y in corners)


def _corners(width: int, height: int) -> list[tuple[int, int]]:
    return list(itertools.product((0, width), (0, height)))


def _applied(transform: Transform, x: float, y: float) -> tuple[float, float]:
    a, b, c, d, e, f = transform
    return a * x + b * y + c, d * x + e * y + f


def _pixel(transform: Transform) -> float:
    """Length of the side of a pixel."""
    return math.sqrt(abs(transform[0] * transform[4] - transform[1] * transform[3])) or 1.0


def _same_crs(first: str, second: str) -> bool:
    crs = gdal.load_rasterio().crs.CRS
    return first == second or bool(crs.from_wkt(first) == crs.from_wkt(second))


def _same_coordinates(first: str, second: str, points: Sequence[tuple[float, float]], tolerance: float) -> bool:
    """Whether points have the same coordinates in two systems."""
    rasterio = gdal.load_rasterio()
    from rasterio.warp import transform

    xs, ys = ([point[axis] for point in points] for axis in (0, 1))
    systems = [rasterio.crs.CRS.from_wkt(crs) for crs in (first, second)]
    try:
        found = transform(*systems, xs, ys)[:2]
    except Exception:  # of GDAL, whose errors have no class in common here: such as of a local system
        return False
    pairs = zip((*xs, *ys), (*found[0], *found[1]), strict=True)
    return all(abs(mine - theirs) <= tolerance for mine, theirs in pairs)


def _fitted(place: Place) -> Transform | None:
    """The transform that fits the control points best."""
    if len(place.points) < 3:
        return None
    from rasterio.transform import from_gcps

    return tuple(from_gcps(_control_points(place.points)))[:6]


def _control_points(points: Sequence[Point]) -> list[Any]:
    from rasterio.control import GroundControlPoint

    return [GroundControlPoint(row=row, col=column, x=x, y=y, z=z) for row, column, x, y, z in points]


def _checked(text: str | None) -> str | None:
    """The coordinate system of a sidecar as WKT, None where it is none."""
    rasterio = gdal.load_rasterio()
    try:
        return str(rasterio.crs.CRS.from_user_input(text).to_wkt()) if text else None
    except rasterio.errors.CRSError:
        return None
