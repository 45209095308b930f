"""ptrain predict of a scene: the same map on any number of ranks, its legend, and nothing half-written."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import scipy.io
from matplotlib.image import imread
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from ptrain import cli
from ptrain.config import RunConfig
from ptrain.data.scenes.generate import Scene
from ptrain.data.scenes.sidecar import read_category_names
from ptrain.verbs.predict import PredictOptions, samples
from ptrain.verbs.predict import scene_map as predict_map
from tests.data.scenes.files import UTM, write
from tests.ranks import ROOT, clean_environment, kill_tree, run_group, run_ranks
from tests.verbs.test_full_disk import on_tmpfs

PTRAIN = [sys.executable, "-m", "ptrain"]
VALUES = np.array([0, 3, 7, 300], np.uint16)
"""Class values in the reference: not 1, 2, 3, and too large for a byte."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with scene.tif and a run that was trained on it."""
    folder = tmp_path_factory.mktemp("scenes")
    made = Scene(height=310, width=300, bands=3, classes=3, noise=0.1, seed=1)
    pixels, reference, _ = (np.concatenate(part) for part in zip(*map(made.rows, range(made.num_blocks)), strict=True))
    write(folder / "scene.tif", pixels, nodata=0, compress="deflate", **UTM)
    colors = {int(value): (int(value) % 256, 50, 60) for value in VALUES[1:]}
    write(folder / "reference.tif", VALUES[reference], colors=colors, **UTM)
    flags = ["--data", str(folder / "scene.tif"), "--labels", str(folder / "reference.tif"), "--neighborhood", "3"]
    flags += ["--split", "blocks", "--epochs", "1", "--hidden", "8", "--normalize", "standard", "--no-report"]
    cache = {"PTRAIN_CACHE": str(folder / "cache")}
    done = run_group([*PTRAIN, "train", *flags, "--run-dir", str(folder / "run")], timeout=100, env=cache)
    assert done.returncode == 0, done.stderr
    assert "labelled pixels are left out, whose neighbourhood reaches into another block" in done.stderr
    assert "--split random" not in done.stderr
    return folder


def read(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as file:
        return file.read(1)  # type: ignore[no-any-return]


def run(trained: Path, scene: Path | str, out: Path) -> int:
    options = PredictOptions(paths=(str(trained / "run"), str(scene)), out=str(out))
    return samples.run(options, RunConfig(backend="single", threads=2))


@pytest.fixture(scope="module")
def mapped(trained: Path) -> Path:
    """Return the map of the training scene, made by one rank."""
    assert run(trained, trained / "scene.tif", trained / "map.tif") == 0
    return trained / "map.tif"


@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_writes_the_same_bytes(trained: Path, mapped: Path, tmp_path: Path, ranks: int) -> None:
    command = [*PTRAIN, "predict", str(trained / "scene.tif"), "--run", str(trained / "run")]
    done = run_ranks([*command, "--out", str(tmp_path / "map.tif"), "--threads", "1"], ranks, timeout=100)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.png", "map.tif", "map.tif.aux.xml"]
    for path in tmp_path.iterdir():
        assert path.read_bytes() == mapped.with_name(path.name).read_bytes()
    assert "300 x 310 pixels written to" in done.stdout


def test_the_map_says_where_it_is_and_what_its_values_mean(trained: Path, mapped: Path) -> None:
    with rasterio.open(mapped) as file, rasterio.open(trained / "scene.tif") as scene:
        assert (file.shape, file.crs, file.transform) == (scene.shape, scene.crs, scene.transform)
        assert (file.dtypes, file.nodata, file.profile["tiled"], file.compression.name) == (
            ("uint16",),
            0,
            True,
            "deflate",
        )
        assert [file.colormap(1)[int(value)] for value in VALUES[1:]] == [
            (3, 50, 60, 255), (7, 50, 60, 255), (44, 50, 60, 255),
        ]  # fmt: skip
        assert {key: value for key, value in file.tags(1).items() if key.startswith("CLASS")} == {
            "CLASS_3": "3", "CLASS_7": "7", "CLASS_300": "300",
        }  # fmt: skip
        empty = (scene.read() == 0).any(axis=0)
    values = read(mapped)
    assert set(np.unique(values)) <= set(VALUES)
    near = np.pad(empty, 1, mode="reflect")
    seen = np.lib.stride_tricks.sliding_window_view(near, (3, 3)).any(axis=(2, 3))
    assert np.array_equal(values == 0, seen)
    names = read_category_names(mapped)
    assert (names[3], names[7], names[300], len(names)) == ("3", "7", "300", 301)


def test_the_picture_shows_the_map_in_its_colours(mapped: Path) -> None:
    picture = imread(mapped.with_suffix(".png"))[:, :-200]  # without the legend
    assert min(picture.shape[:2]) > 300
    values = read(mapped)
    for value in VALUES[1:]:
        colour = np.array([value % 256, 50, 60]) / 255
        shown = (np.abs(picture[:, :, :3] - colour) < 0.01).all(axis=2)
        assert shown.any() == (values == value).any()


def test_a_pixel_gets_the_class_that_its_features_get_alone(trained: Path, mapped: Path, tmp_path: Path) -> None:
    with rasterio.open(trained / "scene.tif") as file:
        wide = np.pad(np.moveaxis(file.read(), 0, -1), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    values = read(mapped)
    rows, columns = np.nonzero(values)
    np.save(tmp_path / "features.npy", around[rows, columns].reshape(len(rows), -1))
    assert run(trained, tmp_path / "features.npy", tmp_path / "classes.npy") == 0
    classes = np.load(tmp_path / "classes.npy")["class"]
    assert np.array_equal(classes, values[rows, columns])


def test_windows_do_not_change_the_map(
    trained: Path, mapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rasterio.open(trained / "scene.tif") as file:
        pixels = np.moveaxis(file.read(), 0, -1)
    tiled = write(tmp_path / "t.tif", pixels, nodata=0, tiled=True, blockxsize=64, blockysize=64, **UTM)
    monkeypatch.setattr(predict_map, "WINDOW_BYTES", 256 * 6 * 10)
    assert run(trained, tiled, tmp_path / "map.tif") == 0
    assert (tmp_path / "map.tif").read_bytes() == mapped.read_bytes()


def test_scenes_without_a_place_and_of_matlab(trained: Path, mapped: Path, tmp_path: Path) -> None:
    with rasterio.open(trained / "scene.tif") as file:
        pixels = np.moveaxis(file.read(), 0, -1)
    write(tmp_path / "s.img", pixels, driver="ENVI", nodata=0)
    scipy.io.savemat(tmp_path / "s.mat", {"cube": pixels})
    for spec in (f"scene:{tmp_path}/s.img", f"scene:{tmp_path}/s.mat:/cube"):
        assert run(trained, spec, tmp_path / "map.tif") == 0
        with pytest.warns(NotGeoreferencedWarning):
            values = read(tmp_path / "map.tif")
        known = read(mapped) > 0
        assert np.array_equal(values[known], read(mapped)[known])


def test_what_does_not_fit(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene, out = trained / "scene.tif", tmp_path / "map.tif"
    two = write(tmp_path / "two.tif", np.ones((20, 20, 2), np.uint16), **UTM)
    small = write(tmp_path / "small.tif", np.ones((2, 20, 3), np.uint16), **UTM)
    broken = tmp_path / "broken.tif"
    broken.write_bytes(scene.read_bytes()[:-3000])
    shutil.copy(scene, tmp_path / "own.tif")
    cases = [
        (two, out, "two.tif: 2 bands; expected 3, those of the training scene"),
        (small, out, "small.tif: 20 x 2 pixels; expected at least 3 x 3"),
        (broken, out, "the file is truncated or damaged: fetch or write it again"),
        (scene, tmp_path / "map.csv", "is a scene, which is predicted as a map; expected a name ending in .tif"),
        (tmp_path / "x.npy", out, "a map is of a scene, which"),
        (tmp_path / "own.tif", tmp_path / "own.tif", "is the scene itself; expected another name"),
        (scene, tmp_path / "missing" / "map.tif", "expected a folder that exists"),
    ]
    for given, target, message in cases:
        code = cli.main(["predict", str(given), "--run", str(trained / "run"), "--out", str(target), "--threads", "1"])
        error = capsys.readouterr().err
        assert code == 2
        assert error.startswith("ptrain: error: ")
        assert message in error
        assert error.count("\n") == 1
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"two.tif", "small.tif", "broken.tif", "own.tif"}


def test_a_damaged_scene_ends_all_ranks(trained: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tif"
    broken.write_bytes((trained / "scene.tif").read_bytes()[:-3000])
    command = [*PTRAIN, "predict", str(trained / "run"), str(broken), "--out", str(tmp_path / "map.tif")]
    done = run_ranks([*command, "--threads", "1"], 2, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("ptrain: error: ") == 1
    assert "broken.tif: rows " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["broken.tif"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_map_leaves_nothing(trained: Path, tmp_path: Path, number: signal.Signals) -> None:
    with rasterio.open(trained / "scene.tif") as file:
        pixels = np.moveaxis(file.read(), 0, -1)
    large = write(tmp_path / "large.tif", np.tile(pixels, (8, 8, 1)), nodata=0, compress="deflate", zlevel=1, **UTM)
    command = [
        *PTRAIN,
        "predict",
        str(trained / "run"),
        str(large),
        "--out",
        str(tmp_path / "map.tif"),
        "--threads",
        "1",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=clean_environment(), cwd=ROOT, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not any(".tmp" in path.name for path in tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        assert process.poll() is None
        os.kill(process.pid, number)
        _, error = process.communicate(timeout=30)
    finally:
        kill_tree(process.pid)
    assert (process.returncode, error) == (130, "ptrain: interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["large.tif"]


@pytest.mark.alone
def test_a_full_disk(trained: Path, tmp_path: Path) -> None:
    command = f'"$0" -m ptrain predict {trained}/run {trained}/scene.tif --out "$1/map.tif" --threads 1'
    script = f'{command}; code=$?; ls -A "$1"; exit $code'
    code, stdout, stderr = on_tmpfs(tmp_path, "size=4k", script)
    assert code == 2, stderr
    assert stderr.count("ptrain: error: ") == 1
    assert "map.tif: cannot be written" in stderr
    assert ".tmp" not in stdout.splitlines()[-1]
    assert "Traceback" not in stderr


MEASURE = """
import resource, sys
import numpy as np, rasterio
from ptrain.config import RunConfig
from ptrain.verbs.predict import PredictOptions, samples

def make(path, height):
    options = {"height": height, "width": 8000, "count": 3, "dtype": "uint16", "nodata": 0, "driver": "GTiff"}
    with rasterio.open(path, "w", compress="deflate", zlevel=1, tiled=True, **options) as file:
        for top in range(0, height, 256):
            rows = np.full((3, min(256, height - top), 8000), 0, np.uint16)
            rows[:, :1, :2000] = 500
            file.write(rows, window=((top, top + rows.shape[1]), (0, 8000)))

run, folder = sys.argv[1:]
peaks = []
for name, height in (("small", 512), ("large", 4096)):
    make(f"{folder}/{name}.tif", height)
    options = PredictOptions(paths=(run, f"{folder}/{name}.tif"), out=f"{folder}/{name}-map.tif")
    samples.run(options, RunConfig(backend="single", threads=1))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
print(*peaks)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_scene(trained: Path, tmp_path: Path) -> None:
    """200 MB of pixels take no more than 25 MB of them do; most have no value, so that the test is about reading."""
    done = run_group([sys.executable, "-W", "ignore", "-c", MEASURE, str(trained / "run"), str(tmp_path)], timeout=200)
    assert done.returncode == 0, done.stderr
    small, large = map(int, done.stdout.splitlines()[-1].split())
    assert large - small < 60
