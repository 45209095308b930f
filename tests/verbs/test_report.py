"""ptrain report, the report at the end of a run, and the live views of it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ptrain import cli
from ptrain.console import Console
from ptrain.run.train import report_in_child
from tests.ranks import run_group, run_ranks
from tests.report.directories import make_run

PTRAIN = [sys.executable, "-m", "ptrain"]


def test_one_run_gets_a_page_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "run", num_classes=2)
    assert cli.main(["report", str(folder)]) == 0
    assert capsys.readouterr() == (f"written to {folder}/report.html\n", "")
    assert (folder / "plots" / "loss.png").exists()


def test_several_runs_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [str(make_run(tmp_path / name, num_classes=2)) for name in ("a", "b")]
    assert cli.main(["report", *runs]) == 0
    assert cli.main(["report", *runs, "--out", "there.html"]) == 0
    assert capsys.readouterr().out == "written to comparison.html\nwritten to there.html\n"
    assert "2 runs compared" in (tmp_path / "comparison.html").read_text()


def test_bad_runs_are_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "run", epochs=1, evaluated=False)
    (tmp_path / "file").write_text("")
    for words, message in (
        ([str(tmp_path)], f"{tmp_path} is no run directory (no config.toml in it); expected one of ptrain train"),
        (
            [str(folder), "--out", str(tmp_path / "file" / "x.html")],
            f"{tmp_path}/file/plots: cannot be written (Not a directory); expected a folder you can write to",
        ),
    ):
        assert cli.main(["report", *words]) == 2
        assert capsys.readouterr() == ("", f"ptrain: error: {message}\n")
    (folder / "environment.json").write_text("{")
    assert cli.main(["report", str(folder)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


TRAIN_AND_TELL = """
import sys
from ptrain.cli import main
code = main(sys.argv[1:])
drawn = [name for name in sys.modules if name.partition(".")[0] in ("matplotlib", "jinja2", "PIL")]
print("drawing packages:", drawn)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of two ranks with a report, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    flags = ["--data", "xor", "--epochs", "4", "--run-dir", str(folder), "--backend", "mpi"]
    done = run_ranks([sys.executable, "-c", TRAIN_AND_TELL, "train", *flags], 2, timeout=100)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_training_writes_the_report_and_no_rank_ever_loads_a_plotting_library(reported: tuple[Path, str]) -> None:
    folder, output = reported
    assert output.count("drawing packages: []") == 2
    assert f"report {folder}/report.html" in output
    assert "<h2>Training</h2>" in (folder / "report.html").read_text()
    assert (folder / "plots" / "loss.png").exists()


def test_a_report_that_cannot_be_written_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "run", epochs=1, evaluated=False)
    (folder / "plots").write_text("in the way")
    report_in_child(folder, Console())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"warning: no report (ptrain: error: {folder}/plots: cannot be written (File exists); expected a folder you "
        f"can write to); ptrain report {folder} tries again\n"
    )


# Live views


def train(folder: Path, *flags: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    common = ["--data", "xor", "--run-dir", str(folder), "--no-report", "--backend", "single"]
    return run_group([*PTRAIN, "train", *common, *flags], timeout=100, env=env)


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_tensorboard_event_files_hold_the_records_also_of_a_continued_run(
    tmp_path: Path, reported: tuple[Path, str]
) -> None:
    folder = tmp_path / "run"
    done = train(folder, "--log", "tensorboard", "--epochs", "4", "--max-steps", "2")
    assert done.returncode == 75, done.stderr
    done = run_group([*PTRAIN, "train", "--resume", str(folder), "--max-steps", "none"], timeout=100)
    assert done.returncode == 0, done.stderr
    found = tensorboard_scalars(folder / "tensorboard")
    kept = records(folder)
    assert len(kept) == 4
    assert found["loss/train"] == pytest.approx({record["step"]: record["train_loss"] for record in kept})
    assert found["accuracy/train"] == pytest.approx({record["step"]: record["train_accuracy"] for record in kept})
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert found["test/overall_accuracy"] == pytest.approx({4: evaluation["overall_accuracy"]})
    # Neither the view nor the report changes a bit of the result.
    other = json.loads((reported[0] / "evaluation.json").read_text())
    assert evaluation["parameters_sha256"] == other["parameters_sha256"]


READ_TENSORBOARD = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
print(json.dumps({tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}))
"""
READ_MLFLOW = """
import json, os, sys
os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
from mlflow.tracking import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1])
runs = client.search_runs([client.get_experiment_by_name("ptrain").experiment_id])
print(json.dumps([{"name": run.info.run_name, "status": run.info.status, "params": run.data.params,
    "metrics": {k: {m.step: m.value for m in client.get_metric_history(run.info.run_id, k)} for k in run.data.metrics}}
    for run in runs]))
"""


def read_back(program: str, words: Sequence[str]) -> Any:
    """Read with the other program's own library, in a process of its own: its warnings are not ours."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def by_step(values: dict[str, float]) -> dict[int, float]:
    return {int(step): value for step, value in values.items()}


def tensorboard_scalars(folder: Path) -> dict[str, dict[int, float]]:
    return {tag: by_step(values) for tag, values in read_back(READ_TENSORBOARD, [str(folder)]).items()}


def test_mlflow_holds_one_run_also_of_a_continued_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = train(folder, "--log", "mlflow", "--epochs", "3", "--max-steps", "1", "--lr", "0.5")
    assert done.returncode == 75, done.stderr
    store = (tmp_path / "mlruns").as_uri()
    done = run_group([*PTRAIN, "train", "--resume", str(folder), "--max-steps", "none"], timeout=100)
    assert done.returncode == 0, done.stderr
    [run] = read_back(READ_MLFLOW, [store])
    assert (run["name"], run["status"], run["params"]["optimizer.lr"]) == ("run", "FINISHED", "0.5")
    expected = {record["step"]: record["train_loss"] for record in records(folder)}
    assert by_step(run["metrics"]["loss/train"]) == pytest.approx(expected)
    assert by_step(run["metrics"]["test/kappa"]) == {3: json.loads((folder / "evaluation.json").read_text())["kappa"]}


def test_a_view_whose_package_is_missing_stops_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "__init__.py").write_text("raise ImportError('no such package')")
    done = train(tmp_path / "run", "--log", "mlflow", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2
    assert done.stderr == (
        "ptrain: error: --log mlflow: the package mlflow cannot be loaded (no such package); "
        "pip install 'ptrain[mlflow]'\n"
    )
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_view_that_fails_on_the_way_does_not_end_the_run(tmp_path: Path) -> None:
    package = tmp_path / "mlflow"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tracking.py").write_text(
        "from types import SimpleNamespace as S\n"
        "class MlflowClient:\n"
        "    def __init__(self, tracking_uri): pass\n"
        "    def get_experiment_by_name(self, name): return S(experiment_id='1')\n"
        "    def create_run(self, number, run_name): return S(info=S(run_id='2'))\n"
        "    def log_param(self, *words): pass\n"
        "    def log_metric(self, *words, step): raise OSError('the server is gone')\n"
    )
    done = train(tmp_path / "run", "--log", "mlflow", "--epochs", "2", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert done.stderr == "warning: --log mlflow: given up (OSError: the server is gone)\n"
    assert len(records(tmp_path / "run")) == 2
