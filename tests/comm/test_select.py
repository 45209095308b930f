"""Which backend is taken, and what is said about it."""

import socket
import sys
from pathlib import Path

import pytest
import torch

from ptrain.comm.select import create
from ptrain.comm.table import order
from ptrain.errors import LaunchError
from ptrain.launch.env import RankInfo, detect
from tests.ranks import run_group, run_ranks

CPU = torch.device("cpu")
SHOW = """
import os, torch
from ptrain.comm.select import create
from ptrain.launch.env import detect
comm = create("auto", detect(os.environ), torch.device("cpu"), lambda text: print(text + "\\n", end="", flush=True))
print(f"{comm.name} {float(comm.all_reduce_(torch.tensor(1.0)))}\\n", end="", flush=True)
comm.close()
"""


def test_one_rank_is_single() -> None:
    said: list[str] = []
    assert create("auto", detect({}), CPU, said.append).name == "single"
    assert said == ["backend single: one rank"]


def test_the_order_of_auto() -> None:
    assert order("cpu") == ["mpi", "horovod", "torch"]
    assert order("cuda") == ["horovod", "torch"]


def test_auto_takes_mpi_between_cpus(tmp_path: Path) -> None:
    program = tmp_path / "show.py"
    program.write_text(SHOW)
    done = run_ranks([sys.executable, str(program)], 2)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(["backend mpi: first choice for cpu", "mpi 2.0"] * 2)


@pytest.mark.parametrize("meeting", ["file", "port"])
def test_auto_says_why_it_took_another(meeting: str, tmp_path: Path) -> None:
    # A task of srun without --mpi: MPI and Horovod are each a world of one here, torch finds the world of Slurm.
    program = tmp_path / "show.py"
    program.write_text(SHOW)
    task = "for rank in 0 1; do SLURM_PROCID=$rank SLURM_LOCALID=$rank {} {} & done; wait"
    environ = {"SLURM_JOB_ID": str(tmp_path), "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_NNODES": "1"}
    if meeting == "port":
        with socket.create_server(("127.0.0.1", 0)) as server:
            environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.getsockname()[1])}
    done = run_group(["sh", "-c", task.format(sys.executable, program)], env=environ)
    lines = sorted(done.stdout.splitlines())
    assert lines[2:] == ["torch 2.0"] * 2, done.stdout + done.stderr
    for line in lines[:2]:
        assert line.startswith("backend torch: the first that starts for cpu; ")
        assert "slurm started 2 ranks, but mpi sees a world of 1" in line


@pytest.mark.parametrize("name", ["single", "nccl"])
def test_a_named_backend_is_taken_or_refused(name: str) -> None:
    two = RankInfo(rank=0, size=2, local_rank=0, local_size=2, host="h", launcher="pmi", job_id="")
    with pytest.raises(LaunchError, match=r"choose|expected"):
        create(name, two, CPU, print)


@pytest.mark.parametrize(
    ("name", "module", "fix"),
    [("mpi", "mpi4py", "pip install mpi4py"), ("horovod", "horovod.torch", "build it with scripts/build-horovod")],
)
def test_a_missing_library_is_an_error_with_the_fix(
    name: str, module: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(LaunchError, match=f"--backend {name}: .* does not start .*{fix}"):
        create(name, detect({}), CPU, print)
