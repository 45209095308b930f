"""Where the ranks of torch.distributed meet, and torchrun as their launcher."""

import json
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ptrain.comm.torch_dist import TorchCommunicator, plan_rendezvous
from ptrain.errors import LaunchError
from ptrain.launch.env import RankInfo
from tests.ranks import run_group

ONE_HOST = RankInfo(rank=0, size=4, local_rank=0, local_size=4, host="n1", launcher="openmpi", job_id="job.1")
TWO_HOSTS = replace(ONE_HOST, local_size=2)


def test_ranks_of_one_host_meet_in_a_file_of_the_job(tmp_path: Path) -> None:
    place = plan_rendezvous(ONE_HOST, {"TMPDIR": str(tmp_path)})
    assert isinstance(place, Path)
    assert place.parent == tmp_path / f"ptrain-{os.getuid()}"
    assert place == plan_rendezvous(replace(ONE_HOST, rank=3, local_rank=3), {"TMPDIR": str(tmp_path)})
    assert place != plan_rendezvous(replace(ONE_HOST, job_id="job.2"), {"TMPDIR": str(tmp_path)})
    inside = plan_rendezvous(ONE_HOST, {"PMIX_SERVER_TMPDIR": "/run/job"})
    assert isinstance(inside, Path)
    assert inside.parent == Path("/run/job")


def test_master_addr_wins() -> None:
    environ = {"MASTER_ADDR": "n1i", "MASTER_PORT": "2345"}
    assert plan_rendezvous(ONE_HOST, environ) == plan_rendezvous(TWO_HOSTS, environ) == ("n1i", 2345)
    host, port = plan_rendezvous(TWO_HOSTS, {"MASTER_ADDR": "n1"})  # type: ignore[misc]
    assert (host, 10_000 <= port < 30_000) == ("n1", True)


def test_slurm_over_several_nodes_meets_at_its_first_host() -> None:
    info = replace(TWO_HOSTS, launcher="slurm", job_id="31.0")
    environ = {"SLURM_JOB_NODELIST": "jwb[0097,0103]"}
    place = plan_rendezvous(info, environ)
    assert place[0] == "jwb0097"  # type: ignore[index]
    assert place == plan_rendezvous(replace(info, rank=3), environ)
    assert place != plan_rendezvous(replace(info, job_id="32.0"), environ)


@pytest.mark.parametrize(
    ("info", "environ", "message"),
    [
        (TWO_HOSTS, {}, "set MASTER_ADDR to the host of rank 0 and MASTER_PORT"),
        (replace(ONE_HOST, job_id=""), {}, "set MASTER_ADDR"),
        (TWO_HOSTS, {"MASTER_ADDR": "n1", "MASTER_PORT": "x"}, "MASTER_PORT is x: expected a port number"),
        (TWO_HOSTS, {"MASTER_ADDR": "n1", "MASTER_PORT": "65536"}, "MASTER_PORT is 65536"),
        (replace(TWO_HOSTS, launcher="slurm"), {}, "SLURM_JOB_NODELIST is empty"),
    ],
)
def test_no_place_to_meet(info: RankInfo, environ: dict[str, str], message: str) -> None:
    with pytest.raises(LaunchError, match=message):
        plan_rendezvous(info, environ)


def test_a_first_host_that_cannot_be_resolved_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(host: str, port: int) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    info = replace(TWO_HOSTS, launcher="slurm")
    with pytest.raises(LaunchError, match=r"host of rank 0, gone7, cannot be resolved.*set MASTER_ADDR"):
        TorchCommunicator(info, torch.device("cpu"), {"SLURM_JOB_NODELIST": "gone[7-8]"})


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / f"ptrain-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(LaunchError, match="not a private folder of yours; remove it or set TMPDIR"):
        TorchCommunicator(ONE_HOST, torch.device("cpu"), {"TMPDIR": str(tmp_path)})


def test_torchrun(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = ["-m", "tests.comm.conformance_program", "torch", str(tmp_path), "close"]
    done = run_group([*torchrun, *program], timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    infos = [json.loads((tmp_path / f"torch-{rank}.json").read_text())["info"] for rank in range(2)]
    assert [(i["rank"], i["size"], i["local_rank"], i["launcher"]) for i in infos] == [
        (0, 2, 0, "torchrun"),
        (1, 2, 1, "torchrun"),
    ]
