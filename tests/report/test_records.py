"""Reading run directories: whole, unfinished and damaged ones."""

from pathlib import Path

import pytest

from ptrain.errors import RunDirectoryError
from ptrain.report.records import read_array, read_run
from tests.report.directories import make_run


def test_a_whole_run(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "first"))
    assert (run.name, len(run.metrics), run.seconds) == ("first", 5, 2.5)
    assert run.samples_per_second == 12345.6 + 3.5  # median of the epochs 2 to 5
    assert run.evaluation is not None
    assert run.pixels is not None
    assert run.pixels.shape[1:] == (8, 8)


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", epochs=0, evaluated=False)
    for name in ("environment.json", "metrics.jsonl"):
        (path / name).unlink()
    run = read_run(path)
    assert (run.metrics, run.evaluation, run.misclassified, run.samples_per_second) == ([], None, [], None)
    assert read_array(path / "predictions.npy") is None


def test_records_of_a_killed_and_continued_run(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", epochs=3)
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "seconds": 9, "samples_per_second": 1}\n{"epoch": 4, "sec')
    run = read_run(path)
    assert [record["epoch"] for record in run.metrics] == [1, 2, 3]
    assert run.metrics[1]["seconds"] == 9  # the later record of an epoch counts


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.toml", "[data", "config.toml: is damaged"),
        ("config.toml", None, r"is no run directory \(config.toml: No such file or directory\)"),
        ("evaluation.json", "{", r"evaluation.json: is damaged \(not JSON\); ptrain evaluate writes it anew"),
        ("evaluation.json", "[]", "evaluation.json: is damaged"),
        ("misclassified.npy", "x", "misclassified.npy: is damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    path = make_run(tmp_path / "run")
    if content is None:
        (path / name).unlink()
    else:
        (path / name).write_text(content)
    with pytest.raises(RunDirectoryError, match=message):
        read_run(path)
