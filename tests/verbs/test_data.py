"""ptrain data: info and convert, and tables through train, evaluate and predict."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from sklearn.datasets import load_breast_cancer, load_iris

from ptrain.cli import main
from ptrain.data.store import convert
from tests.ranks import clean_environment, kill_tree, run_group, run_ranks

PTRAIN = [sys.executable, "-m", "ptrain"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_table(path: Path, features: Any, labels: list[str], names: list[str], target: str) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, target])
        writer.writerows([*row, label] for row, label in zip(features, labels, strict=True))
    return path


@pytest.fixture
def iris(tmp_path: Path) -> Path:
    data = load_iris()
    names = [name.replace(" (cm)", "").replace(" ", "_") for name in data.feature_names]
    labels = [str(data.target_names[number]) for number in data.target]
    return write_table(tmp_path / "iris.csv", data.data.tolist(), labels, names, "species")


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(list(argv)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_info_lists_the_columns_of_a_table_without_a_target(iris: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "data", "info", str(iris))
    assert "species       text          -       -        0          3  setosa, versicolor, virginica" in out
    assert "150 rows" in out
    assert "--target NAME" in out
    content = json.loads(said(capsys, "data", "info", str(iris), "--json"))
    assert [one["name"] for one in content["columns"]][-1] == "species"
    assert content["columns"][0]["low"] == 4.3


def test_info_says_what_is_in_the_data(iris: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "data", "info", str(iris), "--target", "species", "--split", "stratified")
    for part in ("150: 120 train, 30 test", "4 of type float32, labels of type uint8", "memory-mapped", "stratified"):
        assert part in out
    assert "setosa         40    10   50  ████████████████████████████████████████" in out
    content = json.loads(said(capsys, "data", "info", str(iris), "--target", "species", "--json"))
    assert content["samples"] == {"train": 120, "test": 30}
    assert content["classes"] == ["setosa", "versicolor", "virginica"]
    assert np.sum([content["counts"][split] for split in content["counts"]], axis=0).tolist() == [50, 50, 50]
    assert content["ranges"][0] == {
        "name": "sepal_length",
        "low": pytest.approx(4.3),
        "high": pytest.approx(7.9),
        "mean": pytest.approx(5.843333, rel=1e-6),
        "missing": 0,
        "infinite": 0,
    }
    assert content["problem"] is None
    # the one pair of equal flowers in iris
    data = load_iris().data
    equal = len(data) - len(np.unique(data, axis=0))
    assert sum(content["duplicates"].values()) == equal == 1


def test_info_counts_samples_that_are_in_two_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    features = np.repeat(np.arange(40, dtype=np.float32), 2).reshape(80, 1)
    np.savez(tmp_path / "t.npz", x=features, y=np.arange(80) // 2 % 2)
    content = json.loads(said(capsys, "data", "info", str(tmp_path / "t.npz"), "--validation", "0.2", "--json"))
    found = content["duplicates"]
    assert found["test"] > 0
    assert found["validation"] > 0
    np.savez(tmp_path / "u.npz", x=np.arange(80, dtype=np.float32).reshape(80, 1), y=np.arange(80) % 2)
    assert "duplicates none" in said(capsys, "data", "info", str(tmp_path / "u.npz"))


def test_info_looks_at_data_that_cannot_be_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    features = np.array([[1, np.nan], [2, np.inf], [3, 4], [5, 6]], dtype=np.float32)
    np.savez(tmp_path / "t.npz", x=features, y=np.array([0, 1, 0, 1]))
    assert main(["data", "info", str(tmp_path / "t.npz")]) == 0
    out, err = capsys.readouterr()
    assert "feature 1  4.0000  6.0000  5.0000        1         1" in out
    assert err.startswith("warning: ")
    path = tmp_path / "t.csv"
    path.write_text("x,z,y\n1,2,a\n,3,b\n3,,a\n4,,b\n")
    assert main(["data", "info", str(path), "--target", "y", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["missing"] == {"x": 1, "z": 2}
    assert "3 missing values: choose --missing mean or --missing drop" in content["problem"]
    path.write_text("x,id,y\n" + "".join(f"{i if i % 2 else 'odd'},n{i},a\n" for i in range(1200)))
    content = json.loads(said(capsys, "data", "info", str(path), "--json"))
    assert [one["kind"] for one in content["columns"]] == ["text", "text", "text"]
    assert [one["many"] for one in content["columns"]] == [False, True, False]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["data", "inform", "digits"], "data inform: did you mean info?"),
        (["data", "info"], "data info: expected ptrain data info SPEC"),
        (["data", "convert", "digits"], "expected ptrain data convert SPEC OUT"),
        (["data", "info", "absent.csv"], "absent.csv: no such file"),
        (["data", "info", "digits", "--target", "y"], "--target y with --data digits: expected only with a table"),
        (["data", "info", "digits", "--features", "a", "--drop", "b"], "--features a with --drop b"),
        (["train", "--data", "digits", "--group", "a"], "--group a with --split random: add --split groups"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_converted_data_train_to_the_same_bits(iris: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "data", "convert", str(iris), str(tmp_path / "arrays"), "--target", "species")
    assert f"{tmp_path / 'arrays'}: 150 samples of 4 features" in out
    assert "holds these data already" in said(
        capsys, "data", "convert", str(iris), str(tmp_path / "arrays"), "--target", "species"
    )
    assert main(["data", "convert", "digits", str(tmp_path / "arrays")]) == 2
    assert "exists and holds something else" in capsys.readouterr().err
    hashes = []
    for number, source in enumerate(([str(iris), "--target", "species"], [str(tmp_path / "arrays")])):
        run = tmp_path / f"run{number}"
        flags = ["--epochs", "2", "--hidden", "8", "--no-report", "--run-dir", str(run)]
        said(capsys, "train", "--data", *source, *flags)
        hashes.append(json.loads((run / "environment.json").read_text()))
    for name in ("parameters_sha256", "data_sha256", "split_sha256"):
        assert hashes[0][name] == hashes[1][name]


@pytest.mark.parametrize("name", ["digits", "xor", "npz"])
def test_every_source_can_be_converted(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "npz":
        np.savez(tmp_path / "t.npz", x_train=np.zeros((4, 2, 3)), y_train=np.arange(4) % 2, x_test=np.ones((2, 2, 3)),
                 y_test=np.arange(2))  # fmt: skip
        name = str(tmp_path / "t.npz")
    said(capsys, "data", "convert", name, str(tmp_path / "out"))
    first, second = (json.loads(said(capsys, "data", "info", at, "--json")) for at in (name, str(tmp_path / "out")))
    for key in ("samples", "classes", "counts", "ranges", "image_shape", "split_sha256"):
        assert first[key] == second[key]


def test_ranks_share_a_conversion_and_a_killed_one_goes_on(tmp_path: Path) -> None:
    rows, width = 80_000, 16
    columns = {f"x{i}": (np.arange(rows) * (i + 1) % 1009).astype(np.float32) / 8 for i in range(width)}
    parquet.write_table(pa.table({**columns, "y": np.arange(rows) % 3}), tmp_path / "t.parquet", row_group_size=4000)
    out = tmp_path / "out"
    command = [*PTRAIN, "data", "convert", str(tmp_path / "t.parquet"), str(out), "--target", "y"]
    environment = {"PTRAIN_CACHE": str(tmp_path / "cache")}
    first = subprocess.Popen(command, env=clean_environment(environment), stdout=subprocess.DEVNULL)
    begun = time.monotonic()
    while len(list(convert.partial_of(out).glob("piece-*.json"))) < 3:
        assert time.monotonic() - begun < 60
        assert first.poll() is None
        time.sleep(0.001)
    kill_tree(first.pid)
    first.wait(10)
    assert not out.exists()
    kept = {path.name: path.stat().st_mtime_ns for path in convert.partial_of(out).glob("piece-*.json")}
    assert kept
    done = run_ranks(command, 2, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "on 2 ranks" in done.stdout
    assert "80,000 samples of 16 features" in done.stdout
    whole = tmp_path / "whole"
    done = run_group([*command[:-3], str(whole), "--target", "y"], env=environment)
    assert done.returncode == 0
    for name in ("features.npy", "labels.npy", "data.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(path.name for path in out.iterdir()) == ["data.json", "features.npy", "labels.npy"]


def test_bad_data_to_convert_end_all_ranks_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,a\n2\n")
    done = run_ranks([*PTRAIN, "data", "convert", str(path), str(tmp_path / "out"), "--target", "y"], 2)
    assert done.returncode == 2
    assert done.stderr.count(f"{path}, line 3: 1 values; expected 2") == 1
    assert sorted(one.name for one in tmp_path.iterdir() if one.name != "cache") == ["t.csv"]


def test_a_table_through_train_evaluate_and_predict_on_any_number_of_ranks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cancer = load_breast_cancer()
    generator = np.random.default_rng(0)
    features = cancer.data[:, :6].astype(object)
    features[generator.random(features.shape) < 0.05] = ""
    places = np.where(generator.random(len(features)) < 0.5, "north", "south")
    patients = generator.integers(0, 80, len(features))
    table = [[*row, place, f"p{patient}"] for row, place, patient in zip(features, places, patients, strict=True)]
    names = [*(name.replace(" ", "_") for name in cancer.feature_names[:6]), "place", "patient"]
    path = write_table(tmp_path / "cancer.csv", table, [cancer.target_names[i] for i in cancer.target], names, "what")
    environment = {"PTRAIN_CACHE": str(tmp_path / "cache")}
    flags = ["--target", "what", "--missing", "mean", "--split", "groups", "--group", "patient", "--epochs", "8"]
    hashes = []
    for ranks in (1, 3):
        run = tmp_path / f"run{ranks}"
        command = ["train", "--data", str(path), *flags, "--hidden", "16", "--no-report", "--run-dir", str(run)]
        if ranks == 1:
            assert main(command) == 0
        else:
            done = run_ranks([*PTRAIN, *command], ranks, env=environment)
            assert (done.returncode, done.stderr) == (0, "")
        hashes.append(json.loads((run / "environment.json").read_text())["parameters_sha256"])
        evaluated = json.loads((run / "evaluation.json").read_text())
        assert evaluated["overall_accuracy"] > 0.8
    assert hashes[0] == hashes[1]
    capsys.readouterr()
    # the whole table again, as data of others: the same columns, means and classes are used
    assert main(["evaluate", str(run), "--data", str(path), "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["num_samples"] == len(table)
    unlabelled = tmp_path / "new.csv"
    with unlabelled.open("w", newline="") as file:
        numbered = ([f"{number:03d}", *row[::-1]] for number, row in enumerate(table))
        csv.writer(file).writerows([["plot_id", *names[::-1]], *numbered])
    predicted = tmp_path / "classes.npy"
    done = run_ranks([*PTRAIN, "predict", str(run), str(unlabelled), "--out", str(predicted)], 2, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert np.load(predicted, allow_pickle=False)["plot_id"].tolist() == [f"{n:03d}" for n in range(len(table))]
    classes = np.load(predicted, allow_pickle=False)["class"]
    names_of = np.array(["benign", "malignant"])
    right = int((names_of[classes] == cancer.target_names[cancer.target]).sum())
    assert right / len(table) == pytest.approx(whole["overall_accuracy"])
