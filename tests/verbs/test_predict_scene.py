"""Maps of scenes unlike the training scene: bands by name, control points, class 0, pixels without a value."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC

from ptrain import cli
from ptrain.data.scenes.sidecar import read_category_names
from tests.data.scenes.files import UTM, write

NAMES = ("B02", "B03", "B04", "B08")
ORDER = [2, 1, 0, 3]
SPECTRA = np.array([[300, 800, 1500, 900], [1500, 800, 300, 900], [800, 300, 900, 1500]])
VALUES = np.kron(np.random.default_rng(3).integers(0, 3, (6, 8)), np.ones((8, 8), int)).astype(np.uint8)
CUBE = (SPECTRA[VALUES] + np.random.default_rng(0).normal(0, 40, (*VALUES.shape, 4))).astype(np.uint16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a scene, its reference, where 0 is water, and a run."""
    made = tmp_path_factory.mktemp("scenes")
    write(made / "s.tif", CUBE, names=NAMES, **UTM)
    reference = VALUES.copy()
    reference[:8] = 255
    tags = [{"CLASS_0": "water", "CLASS_1": "oak", "CLASS_2": "beech"}]
    write(made / "r.tif", reference, nodata=255, tags=tags, **UTM)
    flags = ["--data", f"{made}/s.tif", "--labels", f"{made}/r.tif", "--normalize", "standard", "--no-report"]
    flags += ["--hidden", "none", "--epochs", "10", "--batch-size", "32", "--optimizer", "adam", "--lr", "0.05"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTRAIN_CACHE", f"{made}/cache")
        assert cli.main(["train", *flags, "--run-dir", f"{made}/run"]) == 0
    return made


def mapped(folder: Path, scene: Path, out: Path) -> NDArray[Any]:
    assert cli.main(["predict", str(scene), "--run", f"{folder}/run", "--out", str(out)]) == 0
    with rasterio.open(out) as file:
        return file.read(1)  # type: ignore[no-any-return]


def test_zero_is_a_class_of_the_map(folder: Path, tmp_path: Path) -> None:
    found = mapped(folder, folder / "s.tif", tmp_path / "map.tif")
    assert np.array_equal(found, VALUES)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.nodata == 255
        assert (file.crs, file.transform) == (UTM["crs"], UTM["transform"])
        assert file.colormap(1)[0][:3] != (0, 0, 0)
        assert file.tags(1)["CLASS_0"] == "water"
    assert read_category_names(tmp_path / "map.tif") == ["water", "oak", "beech"]


def test_bands_are_read_by_name(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = mapped(folder, folder / "s.tif", tmp_path / "s-map.tif")
    mixed = np.concatenate([CUBE[:, :, ORDER], CUBE[:, :, :1]], axis=2)
    names = (*(NAMES[band].lower() for band in ORDER), "B11")
    scene = write(tmp_path / "w.tif", mixed, names=names, **UTM)
    capsys.readouterr()
    assert np.array_equal(mapped(folder, scene, tmp_path / "map.tif"), expected)
    told = capsys.readouterr()
    assert f"{scene}: its bands are in another order, and are read in that of the training: B02" in told.out
    assert f"{scene}: bands that the training scene does not have are left out: B11" in told.out
    assert told.err == ""
    unnamed = write(tmp_path / "u.tif", CUBE, **UTM)
    assert np.array_equal(mapped(folder, unnamed, tmp_path / "map.tif"), expected)
    assert "warning: " in capsys.readouterr().err
    less = write(tmp_path / "l.tif", CUBE[:, :, :3], names=NAMES[:3], **UTM)
    assert cli.main(["predict", str(less), "--run", f"{folder}/run", "--out", f"{tmp_path}/no.tif"]) == 2
    assert "l.tif: has no band B08, only B02, B03, B04" in capsys.readouterr().err
    assert not (tmp_path / "no.tif").exists()


def test_evaluation_reads_by_name_as_well(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = write(tmp_path / "w.tif", CUBE[:, :, ORDER], names=[NAMES[band] for band in ORDER], **UTM)
    # the classes have other numbers here, and the same names
    tags = [{"CLASS_1": "oak", "CLASS_2": "beech", "CLASS_3": "water"}]
    labels = write(tmp_path / "r.tif", np.where(VALUES == 0, 3, VALUES).astype(np.uint8), tags=tags, **UTM)
    command = ["evaluate", f"{folder}/run", "--data", str(scene), "--labels", str(labels), "--out", f"{tmp_path}/e"]
    assert cli.main(command) == 0
    found = json.loads((tmp_path / "e" / "evaluation.json").read_bytes())
    assert (found["overall_accuracy"], found["num_samples"]) == (1, VALUES.size)
    told = capsys.readouterr().out
    assert "its bands are in another order" in told
    assert "classes are matched by name, not by number: 3 is water" in told


def test_pixels_without_a_value_are_counted_by_reason(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    valid = np.ones(VALUES.shape, bool)
    valid[:5] = False
    cube = CUBE.copy()
    cube[10, :4, 1] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        scene = write(tmp_path / "s.tif", cube, names=NAMES, nodata=0, mask=valid, **UTM)
    found = mapped(folder, scene, tmp_path / "map.tif")
    valid[10, :4] = False
    assert np.array_equal(found, np.where(valid, VALUES, 255))
    said = "324 pixels without a value in the scene (320 masked out, 4 nodata) are 255, the map's nodata value"
    assert said in capsys.readouterr().out


def test_control_points_and_rational_polynomials_are_kept(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    height, width = VALUES.shape
    gcps = [
        GroundControlPoint(row=row, col=column, x=11 + column * 1e-4, y=48 - row * 1e-4, z=3.0)
        for row in (0, height) for column in (0, width)
    ]  # fmt: skip
    one, line, sample = ([float(place == n) for place in range(20)] for n in range(3))
    rpcs = RPC(
        height_off=1, height_scale=2, lat_off=48, lat_scale=1, long_off=11, long_scale=1, line_off=10, line_scale=10,
        samp_off=10, samp_scale=10, line_num_coeff=line, line_den_coeff=one, samp_num_coeff=sample, samp_den_coeff=one,
    )  # fmt: skip
    points = write(tmp_path / "p.tif", CUBE, names=NAMES, gcps=gcps, crs="EPSG:4326")
    assert np.array_equal(mapped(folder, points, tmp_path / "map.tif"), VALUES)
    with rasterio.open(tmp_path / "map.tif") as file:
        found, crs = file.gcps
        assert crs == "EPSG:4326"
        assert [(p.row, p.col, p.x, p.y, p.z) for p in found] == [(p.row, p.col, p.x, p.y, p.z) for p in gcps]
    sensor = write(tmp_path / "r.tif", CUBE, names=NAMES, rpcs=rpcs)
    assert "does not say where it is" not in capsys.readouterr().out
    mapped(folder, sensor, tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.rpcs.to_dict() == rpcs.to_dict() | {"err_bias": -1, "err_rand": -1}
    assert "does not say where it is" not in capsys.readouterr().out
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        mapped(folder, write(tmp_path / "n.tif", CUBE, names=NAMES), tmp_path / "map.tif")
    assert f"{tmp_path}/n.tif does not say where it is, and neither does the map" in capsys.readouterr().out
