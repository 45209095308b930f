"""ptrain data scene: files that fit together, numbers out of range."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from matplotlib.image import imread

from ptrain import cli
from ptrain.data.scenes.generate import Scene
from ptrain.data.scenes.sidecar import read_category_names
from tests.data.scenes.files import samples, stream


def test_the_files_fit_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = ["--height", "300", "--width", "70", "--bands", "4", "--classes", "3", "--seed", "5"]
    assert cli.main(["data", "scene", str(tmp_path / "new" / "made"), *numbers]) == 0
    folder = tmp_path / "new" / "made"
    assert capsys.readouterr().out == f"scene.tif, reference.tif, unseen.tif and scene.png written to {folder}\n"
    expected = {"scene.tif", "scene.png", *(f"{n}.tif{s}" for n in ("reference", "unseen") for s in ("", ".aux.xml"))}
    assert {path.name for path in folder.iterdir()} == expected
    scene = Scene(height=300, width=70, bands=4, classes=3, noise=0.25, seed=5)
    pixels, reference, truth = (np.concatenate(part) for part in zip(*map(scene.rows, range(5)), strict=True))
    with rasterio.open(folder / "scene.tif") as file:
        assert np.array_equal(np.moveaxis(file.read(), 0, -1), pixels)
        assert file.descriptions == ("450 nm", "1067 nm", "1683 nm", "2300 nm")
    with rasterio.open(folder / "unseen.tif") as file:
        assert np.array_equal(file.read(1), np.where(reference == 0, truth, 0))
    opened = stream(folder / "scene.tif", folder / "reference.tif")
    features, labels, _ = samples(opened)
    assert np.array_equal(features, pixels[reference > 0])
    assert np.array_equal(labels, reference[reference > 0] - 1)
    assert opened.class_names == scene.names
    assert read_category_names(folder / "reference.tif") == ["", *scene.names]
    assert min(imread(folder / "scene.png").shape[:2]) > 100


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--classes", "1"], "--classes 1: expected a whole number from 2 to 255"),
        (["--height", "0"], "--height 0: expected a whole number from 32 to 1000000"),
        (["--noise", "11"], "--noise 11.0: expected a number from 0 to 10"),
        (["--noise", "nan"], "--noise nan: expected a number"),
    ],
)
def test_numbers_out_of_range(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "scene", str(tmp_path / "made"), *flags]) == 2
    assert capsys.readouterr().err == f"ptrain: error: {message}\n"
    assert not (tmp_path / "made").exists()


def test_a_place_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "made").touch()
    assert cli.main(["data", "scene", str(tmp_path / "made")]) == 2
    assert capsys.readouterr().err.startswith(f"ptrain: error: {tmp_path}/made: cannot be made (File exists)")
