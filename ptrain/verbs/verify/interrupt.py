"""Runs of ``ptrain train`` as child processes, with ranks killed at random moments and continued on other ranks."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptrain.errors import EXIT_DONE, EXIT_REQUEUE, PtrainError

POLL = 0.02
"""Seconds between two questions how far a run is."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """On what a run is repeated."""

    ranks: int
    backend: str
    threads: int

    @property
    def flags(self) -> list[str]:
        """The flags of ``ptrain train`` for this case."""
        backend = "single" if self.ranks == 1 else self.backend
        return ["--ranks", str(self.ranks), "--backend", backend, "--threads", str(self.threads)]


def train(flags: Sequence[str], run_dir: Path, case: Case) -> None:
    """Run ``ptrain train`` to its end or to ``--max-steps``.

    Raises PtrainError where it ended with any other exit code; the message ends with what it said.
    """
    _expect_end(_start(flags, run_dir, case), run_dir)


def train_with_kills(
    flags: Sequence[str], run_dir: Path, cases: Sequence[Case], moments: Sequence[int], chance: random.Random
) -> int:
    """Run ``ptrain train`` and kill a random rank soon after each of the steps ``moments``; return the kills done.

    Every time the run continues on the next of ``cases``. The moment is random by up to a tenth of a second, so that
    it also falls into the writing of checkpoints. A run that ends before it can be killed has no further kills.

    Raises PtrainError where the run ended in any other way than by a kill or in good order.
    """
    kills = 0
    flags = [*flags, "--resume", "auto"]
    for number, moment in enumerate(sorted(moments)):
        process = _start(flags, run_dir, cases[number % len(cases)])
        started = time.time()
        while process.poll() is None and not (_is_running(run_dir, started) and last_step(run_dir) >= moment):
            time.sleep(POLL)
        time.sleep(chance.random() / 10)
        if process.poll() is not None:
            _expect_end(process, run_dir)
            return kills
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(_processes(run_dir)), signal.SIGKILL)
        process.wait()
        if process.returncode in (EXIT_DONE, EXIT_REQUEUE):
            return kills
        kills += 1
    _expect_end(_start(flags, run_dir, cases[len(moments) % len(cases)]), run_dir)
    return kills


def _start(flags: Sequence[str], run_dir: Path, case: Case) -> "subprocess.Popen[bytes]":
    """Start ``ptrain train``; its output goes to a log beside the run directory."""
    log = run_dir.with_name(f"{run_dir.name}.log")
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "ptrain", "train", *flags, "--run-dir", str(run_dir), *case.flags],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _expect_end(process: "subprocess.Popen[bytes]", run_dir: Path) -> None:
    try:
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if code not in (EXIT_DONE, EXIT_REQUEUE):
        tail = run_dir.with_name(f"{run_dir.name}.log").read_text(errors="replace").strip().splitlines()[-3:]
        raise PtrainError(f"the repeated run ended with exit code {code}: {' / '.join(tail)}")


def _is_running(run_dir: Path, since: float) -> bool:
    """Whether environment.json is of a process that started after ``since``."""
    path = run_dir / "environment.json"
    return path.exists() and path.stat().st_mtime >= since


def _processes(run_dir: Path) -> list[int]:
    content = json.loads((run_dir / "environment.json").read_text())
    return [int(process["pid"]) for process in content["processes"]]


def last_step(run_dir: Path) -> int:
    """The last step in trace.jsonl, 0 where there is none yet."""
    records = read_trace(run_dir)
    return int(records[-1]["step"]) if records else 0


def read_trace(run_dir: Path) -> list[dict[str, Any]]:
    """The records of trace.jsonl up to the first that is incomplete."""
    records: list[dict[str, Any]] = []
    with contextlib.suppress(FileNotFoundError, ValueError):
        for line in (run_dir / "trace.jsonl").read_text().splitlines():
            records.append(json.loads(line))  # noqa: PERF401, those before a damaged line are kept
    return records
