"""Training with real processes: the same bits everywhere, stopping, resuming, and bad input on several ranks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptrain.cli import main
from ptrain.config import build
from ptrain.run.job import class_weights
from ptrain.run.session import load_data, open_session
from ptrain.run.train import train
from tests.golden_hashes import DIGITS
from tests.ranks import find_mpirun, oversubscribe, run_group, run_ranks, start_group

PTRAIN = [sys.executable, "-m", "ptrain"]
FLAGS = ["--no-report", "--hidden", "24", "--epochs", "3", "--batch-size", "100", "--shards", "6", "--threads", "1"]
FLAGS += ["--validation", "0.2", "--optimizer", "nesterov", "--lr", "0.02", "--dropout", "0.1", "--clip-norm", "1"]
FLAGS += ["--class-weights", "balanced", "--schedule", "cosine", "--warmup-epochs", "1"]


def read(run_dir: Path, name: str) -> Any:
    return json.loads((run_dir / name).read_text())


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Return the records of the epochs without what a clock measured."""
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "samples_per_second")} for record in records]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run directory of one rank in one process."""
    run_dir = tmp_path_factory.mktemp("reference") / "run"
    done = run_group([*PTRAIN, "train", *FLAGS, "--run-dir", str(run_dir)])
    assert done.returncode == 0, done.stderr
    return run_dir


@pytest.mark.parametrize(
    ("backend", "ranks"), [("mpi", 1), ("mpi", 3), ("horovod", 1), ("horovod", 2), ("torch", 1), ("torch", 2)]
)
def test_every_backend_and_number_of_ranks_gives_the_same_bits(
    reference: Path, tmp_path: Path, backend: str, ranks: int
) -> None:
    """Through the command line; the same job on more worlds is among the configurations of test_grid.py."""
    run_dir = tmp_path / "run"
    command = [*PTRAIN, "train", *FLAGS, "--backend", backend, "--run-dir", str(run_dir)]
    done = run_ranks(command, ranks, backend=backend, timeout=120)
    assert done.returncode == 0, done.stderr
    assert metrics(run_dir) == metrics(reference)
    assert read(run_dir, "evaluation.json") == read(reference, "evaluation.json")
    environment = read(run_dir, "environment.json")
    assert environment["backend"] == backend
    assert environment["world_size"] == ranks
    assert environment["parameters_sha256"] == read(reference, "evaluation.json")["parameters_sha256"]


def test_allreduce_is_equal_within_rounding(reference: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    done = run_ranks([*PTRAIN, "train", *FLAGS, "--reduction", "allreduce", "--run-dir", str(run_dir)], 2)
    assert done.returncode == 0, done.stderr
    for ours, theirs in zip(metrics(run_dir), metrics(reference), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)


def test_the_main_job_through_the_local_starter(tmp_path: Path) -> None:
    """What scripts/train does without flags: two ranks over Horovod on the embedded digits."""
    run_dir = tmp_path / "run"
    command = [*PTRAIN, "train", "--ranks", "2", "--backend", "horovod", "--run-dir", str(run_dir)]
    done = run_group(command, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "backend horovod" in done.stdout
    assert f"run directory {run_dir}" in done.stdout
    assert read(run_dir, "evaluation.json")["parameters_sha256"] == DIGITS
    assert read(run_dir, "evaluation.json")["overall_accuracy"] >= 0.9721, "what scikit-learn's MLPClassifier() has"
    assert read(run_dir, "evaluation.json")["num_samples"] == 359
    assert len(metrics(run_dir)) == 20


def stopped_run(run_dir: Path, command: list[str], number: int) -> subprocess.CompletedProcess[str]:
    """Start a long run, send it a signal once it has finished an epoch, and return how it ended."""
    process = start_group(command)
    try:
        deadline = time.monotonic() + 60
        while not (run_dir / "metrics.jsonl").exists():
            assert time.monotonic() < deadline
            if process.poll() is not None:
                pytest.fail(f"it ended before its first epoch, with {process.returncode}: {process.communicate()}")
            time.sleep(0.01)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


LONG = [
    "--no-report",
    "--hidden",
    "32",
    "--epochs",
    "40",
    "--batch-size",
    "32",
    "--threads",
    "1",
    "--validation",
    "0.1",
]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("long") / "run"
    done = run_group([*PTRAIN, "train", *LONG, "--run-dir", str(run_dir)], timeout=120)
    assert done.returncode == 0, done.stderr
    return run_dir


@pytest.mark.parametrize(
    ("number", "before", "after"),
    [(signal.SIGTERM, 2, 3), (signal.SIGUSR1, 1, 2), (signal.SIGINT, 2, 1)],
    ids=["SIGTERM 2 to 3 ranks", "SIGUSR1 1 to 2 ranks", "SIGINT 2 to 1 ranks"],
)
def test_a_stopped_run_continues_on_other_ranks_to_the_same_bits(
    uninterrupted: Path, tmp_path: Path, number: int, before: int, after: int
) -> None:
    run_dir = tmp_path / "run"
    command = [*PTRAIN, "train", *LONG, "--run-dir", str(run_dir), "--ranks"]
    stopped = stopped_run(run_dir, [*command, str(before)], number)
    assert stopped.returncode == 75, stopped.stderr
    assert "stopped on request after step" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not (run_dir / "model.safetensors").exists()
    done = run_group([*PTRAIN, "train", "--resume", "--run-dir", str(run_dir), "--ranks", str(after)], timeout=120)
    assert done.returncode == 0, done.stderr
    assert read(run_dir, "evaluation.json") == read(uninterrupted, "evaluation.json")
    assert metrics(run_dir) == metrics(uninterrupted)


def test_checkpoints_every_few_steps_and_resume_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    """From a checkpoint in the middle of epoch 2, on another number of ranks."""
    run_dir = tmp_path / "run"
    command = [*PTRAIN, "train", *FLAGS, "--checkpoint-every", "7", "--keep", "100", "--run-dir", str(run_dir)]
    assert run_ranks(command, 2).returncode == 0
    expected, history = read(run_dir, "evaluation.json"), metrics(run_dir)
    steps = sorted(int(path.name.removeprefix("step-")) for path in (run_dir / "checkpoints").iterdir())
    assert {7, 14, 21} <= set(steps)
    for step in steps:
        if step > 14:
            subprocess.run(["rm", "-r", str(run_dir / "checkpoints" / f"step-{step:08d}")], check=True)
    (run_dir / "evaluation.json").unlink()
    done = run_ranks([*PTRAIN, "train", "--resume", "--run-dir", str(run_dir)], 3)
    assert done.returncode == 0, done.stderr
    assert "step-00000014, step 14" in done.stdout
    assert read(run_dir, "evaluation.json") == expected
    assert metrics(run_dir) == history


def one_line_error(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Check for exit code 2 and one line that holds ``parts``."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("ptrain: error: ")]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in lines[0]


def here(capfd: pytest.CaptureFixture[str], *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in this process."""
    code = main(argv)
    return subprocess.CompletedProcess(argv, code, *capfd.readouterr())


def test_resume_says_what_changed(reference: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = here(capfd, "train", "--resume", "--run-dir", str(reference), "--lr", "0.5", "--hidden", "24")
    one_line_error(done, "lr: 0.02 -> 0.5", "--force-resume")


def test_resume_with_changed_data_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    np.save(tmp_path / "y.npy", np.arange(60) % 3)
    np.save(tmp_path / "x.npy", random.normal(size=(60, 4)).astype(np.float32))
    command = ["train", "--data", str(tmp_path / "x.npy"), "--labels", str(tmp_path / "y.npy")]
    command += ["--epochs", "1", "--hidden", "none", "--no-report", "--run-dir", str(tmp_path / "run")]
    assert here(capfd, *command).returncode == 0
    np.save(tmp_path / "x.npy", random.normal(size=(60, 4)).astype(np.float32))
    resumed = ["train", "--resume", "--run-dir", str(tmp_path / "run"), "--no-report", "--epochs", "1"]
    one_line_error(here(capfd, *resumed), "data: sha256")
    assert here(capfd, *resumed, "--force-resume").returncode == 0


def test_a_run_directory_with_another_run_is_refused(reference: Path) -> None:
    before = sorted(path.name for path in reference.iterdir())
    one_line_error(run_ranks([*PTRAIN, "train", "--run-dir", str(reference)], 2), "already holds a run", "--resume")
    assert sorted(path.name for path in reference.iterdir()) == before


def test_more_ranks_than_shards(tmp_path: Path) -> None:
    command = [*PTRAIN, "train", "--shards", "2", "--run-dir", str(tmp_path / "run")]
    one_line_error(run_group([*command, "--ranks", "3"]), "--shards 3")
    one_line_error(run_ranks(command, 3), "3 ranks with --shards 2", "--shards 3")
    assert not (tmp_path / "run").exists()


def test_a_file_that_one_rank_cannot_read(tmp_path: Path) -> None:
    """The last rank runs in a folder without the file."""
    ranks = 3
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    np.savez(tmp_path / "with" / "data.npz", x=np.random.default_rng(0).normal(size=(30, 2)), y=np.arange(30) % 2)
    mpirun = find_mpirun()
    command = [*PTRAIN, "train", "--data", "data.npz", "--epochs", "1", "--run-dir", str(tmp_path / "run")]
    first = ["-n", str(ranks - 1), "-wdir", str(tmp_path / "with"), *command]
    last = ["-n", "1", "-wdir", str(tmp_path / "without"), *command]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = run_group([mpirun, *oversubscribe(mpirun), *first, ":", *last], env=environment)
    one_line_error(done, f"rank {ranks - 1} on ", "data.npz", "no such file")


@pytest.mark.parametrize("backend", ["mpi", "horovod", "torch"])
def test_divergence_ends_every_rank_with_code_3(tmp_path: Path, backend: str) -> None:
    flags = [
        "--lr",
        "1e30",
        "--epochs",
        "3",
        "--hidden",
        "16",
        "--backend",
        backend,
        "--run-dir",
        str(tmp_path / "run"),
    ]
    done = run_ranks([*PTRAIN, "train", *flags], 2, backend=backend)
    assert done.returncode == 3, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("ptrain: error: ")]
    assert len(errors) == 1
    assert "is not finite" in errors[0]
    assert "shard" in errors[0]


def test_early_stopping_takes_the_best_epoch(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "run"
    values = {
        "hidden": [64],
        "epochs": 200,
        "validation": 0.3,
        "early_stopping": 2,
        "lr": 0.5,
        "threads": 1,
        "report": False,
    }
    train(build({**values, "data": "blobs:samples=300,classes=3,noise=3", "run_dir": str(run_dir)}))
    losses = [record["validation_loss"] for record in metrics(run_dir)]
    best = losses.index(min(losses))
    assert len(losses) == best + 3
    assert len(losses) < 200
    capfd.readouterr()
    last = here(capfd, "evaluate", str(run_dir), "--json")
    chosen = here(capfd, "evaluate", str(run_dir), "--checkpoint", "best", "--json")
    assert json.loads(last.stdout) == json.loads(chosen.stdout)


def test_balanced_class_weights_are_exact() -> None:
    """N / (classes * count), so that the weights of the training samples are 1 on average."""
    settings = build({"data": "digits", "class_weights": "balanced", "epochs": 1})
    with open_session(settings.run) as session:
        dataset, _ = load_data(session, settings.data, 0)
        weights = class_weights(session, settings, dataset)
    assert weights is not None
    counts = np.bincount(dataset.train.samples.labels[dataset.train.indices(np.arange(dataset.train.size))])
    np.testing.assert_allclose(weights.numpy(), dataset.train.size / (10 * counts), rtol=1e-6)
