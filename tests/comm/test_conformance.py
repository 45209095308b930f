"""One body for every communicator at 1, 2 and 3 ranks; each rank writes what it saw, compared here."""

import json
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.comm.conformance_program import DTYPES, OPS, SHARDS, leaf
from tests.ranks import run_group, run_ranks
from tests.sums.merging import merge_

WORLDS = [("single", 1), *((backend, ranks) for backend in ("mpi", "torch", "horovod") for ranks in (1, 2, 3))]


@pytest.fixture(scope="session")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], list[dict[str, Any]]]:
    """Run the program once for each backend and number of ranks, and return what every rank saw."""

    @cache
    def run(backend: str, ranks: int) -> list[dict[str, Any]]:
        folder = tmp_path_factory.mktemp(f"{backend}-{ranks}")
        command = [sys.executable, "-W", "error", "-m", "tests.comm.conformance_program"]
        done = run_ranks([*command, backend, str(folder), "close"], ranks, backend=backend)
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(ranks)]

    return run


@pytest.mark.parametrize(("backend", "ranks"), WORLDS)
def test_every_method(backend: str, ranks: int, observed: Callable[[str, int], list[dict[str, Any]]]) -> None:
    seen = observed(backend, ranks)
    world = range(ranks)
    for rank, mine in enumerate(seen):
        assert (mine["name"], mine["info"]["rank"], mine["info"]["size"]) == (backend, rank, ranks)
        assert mine["said"] == []
        inputs = [[[r + 1, 3], [5 - r, 2 * r]] for r in world]
        reduce: dict[str, Callable[[list[int]], int]] = {"sum": sum, "min": min, "max": max}
        for dtype in DTYPES:
            for op in OPS:
                want = [[reduce[op]([inputs[r][i][j] for r in world]) for j in (0, 1)] for i in (0, 1)]
                assert mine[f"all_reduce {dtype} {op}"] == want
        for dtype in (*DTYPES, torch.bfloat16):
            exchanged = [[10 * r + 3 * rank + j for j in range(3)] for r in world]
            gathered = [[10 * r + j for j in range(3)] for r in world]
            assert mine[f"all_to_all {dtype}"] == mine[f"all_to_all out {dtype}"] == exchanged
            assert mine[f"all_gather {dtype}"] == mine[f"all_gather out {dtype}"] == gathered
            assert mine[f"broadcast {dtype}"] == [[10 * (ranks - 1) + 3 * r + j for j in range(3)] for r in world]
        assert mine["0-dim"] == [[r + 0.5 for r in world], 0.5, sum(r + 0.5 for r in world)]
        assert mine["empty"] == [[0, 4], [ranks, 0, 4], [ranks, 0], [0, 4]]
        assert mine["broadcast_object"] == [{"rank": r, "text": "ä" * r} for r in world]
        assert mine["gather_object"] == ([[r] * r for r in world] if rank == ranks - 1 else None)
        assert mine["all_gather_object"] == ["x" * (r * 1000) for r in world]
        assert mine["barrier"][1] >= seen[0]["barrier"][0]


@pytest.mark.parametrize(("backend", "ranks"), WORLDS)
def test_ordered_sum_has_the_bits_of_one_process(
    backend: str, ranks: int, observed: Callable[[str, int], list[dict[str, Any]]]
) -> None:
    alone = observed("single", 1)[0]["ordered_sum"]
    for mine in observed(backend, ranks):
        assert mine["ordered_sum"] == {shards: alone[shards] for shards in mine["ordered_sum"]}
        assert len(mine["ordered_sum"]) == len([shards for shards in SHARDS if shards >= ranks])


def test_the_leaves_show_the_order_of_the_sum() -> None:
    leaves = [leaf(shard) for shard in range(8)]
    in_turn = torch.stack(leaves).cumsum(0)[-1]
    tree = merge_([(shard, 1, row.clone()) for shard, row in enumerate(leaves)], 8)[0][2]
    assert not torch.equal(in_turn, tree)
    assert torch.allclose(in_turn, tree, rtol=1e-3)


@pytest.mark.parametrize("backend", ["mpi", "torch", "horovod"])
def test_abort_ends_every_rank_with_its_exit_code(backend: str, tmp_path: Path) -> None:
    start = time.monotonic()
    command = [sys.executable, "-m", "tests.comm.conformance_program", backend, str(tmp_path), "abort"]
    done = run_ranks(command, 2, backend=backend)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "rank 1 leaves" in done.stdout
    assert time.monotonic() - start < 40


REFUSED = """
import os, sys, torch
from ptrain.comm.select import create
from ptrain.errors import LaunchError
from ptrain.launch.env import detect

for backend, environ in (("single", os.environ), *((name, {}) for name in sys.argv[1:])):
    try:
        create(backend, detect(environ), torch.device("cpu"), print)
    except LaunchError as error:
        assert error.agreed
        print(str(error) + "\\n", end="", flush=True)
"""


def test_worlds_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    program = tmp_path / "refused.py"
    program.write_text(REFUSED)
    # Two ranks for MPI, of which the launcher is said to know nothing; single under a launcher of two.
    done = run_ranks([sys.executable, str(program), "mpi", "horovod"], 2)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert sum("openmpi started 2 ranks, but single sees a world of 1" in line for line in lines) == 2
    for backend in ("mpi", "horovod"):
        assert sum(f"no launcher was found, but {backend} sees a world of 2" in line for line in lines) == 2


@pytest.mark.parametrize("backend", ["mpi", "horovod"])
def test_many_worlds_of_one_rank_are_refused(backend: str, tmp_path: Path) -> None:
    program = tmp_path / "refused.py"
    program.write_text(REFUSED.replace("(name, {})", "(name, os.environ)"))
    # srun without --mpi: Slurm says four ranks, and MPI starts as a world of its own in each.
    slurm = {"SLURM_PROCID": "0", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0", "SLURM_NNODES": "1"}
    done = run_group([sys.executable, str(program), backend], env=slurm)
    assert done.returncode == 0, done.stderr
    assert f"slurm started 4 ranks, but {backend} sees a world of 1" in done.stdout, done.stdout
