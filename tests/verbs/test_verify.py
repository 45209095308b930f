"""``ptrain verify`` on real runs, and the comparison of traces."""

import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from ptrain.config import build, file_sha256
from ptrain.errors import ConfigError
from ptrain.run import listing
from ptrain.run.directory import read_model
from ptrain.verbs.verify import VerifyOptions
from ptrain.verbs.verify.compare import choose_cases, first_difference
from ptrain.verbs.verify.interrupt import Case
from tests.ranks import run_group

PTRAIN = [sys.executable, "-m", "ptrain"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run."""
    folder = tmp_path_factory.mktemp("verify") / "run"
    flags = ["--hidden", "16", "--epochs", "5", "--dropout", "0.1", "--threads", "1", "--no-report"]
    done = run_group([*PTRAIN, "train", *flags, "--run-dir", str(folder)])
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_repeats_on_other_ranks_with_kills(run_dir: Path) -> None:
    flags = ["--ranks", "2", "3", "--backends", "mpi", "--threads", "2", "1", "--interruptions", "1"]
    done = run_group([*PTRAIN, "verify", str(run_dir), *flags], timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("all the same")
    assert done.stdout.count(" same") >= 2
    assert "--reduction allreduce on 3 ranks: parameters differ by at most" in done.stdout
    assert [path.name for path in run_dir.parent.iterdir()] == ["run"]


def test_other_bits_are_reported_with_exit_code_1(run_dir: Path, tmp_path: Path) -> None:
    """A run whose files all agree, but whose bits are those of another seed."""
    other = tmp_path / "run"
    shutil.copytree(run_dir, other)
    text = (other / "config.toml").read_text()
    (other / "config.toml").write_text(text.replace("seed = 0", "seed = 1"))
    sha256 = {"config_sha256": file_sha256(other / "config.toml")}
    for name in ("environment.json", "evaluation.json"):
        (other / name).write_text(json.dumps(json.loads((other / name).read_text()) | sha256))
    tensors, about = read_model(other / "model.safetensors")
    about["config"]["train"]["seed"] = 1
    save_file(tensors, other / "model.safetensors", {"ptrain": json.dumps(about | sha256)})
    listing.remove(other)
    done = run_group([*PTRAIN, "verify", str(other), "--ranks", "1", "--threads", "1"], timeout=120)
    assert done.returncode == 1, done.stderr
    assert "has no files.json" in done.stdout
    assert "DIFFERENT" in done.stdout
    assert "NOT the same bits" in done.stdout


def record(step: int, **tensors: str) -> dict[str, Any]:
    return {"step": step, "tensors": tensors}


def test_the_first_step_and_tensor_that_differ_are_found() -> None:
    one = [record(1, a="x", b="y"), record(2, a="x", b="y"), record(3, a="z", b="z")]
    other = [record(1, a="x", b="y"), record(2, a="x", b="-"), record(3, a="-", b="-")]
    assert first_difference(one, other) == (2, "b")
    assert first_difference(one, one) is None


def test_cases_cover_every_number_of_ranks_with_every_backend() -> None:
    cases = choose_cases(build({}), VerifyOptions(run="r", backends=("mpi", "torch")))
    assert {(case.ranks, case.backend) for case in cases} == {
        (1, "single"), (2, "mpi"), (2, "torch"), (3, "mpi"), (3, "torch"),
    }  # fmt: skip
    assert {case.threads for case in cases} == {1, 2}
    assert Case(ranks=1, backend="single", threads=2).flags == ["--ranks", "1", "--backend", "single", "--threads", "2"]


def test_impossible_cases_are_refused() -> None:
    with pytest.raises(ConfigError, match="--ranks 9: expected 1 to 8"):
        choose_cases(build({}), VerifyOptions(run="r", ranks=(9,)))


def test_kills_are_the_same_for_a_seed() -> None:
    assert [random.Random("0/1").randrange(100) for _ in range(2)] == [random.Random("0/1").randrange(100)] * 2
