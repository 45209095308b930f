"""Several runs on one page: what is best, what differs, and McNemar's test."""

from pathlib import Path

import numpy as np

from ptrain.evaluation.mcnemar import mcnemar
from ptrain.report.comparison import differences, mcnemar_tests, run_names, same_data, score_rows, write_comparison
from ptrain.report.records import read_run
from tests.report.directories import make_run


def test_the_best_is_marked_where_runs_saw_the_same_samples(tmp_path: Path) -> None:
    runs = [read_run(make_run(tmp_path / name, skill=skill)) for name, skill in (("weak", 1.0), ("strong", 3.0))]
    assert same_data(runs)
    rows = {row.name: row for row in score_rows(runs, mark=True)}
    assert rows["overall accuracy (OA)"].best == [False, True]
    assert rows["loss"].best == [False, True]  # the lower one
    assert rows["samples per second"].best == [False, False]
    assert not any(any(row.best) for row in score_rows(runs, mark=False))


def test_nothing_is_best_among_equals_and_on_different_data(tmp_path: Path) -> None:
    same = [read_run(make_run(tmp_path / name)) for name in ("a", "b")]
    assert not any(any(row.best) for row in score_rows(same, mark=True))
    other = read_run(make_run(tmp_path / "c", num_samples=300))
    assert not same_data([same[0], other])
    assert mcnemar_tests([same[0], other], ["a", "c"]) == []


def test_mcnemar_counts_what_only_one_gets_right(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / name, skill=skill, seed=seed) for name, skill, seed in
             (("a", 1.0, 1), ("b", 3.0, 2), ("c", 3.0, 4))]  # fmt: skip
    tests = mcnemar_tests([read_run(path) for path in paths], ["a", "b", "c"])
    assert [(test["first"], test["second"]) for test in tests] == [("a", "b"), ("a", "c"), ("b", "c")]
    rows = [np.load(path / "predictions.npy") for path in paths[:2]]
    right = [row["prediction"] == row["label"] for row in rows]
    only_a, only_b = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    first = tests[0]
    assert (first["only_first"], first["only_second"]) == (only_a, only_b)
    assert first["both"] + first["neither"] + only_a + only_b == 400
    assert first["p"] == mcnemar(only_a, only_b)
    assert (first["better"], first["adjusted"] < 0.05) == ("b", True)
    assert tests[2]["adjusted"] > 0.05


def test_without_predictions_there_is_no_test(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / name) for name in ("a", "b")]
    (paths[1] / "predictions.npy").unlink()
    assert mcnemar_tests([read_run(path) for path in paths], ["a", "b"]) == []


def test_settings_that_differ_are_listed(tmp_path: Path) -> None:
    runs = [read_run(make_run(tmp_path / "a")), read_run(make_run(tmp_path / "b", settings={"lr": 0.5, "keep": 9}))]
    assert dict(differences(runs))["lr"][1] == "0.5"
    assert "keep" not in dict(differences(runs))  # does not change the result


def test_runs_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    runs = [read_run(make_run(tmp_path / folder / "run")) for folder in ("a", "b")]
    assert run_names(runs) == [str(tmp_path / "a" / "run"), str(tmp_path / "b" / "run")]


def test_the_page_also_of_unfinished_runs(tmp_path: Path) -> None:
    runs = [
        read_run(make_run(tmp_path / "a")),
        read_run(make_run(tmp_path / "b", skill=4.0, seed=1)),
        read_run(make_run(tmp_path / "c", epochs=0, evaluated=False)),
    ]
    write_comparison(runs, tmp_path / "comparison.html")
    text = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    for part in ("3 runs compared", "★", "<b>b</b> is better", "Validation loss", "What differs"):
        assert part in text
    assert not (tmp_path / "plots").exists()
