"""Whole runs on the CPU whose host waits for every fourth step only, as on a GPU for every 32nd."""

from pathlib import Path

import pytest

from ptrain.errors import EXIT_DIVERGED, EXIT_REQUEUE
from tests.ranks import run_ranks
from tests.verbs.test_train import FLAGS, PTRAIN, metrics, read

DEVICE = ["--kernels", "torch", "--step", "device", "--synchronise-every", "4"]


def backend_of(ranks: int) -> str:
    return "single" if ranks == 1 else "mpi"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run directory of a rank that waits for every step: 15 an epoch."""
    run_dir = tmp_path_factory.mktemp("reference") / "run"
    command = [*PTRAIN, "train", *FLAGS, "--kernels", "torch", "--trace", "--run-dir", str(run_dir)]
    done = run_ranks(command, 1, backend="single")
    assert done.returncode == 0, done.stderr
    return run_dir


def steps_of(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("ranks", "flags"), [(1, ["--trace"]), (2, ["--checkpoint-every", "6"])], ids=["trace", "checkpoints"]
)
def test_the_run_is_the_same(reference: Path, tmp_path: Path, ranks: int, flags: list[str]) -> None:
    run_dir = tmp_path / "run"
    command = [*PTRAIN, "train", *FLAGS, *DEVICE, *flags, "--run-dir", str(run_dir)]
    done = run_ranks(command, ranks, backend=backend_of(ranks), timeout=120)
    assert done.returncode == 0, done.stderr
    assert metrics(run_dir) == metrics(reference)
    assert read(run_dir, "evaluation.json") == read(reference, "evaluation.json")
    if "--trace" in flags:
        assert (run_dir / "trace.jsonl").read_text() == (reference / "trace.jsonl").read_text()


def test_max_steps_is_exact_and_the_run_goes_on_from_there(reference: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    command = [*PTRAIN, "train", *FLAGS, *DEVICE, "--run-dir", str(run_dir)]
    done = run_ranks([*command, "--max-steps", "6"], 2)
    assert done.returncode == EXIT_REQUEUE, done.stderr
    assert "stopped on request after step 6," in done.stderr
    assert steps_of(run_dir) == ["step-00000006"]
    done = run_ranks([*command, "--resume", "auto"], 1, backend="single")
    assert done.returncode == 0, done.stderr
    assert read(run_dir, "evaluation.json") == read(reference, "evaluation.json")


def test_a_divergence_is_named_as_if_it_had_been_seen_at_once(tmp_path: Path) -> None:
    messages = []
    for name, step in (("one", []), ("two", ["--step", "device", "--synchronise-every", "4"])):
        run_dir = tmp_path / name
        flags = ["--hidden", "8", "--activation", "identity", "--kernels", "torch", "--threads", "1", "--no-report"]
        flags += ["--optimizer", "momentum", "--momentum", "0.5", "--lr", "1e4", "--checkpoint-every", "3"]
        done = run_ranks([*PTRAIN, "train", *flags, *step, "--run-dir", str(run_dir)], 2)
        assert done.returncode == EXIT_DIVERGED, done.stderr
        said = done.stderr.replace(str(run_dir), "RUN").splitlines()
        messages.append([line for line in said if line.startswith("ptrain: error: ")])
        assert "step 5 (epoch 1), shard 0: its loss is not finite" in messages[0][0]
        assert "step-00000003" in messages[0][0]
    assert messages[0] == messages[1]
