"""What somebody gets who only names the data: a good model, whatever its type; foreign scales are named."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from sklearn import datasets

from ptrain.cli import main
from ptrain.config import build
from ptrain.data.sources.digits import open_digits
from ptrain.data.store.stream import Request
from ptrain.errors import StopRequested
from ptrain.run import checkpoint
from ptrain.run.directory import read_model
from ptrain.run.train import train
from tests.data.scenes.files import UTM, write
from tests.golden_hashes import DIGITS, DIGITS_SGD


def trained(folder: Path, **values: Any) -> dict[str, Any]:
    """Train with one thread, unless told otherwise, and return evaluation.json."""
    train(build({"run_dir": str(folder / "run"), "threads": 1, "report": False, **values}))
    found: dict[str, Any] = json.loads((folder / "run" / "evaluation.json").read_text())
    return found


def saved(folder: Path, *arrays: Any) -> dict[str, str]:
    """Save features and labels, and those of the test split if they are given, and return the flags for them."""
    flags = ("data", "labels", "test_data", "test_labels")[: len(arrays)]
    paths = {flag: str(folder / f"{flag}.npy") for flag in flags}
    for path, array in zip(paths.values(), arrays, strict=True):
        np.save(path, array)
    return paths


@pytest.mark.parametrize("values", [{}, {"threads": 2}, {"step": "messages"}])
def test_the_digits(tmp_path: Path, values: dict[str, Any]) -> None:
    """scikit-learn's MLPClassifier() has 0.9721 on the same split."""
    found = trained(tmp_path, **values)
    assert found["parameters_sha256"] == DIGITS
    assert found["overall_accuracy"] >= 0.9721


def test_one_flag_gives_the_settings_of_the_lecture(tmp_path: Path) -> None:
    assert trained(tmp_path, optimizer="sgd")["parameters_sha256"] == DIGITS_SGD
    stored = (tmp_path / "run" / "config.toml").read_text()
    assert all(line in stored.splitlines() for line in ('optimizer = "sgd"', "lr = 0.1", "batch_size = 128"))


@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", ">f8"])
def test_the_same_digits_in_a_file_of_any_type_give_the_same_bits(tmp_path: Path, dtype: str) -> None:
    source = open_digits("", Request(config=build({}).data))
    assert source.test is not None
    x, y, test_x, test_y = source.train.features, source.train.labels, source.test.features, source.test.labels
    files = saved(tmp_path, x.astype(dtype), y, test_x.astype(dtype), test_y)
    assert trained(tmp_path, **files)["parameters_sha256"] == DIGITS


@pytest.mark.parametrize(("name", "least"), [("iris", 0.93), ("wine", 0.97), ("breast_cancer", 0.95)])
def test_measurements_in_different_units(tmp_path: Path, name: str, least: float) -> None:
    """Wine as it is, from 0.1 to 1,680, had an accuracy of 0.39."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    assert trained(tmp_path, **saved(tmp_path, x, y), split="stratified")["overall_accuracy"] >= least


def test_seconds_since_1970(tmp_path: Path) -> None:
    """A time stamp decides by 20 seconds; in float32 its steps are of 128."""
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 1000)
    time = 1_700_000_000 + 20 * y + random.integers(0, 15, 1000)
    content = "".join(f"{a},{b},{c}\n" for a, b, c in zip(time.tolist(), random.normal(size=1000), y, strict=True))
    (tmp_path / "log.csv").write_text("time,other,label\n" + content)
    for files in (saved(tmp_path, time[:, None], y), {"data": str(tmp_path / "log.csv"), "target": "label"}):
        folder = tmp_path / Path(files["data"]).stem
        folder.mkdir()
        assert trained(folder, **files, epochs=10)["overall_accuracy"] == 1.0


def test_a_run_of_an_earlier_version_continues_with_its_own_scaling(tmp_path: Path) -> None:
    """Where auto was once another rule, the offsets of the checkpoint count."""
    x, y = datasets.load_wine(return_X_y=True)
    flags = saved(tmp_path, x, y) | {"epochs": 2, "hidden": [4]}
    with pytest.raises(StopRequested):
        trained(tmp_path, **flags, max_steps=1)
    (path,) = checkpoint.paths(tmp_path / "run" / "checkpoints")
    found = checkpoint.read(path)
    old = {"offset": 1.0, "scale": 0.001}
    record = found.record | {"model": found.record["model"] | {"normalization": old}}
    checkpoint.write(path.parent, found.record["step"], replace(found, record=record).tensors, record)
    assert main(["train", "--resume", "--run-dir", str(tmp_path / "run"), "--no-report"]) == 0
    _, about = read_model(tmp_path / "run" / "model.safetensors")
    assert (about["normalization"]["offset"], about["normalization"]["scale"]) == (1.0, 0.001)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table of people, and a run that was trained on it."""
    folder = tmp_path_factory.mktemp("people")
    table(folder / "people.csv", 200, 1.0)
    trained(folder, data=str(folder / "people.csv"), target="tall", epochs=2, hidden=[4])
    return folder


def table(path: Path, rows: int, unit: float) -> Path:
    random = np.random.default_rng(rows)
    height, weight = random.normal(170, 10, rows), random.normal(70, 9, rows)
    lines = [f"{h * unit},{w},{'yes' if h > 170 else 'no'}" for h, w in zip(height, weight, strict=True)]
    path.write_text("\n".join(["height,weight,tall", *lines]) + "\n")
    return path


@pytest.mark.parametrize(
    ("rows", "unit", "warned"), [(1, 1.0, False), (50, 1.0, False), (50, 0.01, True), (1, 10, True)]
)
def test_predict_and_evaluate_name_a_column_in_another_unit(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: int, unit: float, warned: bool
) -> None:
    new, run = str(table(tmp_path / "new.csv", rows, unit)), str(people / "run")
    assert main(["predict", run, new, "--out", str(tmp_path / "out.csv")]) == 0
    predicted = capsys.readouterr().err
    assert main(["evaluate", run, "--data", new, "--out", str(tmp_path / "out")]) == 0
    evaluated = capsys.readouterr().err
    for error in (predicted, evaluated):
        assert ("on another scale than the training data (height: " in error) == warned
        assert ("weight" in error) is False


def test_a_map_of_reflectances_by_a_run_on_digital_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    reference = np.repeat([[1], [2]], 20, axis=0).repeat(30, axis=1).astype(np.uint8)
    numbers = (random.normal(800, 50, (40, 30, 4)) * reference[..., None]).astype(np.uint16)
    paths = {name: str(tmp_path / f"{name}.tif") for name in ("numbers", "labels", "brighter", "reflectance")}
    write(Path(paths["numbers"]), numbers, **UTM)
    write(Path(paths["labels"]), reference, **UTM)
    write(Path(paths["brighter"]), (numbers * 1.1).astype(np.uint16), **UTM)
    write(Path(paths["reflectance"]), (numbers / 10_000).astype(np.float32), **UTM)
    trained(tmp_path, data=paths["numbers"], labels=paths["labels"], epochs=3, hidden=[4])
    capsys.readouterr()
    for name, warned in (("numbers", False), ("brighter", False), ("reflectance", True)):
        assert main(["predict", str(tmp_path / "run"), paths[name], "--out", str(tmp_path / f"{name}-map.tif")]) == 0
        assert ("on another scale than the training data" in capsys.readouterr().err) == warned
    with rasterio.open(tmp_path / "numbers-map.tif") as found:
        assert (found.read(1) == reference).mean() > 0.95


def test_without_scaling_training_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = datasets.load_wine(return_X_y=True)
    trained(tmp_path, **saved(tmp_path, 1000 * x, y), normalize="none", epochs=1)
    error = capsys.readouterr().err
    assert "inputs far from unit size (feature " in error
    assert "is far above ln(3) = 1.099" in error
