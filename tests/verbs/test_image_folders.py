"""Folders of images from training to predictions: classes by name, files by name."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptrain.cli import main

LEVELS = {"10": 30, "2": 90, '=a, "b"': 150, "é NA": 220}
"""Brightness of each class, by its name, in their order."""


def write(folder: Path, *classes: str, count: int = 8) -> Path:
    chance = np.random.default_rng(len(classes))
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            values = chance.normal(LEVELS[name], 5, (4, 4)).clip(0, 255).astype(np.uint8)
            Image.fromarray(values).save(folder / name / f"IMG {number}.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name in ("train", "VAL", "Test"):
        write(folder / "photos" / name, *LEVELS)
    command = ["train", "--data", str(folder / "photos"), "--run-dir", str(folder / "run"), "--no-report"]
    settings = ["--hidden", "16", "--epochs", "40", "--batch-size", "8", "--optimizer", "adam", "--lr", "0.01"]
    assert main([*command, *settings, "--early-stopping", "40"]) == 0
    return folder / "run"


def evaluation(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    return content


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_each_split_of_a_folder_is_used_for_what_it_is(run: Path) -> None:
    found = evaluation(run)
    assert (found["num_samples"], found["class_names"]) == (32, list(LEVELS))
    assert found["overall_accuracy"] == 1.0
    for name, heading in (("per_class.csv", "class"), ("confusion.csv", "reference/prediction")):
        assert [row[0] for row in rows_of(run / name)] == [heading, *LEVELS]
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["validation_accuracy"] == 1.0


def test_a_folder_that_lacks_a_class_is_evaluated_by_the_names_of_the_others(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "new", *(name for name in LEVELS if name != "2"))
    assert main(["evaluate", str(run), "--data", str(data), "--out", str(tmp_path / "out")]) == 0
    found = evaluation(tmp_path / "out")
    assert found["overall_accuracy"] == 1.0
    assert {row["class"]: row["support"] for row in found["per_class"]} == {
        name: 0 if name == "2" else 8 for name in LEVELS
    }
    assert "classes are matched by name; it has no samples of 2" in capsys.readouterr().out
    (data / "é NA").rename(data / "45")
    assert main(["evaluate", str(run), "--data", str(data), "--out", str(tmp_path / "out")]) == 2
    assert "new: class '45' is none of the classes of the training samples" in capsys.readouterr().err


def test_the_split_of_other_data_that_is_evaluated_is_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, classes in (("train", ["10", "2"]), ("test", ["2"])):
        write(tmp_path / "other" / name, *classes)
    assert main(["evaluate", str(run), "--data", str(tmp_path / "other"), "--out", str(tmp_path / "out")]) == 0
    assert evaluation(tmp_path / "out")["num_samples"] == 8
    assert "its test split is evaluated, train not: see --split" in capsys.readouterr().out


def test_predictions_name_their_files(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, level in ((2, 30), (10, 220), (1, 150)):
        Image.new("L", (4, 4), level).save(flat / f"IMG_{number}, new.png")
    (flat / ".DS_Store").write_bytes(b"x")
    assert main(["predict", str(run), str(flat), "--out", str(tmp_path / "a.csv")]) == 0
    assert "left out: 1 hidden file" in capsys.readouterr().out
    rows = rows_of(tmp_path / "a.csv")
    assert rows[0] == ["sample", "file", "class", *(f"p({name})" for name in LEVELS)]
    assert [row[:3] for row in rows[1:]] == [
        ["0", "IMG_1, new.png", '=a, "b"'],
        ["1", "IMG_10, new.png", "é NA"],
        ["2", "IMG_2, new.png", "10"],
    ]
    assert main(["predict", str(run), str(tmp_path), "--out", str(tmp_path / "b.npy")]) == 0
    found = np.load(tmp_path / "b.npy", allow_pickle=False)
    assert found["file"].tolist() == [f"flat/IMG_{number}, new.png" for number in (1, 10, 2)]
    assert found["class"].tolist() == [2, 3, 0]
    assert main(["predict", str(run), str(flat / "IMG_10, new.png"), "--out", str(tmp_path / "c.csv")]) == 0
    assert [line.split(",")[0] for line in (tmp_path / "c.csv").read_text().splitlines()] == ["sample", "0"]


def test_a_run_does_not_go_on_with_other_names_of_classes(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "data", "10", "2")
    command = ["train", "--data", str(data), "--run-dir", str(tmp_path / "run"), "--no-report", "--hidden", "2"]
    assert main([*command, "--epochs", "1"]) == 0
    (data / "2").rename(data / "3")
    capsys.readouterr()
    assert main([*command, "--epochs", "1", "--resume"]) == 2
    assert "classes: 10, 2 -> 10, 3" in capsys.readouterr().err


def test_early_stopping_needs_a_validation_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train", "val"):
        write(tmp_path / "two" / name, "10", "2")
    command = ["train", "--data", str(tmp_path / "two"), "--run-dir", str(tmp_path / "run"), "--no-report"]
    assert main([*command, "--early-stopping", "2"]) == 2
    said = capsys.readouterr()
    assert "it is the test split here" in said.out
    assert said.err.count("\n") == 1
    assert "--early-stopping 2 without a validation split: add --validation 0.1" in said.err
