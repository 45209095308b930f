"""Processes with a time limit, for what may crash or hang, and the JSON that they answer with."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ptrain.launch.env import find_launcher
from ptrain.launch.mpirun import OUTER


def ask(*arguments: str, time_limit: float) -> tuple[dict[str, Any] | None, str]:
    """Run Python with these arguments in a process of its own, a job of its own.

    Returns the JSON object of the last line that is one, or None and the reason.
    """
    status, out, err = run_limited([sys.executable, *arguments], time_limit, without_launcher(os.environ))
    if status is None:
        return None, f"no answer within {time_limit:g} s"
    answer = last_json(out)
    if status == 0 and answer is not None:
        return answer, ""
    how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
    return None, last_cause(err) or how


def run_limited(
    command: Sequence[str], time_limit: float, environ: Mapping[str, str] | None = None
) -> tuple[int | None, str, str]:
    """Run a program and return its exit code, or None after ``time_limit`` seconds, its output and its errors.

    At the limit the whole process group is asked to end, and killed where it does not within some seconds.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environ,
            start_new_session=True,
        )
    except OSError as error:
        return 127, "", f"{command[0]}: {error.strerror}"
    try:
        out, err = process.communicate(timeout=time_limit)
    except subprocess.TimeoutExpired:
        return None, *_end(process)
    except BaseException:
        _end(process)
        raise
    return process.returncode, out, err


def _end(process: "subprocess.Popen[str]") -> tuple[str, str]:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=3.0)
    for pipe in (process.stdout, process.stderr):  # held open by a child of a child that left the group
        if pipe is not None:
            pipe.close()
    return "", ""


def without_launcher(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables of a launcher: what is started here is a job of its own."""
    if find_launcher(environ) is None:
        return dict(environ)
    return {name: value for name, value in environ.items() if not OUTER.match(name)}


def last_json(text: str) -> dict[str, Any] | None:
    """The last line that is a JSON object: libraries may print lines of their own around it."""
    for line in reversed(text.splitlines()):
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
    return None


def last_cause(text: str) -> str:
    """The last line that tells the cause: ptrain's own where there is one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    own = [line.removeprefix("ptrain: error: ") for line in lines if line.startswith("ptrain: error: ")]
    return (own or lines or [""])[-1]
