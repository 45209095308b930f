"""One body for every communicator at 1, 2 and 3 ranks; each rank writes what it saw, compared here."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from ptrain.sums.ordered import merge_
from tests.comm.conformance_program import DTYPES, OPS, SHARDS, leaf
from tests.ranks import run_group, run_ranks

SEVERAL = ("mpi", "torch", "horovod")
WORLDS = [("single", 1), *((backend, ranks) for backend in SEVERAL for ranks in (1, 2, 3))]
ABORTING = 2
"""Ranks of the worlds that end with an abort."""
Seen = list[dict[str, Any]]


class Worlds:
    """Runs the program once where it can serve several tests: a start of a rank takes longer than all it does."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self.factory = factory
        self.ends: dict[str, subprocess.CompletedProcess[str]] = {}
        """How the worlds ended that a backend's abort ended, and after how many seconds."""
        self.seconds: dict[str, float] = {}

    @cache  # noqa: B019 - lives as long as the session
    def folder(self, ranks: int, backends: str, leaving: str) -> Path:
        """The folder of what every rank saw in a world."""
        folder = self.factory.mktemp("world")
        command = [sys.executable, "-W", "error", "-m", "tests.comm.conformance_program"]
        start = time.monotonic()
        done = run_ranks([*command, backends, str(folder), leaving], ranks)
        if leaving == "abort":
            self.ends[backends], self.seconds[backends] = done, time.monotonic() - start
        else:
            assert done.returncode == 0, done.stdout + done.stderr
        return folder

    def seen(self, backend: str, ranks: int) -> Seen:
        """What every rank of a backend saw: of 2 ranks in the world that it aborts, else with the other backends."""
        if ranks == ABORTING:
            folder = self.folder(ranks, backend, "abort")
        else:
            folder = self.folder(ranks, ",".join([*(["single"] if ranks == 1 else []), *SEVERAL]), "close")
        return [json.loads((folder / f"{backend}-{rank}.json").read_text()) for rank in range(ranks)]


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    return Worlds(tmp_path_factory)


@pytest.mark.parametrize(("backend", "ranks"), WORLDS)
def test_every_method(backend: str, ranks: int, worlds: Worlds) -> None:
    seen = worlds.seen(backend, ranks)
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
def test_ordered_sum_has_the_bits_of_one_process(backend: str, ranks: int, worlds: Worlds) -> None:
    alone = worlds.seen("single", 1)[0]["ordered_sum"]
    for mine in worlds.seen(backend, ranks):
        assert mine["ordered_sum"] == {shards: alone[shards] for shards in mine["ordered_sum"]}
        assert len(mine["ordered_sum"]) == len([shards for shards in SHARDS if shards >= ranks])


def test_the_leaves_show_the_order_of_the_sum() -> None:
    leaves = [leaf(shard) for shard in range(8)]
    in_turn = torch.stack(leaves).cumsum(0)[-1]
    tree = merge_([(shard, 1, row.clone()) for shard, row in enumerate(leaves)], 8)[0][2]
    assert not torch.equal(in_turn, tree)
    assert torch.allclose(in_turn, tree, rtol=1e-3)


@pytest.mark.parametrize("backend", SEVERAL)
def test_abort_ends_every_rank_with_its_exit_code(backend: str, worlds: Worlds) -> None:
    worlds.folder(ABORTING, backend, "abort")
    done = worlds.ends[backend]
    assert done.returncode == 3, done.stdout + done.stderr
    assert "rank 1 leaves" in done.stdout
    assert worlds.seconds[backend] < 40


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
