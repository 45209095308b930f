import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptrain.errors import RunDirectoryError
from ptrain.evaluation.mergeable import count_samples, summarise_counts
from ptrain.evaluation.scores import summarise
from ptrain.evaluation.table import UNDEFINED, evaluation_tables, write_files

AWKWARD = ["T-shirt, top", 'the "other" one', "Größe\nzwei"]


@pytest.fixture
def summary() -> dict[str, Any]:
    return summarise(np.array([[3, 1, 0], [1, 5, 0], [0, 0, 0]]), AWKWARD, loss=0.25)


def test_tables(summary: dict[str, Any]) -> None:
    classes, totals = evaluation_tables(summary)
    assert classes.columns == ["class", "support", "precision (UA)", "recall (CA)", "F1"]
    assert classes.rows[0] == ["T-shirt, top", "4", "0.7500", "0.7500", "0.7500"]
    assert classes.rows[2][2:] == [UNDEFINED] * 3
    values = {row[0]: row[1] for row in totals.rows}
    assert values["overall accuracy (OA)"] == "0.8000"
    assert values["average accuracy (AA)"] == values["macro recall"] == "0.7917"
    assert values["kappa"] == "0.5833"
    assert values["loss"] == "0.2500"
    assert totals.rows[0][2] == "0.4902 to 0.9645"
    assert totals.title == "Totals over 10 samples"
    assert totals.notes[-1] == f"{UNDEFINED} undefined (0/0)"
    assert all(isinstance(cell, str) for table in (classes, totals) for row in table.rows for cell in row)


def test_tables_show_what_was_counted_of_probabilities() -> None:
    scores = np.full((2, 4), 0.25)
    counts = count_samples([0, 1], [0, 0], 4, probabilities=scores)
    rows = {row[0]: row[1] for row in evaluation_tables(summarise_counts(counts, list("abcd")))[1].rows}
    assert rows["log loss"] == "1.3863"
    assert rows["top-3 accuracy"] == "1.0000"
    assert "top-5 accuracy" not in rows


def test_files(summary: dict[str, Any], tmp_path: Path) -> None:
    summary["parameters_sha256"] = "00ff"
    write_files(summary, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.csv", "evaluation.json", "per_class.csv"]
    assert json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8")) == summary
    with (tmp_path / "confusion.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["reference/prediction", *AWKWARD]
    assert [row[0] for row in rows[1:]] == AWKWARD
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == summary["confusion"]
    with (tmp_path / "per_class.csv").open(encoding="utf-8", newline="") as file:
        classes = list(csv.DictReader(file))
    assert [row["class"] for row in classes] == AWKWARD
    assert float(classes[0]["recall_low"]) == summary["per_class"][0]["intervals"]["recall"][0]
    assert classes[2]["recall"] == classes[2]["recall_high"] == ""


def test_files_are_replaced(summary: dict[str, Any], tmp_path: Path) -> None:
    write_files(summary, tmp_path)
    write_files(summary | {"loss": 0.5}, tmp_path)
    assert json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))["loss"] == 0.5
    assert len(list(tmp_path.iterdir())) == 3


def test_a_folder_that_is_not_there(summary: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        write_files(summary, tmp_path / "missing")


def test_a_large_matrix_stays_small(tmp_path: Path) -> None:
    matrix = np.eye(100, dtype=np.int64)
    write_files(summarise(matrix, [str(index) for index in range(100)]), tmp_path)
    assert len((tmp_path / "evaluation.json").read_text(encoding="utf-8").splitlines()) < 250
