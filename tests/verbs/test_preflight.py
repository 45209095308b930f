"""The preflight: what a rank finds by itself, and what only a comparison of all ranks shows."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from ptrain.errors import LaunchError
from ptrain.launch.env import RankInfo
from ptrain.verbs.doctor.preflight import check_first_host, check_world_size, find_problems
from tests.ranks import run_group, run_ranks

DOCTOR = [sys.executable, "-m", "ptrain", "doctor", "--preflight", "--backend", "mpi", "--device", "cpu"]
RANK = RankInfo(rank=1, size=4, local_rank=1, local_size=2, host="n1", launcher="slurm", job_id="7.0")


def row(rank: int, **changes: Any) -> dict[str, Any]:
    return {"rank": rank, "host": "n1", "cores": str(rank), "gpu": None, "sum": 3.0, "problem": "", **changes}


def test_ranks_that_are_right(tmp_path: Path) -> None:
    done = run_ranks([*DOCTOR, "--shared-folder", str(tmp_path / "run"), "--expect-ranks", "2"], 2, timeout=90)
    assert done.returncode == 0, done.stderr
    pattern = (
        rf"preflight: 2 ranks on 1 host started by openmpi, sum over mpi 3 as expected, {tmp_path}/run is shared, "
    )
    assert re.search(pattern, done.stdout)
    assert not list((tmp_path / "run").iterdir())


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_ranks([*DOCTOR, "--shared-folder", str(tmp_path / "file")], 2, timeout=90)
    assert done.returncode == 2
    assert re.search(r"^ptrain: error: preflight: rank 0 on \S+: cannot write to ", done.stderr, re.MULTILINE)


def test_a_world_of_another_size_is_told() -> None:
    done = run_group([*DOCTOR, "--expect-ranks", "4"], timeout=60)
    assert done.returncode == 2
    assert "the job has 4 tasks, but no launcher was found; expected a rank a task: " in done.stderr


def test_the_world_size() -> None:
    check_world_size(RANK, None)
    check_world_size(RANK, 4)
    with pytest.raises(LaunchError, match=r"the job has 8 tasks, but slurm started 4 ranks; .* or mpirun -n 8"):
        check_world_size(RANK, 8)


def test_the_first_host() -> None:
    alone = RankInfo(rank=0, size=2, local_rank=0, local_size=2, host="n1", launcher="openmpi", job_id="")
    check_first_host(alone, {})
    check_first_host(alone, {"MASTER_ADDR": "localhost"})
    with pytest.raises(LaunchError, match="the first host, localhost, is this host on every host; set MASTER_ADDR"):
        check_first_host(RANK, {"MASTER_ADDR": "localhost"})
    with pytest.raises(LaunchError, match=r"the first host, no-such-host\.invalid, cannot be resolved"):
        check_first_host(RANK, {"MASTER_ADDR": "no-such-host.invalid"})
    with pytest.raises(LaunchError, match=r"rank 0 on n1: the first host, no-such-host-7, cannot be resolved"):
        check_first_host(
            RankInfo(rank=0, size=4, local_rank=0, local_size=2, host="n1", launcher="slurm", job_id=""),
            {"SLURM_STEP_NODELIST": "no-such-host-[7-8]"},
        )


def test_ranks_side_by_side_are_right() -> None:
    assert find_problems([row(0), row(1)], 3.0) == []
    assert find_problems([row(0, gpu="a"), row(1, gpu="b"), row(2, host="n2", gpu="a")], 3.0) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sum": 1.0}, "rank 1 on n1: the sum over all ranks is 1, expected 3; choose another --backend, "),
        ({"gpu": "a"}, "rank 1 on n1: has the same GPU as rank 0 (a); expected one a rank: "),
        ({"cores": "0"}, "ranks 0, 1 on n1: 2 ranks share 1 cores; expected at least one each: "),
        ({"problem": "does not see it"}, "rank 1 on n1: does not see it"),
    ],
)
def test_what_a_comparison_shows(changes: dict[str, Any], message: str) -> None:
    problems = find_problems([row(0, gpu="a"), row(1, **{"gpu": "b", **changes})], 3.0)
    assert len(problems) == 1
    assert problems[0].startswith(message)


def test_a_backend_that_does_not_start_is_given_up(tmp_path: Path) -> None:
    # Rank 1 of a world of two: rank 0 never comes.
    environ = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "TMPDIR": str(tmp_path)}
    command = [*DOCTOR[:-4], "--backend", "torch", "--device", "cpu", "--time-limit", "1"]
    done = run_group(command, timeout=60, env={**environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"})
    assert done.returncode == 2
    assert re.search(
        r"preflight: rank 1 on \S+: --backend torch did not start within 1 s; a rank is missing", done.stderr
    )
