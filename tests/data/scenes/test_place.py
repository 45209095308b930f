"""Where scenes are: one place in many spellings, control points, rotated images; another place is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import WktVersion

from ptrain.errors import DataError

from .files import UTM, numbered, samples, stream, write

VALUES = np.tile([1, 2], (20, 15)).astype(np.uint8)
UTM_TEXT = "+proj=utm +zone=32 +units=m +no_defs"


def opened(folder: Path, scene: dict[str, Any], reference: dict[str, Any]) -> tuple[str, ...]:
    """Return what is said of a scene and a reference with these georeferences."""
    path = write(folder / "s.tif", numbered(20, 30), **scene)
    found = stream(path, write(folder / "r.tif", VALUES, **reference))
    assert len(samples(found)[0]) == 600
    return found.notes + found.warnings


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("EPSG:4326", "OGC:CRS84"),
        ("EPSG:32632", f"{UTM_TEXT} +datum=WGS84"),
        ("EPSG:32632", f"{UTM_TEXT} +ellps=WGS84 +towgs84=0,0,0,0,0,0,0"),
        ("EPSG:32632", CRS.from_epsg(32632).to_wkt(version=WktVersion.WKT1_ESRI)),
        ("EPSG:25832", "EPSG:3044"),
        ("EPSG:3857", "ESRI:102100"),
        ("EPSG:25832", "EPSG:32632"),
    ],
)
def test_one_place_has_many_spellings(tmp_path: Path, one: str, other: str) -> None:
    degrees = Affine(1e-4, 0, 11, 0, -1e-4, 48)
    transform = degrees if one == "EPSG:4326" else UTM["transform"]
    for first, second in ((one, other), (other, one)):
        said = opened(tmp_path, {"crs": first, "transform": transform}, {"crs": second, "transform": transform})
        assert len(said) <= 1
        assert all("give the same coordinates here: taken as one" in text for text in said)


@pytest.mark.parametrize(
    ("scene", "reference", "message"),
    [
        (UTM, UTM | {"crs": "EPSG:32633"}, "coordinate system EPSG:32633; expected EPSG:32632"),
        (UTM, UTM | {"crs": "EPSG:4326"}, "coordinate system EPSG:4326; expected EPSG:32632"),
        (UTM, UTM | {"crs": 'LOCAL_CS["site",UNIT["metre",1]]'}, "coordinate system "),
        (UTM, UTM | {"transform": Affine(10, 0, 500_005, 0, -10, 5_400_000)}, "transform 500005, 5400000, 10, -10"),
        # south up
        (UTM, UTM | {"transform": Affine(10, 0, 500_000, 0, 10, 5_399_800)}, "transform 500000, 5399800, 10, 10"),
    ],
)
def test_another_place_is_refused(
    tmp_path: Path, scene: dict[str, Any], reference: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as error:
        opened(tmp_path, scene, reference)
    assert f"that of {tmp_path}/s.tif: bring it onto the scene's grid, with rio warp" in str(error.value)


@pytest.mark.parametrize(
    "transform",
    [Affine(10, 0, 500_000, 0, 10, 5_399_800), Affine.translation(5e5, 5e6) @ Affine.rotation(30) @ Affine.scale(10)],
)
def test_south_up_and_rotated_images(tmp_path: Path, transform: Affine) -> None:
    assert opened(tmp_path, UTM | {"transform": transform}, UTM | {"transform": transform}) == ()


def points(shift: float = 0) -> dict[str, Any]:
    """Return control points on the transform of UTM."""
    found = []
    for row in (0, 10, 20):
        for column in (0, 15, 30):
            x, y = UTM["transform"] @ (column + shift, row)
            found.append(GroundControlPoint(row=row, col=column, x=x, y=y))
    return {"gcps": found, "crs": UTM["crs"]}


def test_control_points_are_compared(tmp_path: Path) -> None:
    assert opened(tmp_path, points(), points()) == ()
    assert opened(tmp_path, points(), UTM) == ()
    assert opened(tmp_path, UTM, points(0.2)) == ()
    for one, other in ((points(), points(2)), (UTM, points(2)), (points(2), UTM)):
        with pytest.raises(DataError, match=r"r\.tif: transform of its control points 5000"):
            opened(tmp_path, one, other)


def test_a_place_that_only_one_of_them_has_is_said(tmp_path: Path) -> None:
    for one, other in ((UTM, {}), ({}, UTM), (points(), {})):
        (note,) = opened(tmp_path, one, other)
        assert note.endswith("only one of the two says where it is: taken as the same place")
    assert opened(tmp_path, {}, {}) == ()
