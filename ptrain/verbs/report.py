"""``ptrain report``: the page of one run, or the comparison of several, from the files of the run directories."""

import os
import subprocess
import sys
from pathlib import Path

from ptrain.console import Console
from ptrain.errors import EXIT_DONE, RunDirectoryError
from ptrain.launch import env
from ptrain.report.records import read_run

CHILD_SECONDS = 120.0
"""Time that a report at the end of a run may take."""


def in_child(folder: Path, console: Console) -> None:
    """Write the report of a finished run in a process of its own, so that no rank ever loads a plotting library.

    A report that cannot be written is a warning: the run is there, and ``ptrain report`` can be called again.
    """
    command = [sys.executable, "-m", "ptrain", "report", str(folder)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CHILD_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        console.warn(f"no report ({error}); ptrain report {folder} tries again")
        return
    if done.returncode == 0:
        console.say(f"report {folder / 'report.html'}")
    else:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        console.warn(f"no report ({reason}); ptrain report {folder} tries again")


def run(runs: list[str], out: str | None = None) -> int:
    """Write RUN/report.html and RUN/plots/, or for several runs comparison.html, and return the exit code.

    Raises:
        InputError: a run directory is missing or damaged, or the page cannot be written.
    """
    if env.detect(os.environ).rank != 0:  # one process of a job is enough
        return EXIT_DONE
    records = [read_run(Path(name)) for name in runs]
    path = Path(out) if out is not None else Path(runs[0], "report.html") if len(runs) == 1 else Path("comparison.html")
    try:
        if len(records) == 1:
            from ptrain.report.page import write_report

            write_report(records[0], path)
        else:
            from ptrain.report.comparison import write_comparison

            write_comparison(records, path)
    except OSError as error:
        raise RunDirectoryError(
            f"{error.filename or path}: cannot be written ({error.strerror}); expected a folder you can write to"
        ) from None
    Console().say(f"written to {path}")
    return EXIT_DONE
