"""A rank that hangs, dies or fails is named once, and the job ends: real processes on every backend."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ptrain.errors import EXIT_DEFECT
from ptrain.run.watchdog import Watchdog, accusation, default_limit
from tests.ranks import kill_tree, run_ranks, start_group

PROCESSES = [{"host": f"node{rank}", "pid": 100 + rank} for rank in range(3)]
WAITS = {"doing": "exchanging the gradient of step 7", "waits": True}
COMPUTES = {"doing": "computing step 7", "waits": False}


def test_silent_and_busy_ranks_are_named_and_waiting_ones_are_not() -> None:
    text = accusation({0: WAITS, 2: COMPUTES}, PROCESSES, WAITS["doing"], 5.0)  # type: ignore[arg-type]
    assert "rank 1 on node1 (pid 101) gives no sign of life" in text
    assert "rank 2 on node2 (pid 102) is still computing step 7" in text
    assert "rank 0" not in text
    assert "5 s" in text


def test_where_all_wait_the_message_says_so() -> None:
    assert "all ranks wait" in accusation(dict.fromkeys(range(3), WAITS), PROCESSES, "", 5.0)


def test_the_default_limit_is_generous() -> None:
    assert default_limit(0.001) == 300.0
    assert default_limit(10.0) == 1000.0


@pytest.mark.alone
def test_progress_keeps_the_watchdog_quiet_and_a_stop_wakes_it(tmp_path: Path) -> None:
    codes: list[int] = []
    watchdog = Watchdog(tmp_path / "hang", 0, PROCESSES[:1], 0.4, leave=codes.append)  # type: ignore[arg-type]
    for step in range(30):
        watchdog.heartbeat(f"computing step {step}", False)
        time.sleep(0.02)
    assert codes == []
    deadline = time.monotonic() + 10
    while not codes and time.monotonic() < deadline:
        time.sleep(0.01)
    watchdog.close()
    assert codes == [EXIT_DEFECT]


def endless(run_dir: Path, backend: str, *flags: str) -> list[str]:
    command = [sys.executable, "-m", "ptrain", "train", "--ranks", "3", "--backend", backend, "--epochs", "100000"]
    return [*command, "--hidden", "16", "--batch-size", "64", "--threads", "1", "--run-dir", str(run_dir), *flags]


def hit(command: list[str], run_dir: Path, number: int) -> tuple[subprocess.CompletedProcess[str], int, float]:
    """Start a run, send rank 1 a signal after its first epoch; return how it ended, rank 1's pid and the seconds."""
    process = start_group(command)
    try:
        deadline = time.monotonic() + 90
        while not (run_dir / "metrics.jsonl").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        pid = int(json.loads((run_dir / "environment.json").read_text())["processes"][1]["pid"])
        os.kill(pid, number)
        start = time.monotonic()
        stdout, stderr = process.communicate(timeout=90)
        seconds = time.monotonic() - start
    finally:
        if process.poll() is None:
            kill_tree(process.pid)
            process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr), pid, seconds


def is_running(pid: int) -> bool:
    """Return whether a process is there; a dead one that nobody waited for is not."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.alone
@pytest.mark.parametrize("backend", ["mpi", "horovod", "torch"])
def test_a_stopped_rank_is_named_and_every_other_rank_prints_its_stack(tmp_path: Path, backend: str) -> None:
    run_dir = tmp_path / "run"
    done, pid, seconds = hit(endless(run_dir, backend, "--step-timeout", "8"), run_dir, signal.SIGSTOP)
    assert done.returncode == 1, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("ptrain: error: ")]
    assert len(errors) == 1
    assert f"(pid {pid}) gives no sign of life" in errors[0]
    assert "rank 1 on " in errors[0]
    assert any(doing in errors[0] for doing in ("exchanging the gradient of step", "ending epoch"))
    for rank in (0, 2):
        assert f"rank {rank} on " in done.stderr.split(errors[0])[1]
    assert seconds < 2 * 8
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


@pytest.mark.alone
@pytest.mark.parametrize("backend", ["mpi", "horovod", "torch"])
def test_a_killed_rank_ends_the_job_and_is_named(tmp_path: Path, backend: str) -> None:
    run_dir = tmp_path / "run"
    done, _, seconds = hit(endless(run_dir, backend), run_dir, signal.SIGKILL)
    assert done.returncode not in (0, 75), done.stderr
    assert "rank 1" in done.stderr
    assert "SIGKILL" in done.stderr
    assert seconds < 15


FAILING = """
import sys
from ptrain.cli import main
from ptrain.data.loader import ShardLoader
from ptrain.launch.env import detect
import os
whole = ShardLoader.select
def failing(self, epoch, step):
    if step == 5 and detect(os.environ).rank == 1:
        raise ZeroDivisionError("made to fail")
    whole(self, epoch, step)
ShardLoader.select = failing
sys.exit(main())
"""


@pytest.mark.parametrize("backend", ["mpi", "horovod", "torch"])
def test_an_exception_in_one_rank_is_printed_once(tmp_path: Path, backend: str) -> None:
    program = tmp_path / "failing.py"
    program.write_text(FAILING)
    flags = ["train", "--backend", backend, "--hidden", "16", "--threads", "1", "--run-dir", str(tmp_path / "run")]
    done = run_ranks([sys.executable, str(program), *flags], 2, backend=backend, timeout=120)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("ZeroDivisionError: made to fail") == 2  # the traceback's last line and the message
    assert "ptrain: error: rank 1 on " in done.stderr


def test_a_crashed_run_is_started_again_to_the_same_bits(tmp_path: Path) -> None:
    flags = ["--hidden", "16", "--batch-size", "32", "--epochs", "60", "--threads", "1", "--no-report"]
    command = [sys.executable, "-m", "ptrain", "train", "--ranks", "2", *flags]
    expected = tmp_path / "whole"
    whole = run_ranks([*command[:4], *flags, "--run-dir", str(expected)], 1, backend="single")
    assert whole.returncode == 0, whole.stderr
    run_dir = tmp_path / "run"
    restarted = [*command, "--run-dir", str(run_dir), "--restarts", "2", "--checkpoint-every", "20"]
    done, _, _ = hit(restarted, run_dir, signal.SIGKILL)
    assert done.returncode == 0, done.stderr
    assert "restart 1 of 2 on 2 ranks" in done.stderr
    hashes = [json.loads((path / "evaluation.json").read_text())["parameters_sha256"] for path in (expected, run_dir)]
    assert hashes[0] == hashes[1]
