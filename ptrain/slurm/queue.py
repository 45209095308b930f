"""What is asked of Slurm's own programs; every call has a time limit, and nothing goes through a shell."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from ptrain.errors import LaunchError
from ptrain.launch.child import run_limited

TIME_LIMIT = 60.0  # seconds; a busy slurmctld answers late
ENDED = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One job, or one task of an array, as Slurm tells of it."""

    job: str
    """Number, or ARRAY_TASK."""
    state: str
    restarts: int
    reason: str
    nodes: str


def call(command: Sequence[str]) -> tuple[int, str, str]:
    """Run one of Slurm's programs, as ``run`` does. Raises LaunchError where it is not there or does not answer."""
    if shutil.which(command[0]) is None:
        raise LaunchError(
            f"{command[0]} is not on PATH: run this on a login node of the cluster, or print the script with "
            "ptrain slurm render and submit it there"
        )
    return run(command, f"{command[0]} did not answer within {TIME_LIMIT:g} s: Slurm is busy, try again")


def run(command: Sequence[str], too_late: str) -> tuple[int, str, str]:
    """Run a program; return exit code, output and errors. Raises LaunchError ``too_late`` where it does not answer."""
    code, out, err = run_limited(command, TIME_LIMIT)
    if code is None:
        raise LaunchError(too_late)
    return code, out, err


def submit(script: str) -> str:
    """Submit a script and return the number of its job. Raises LaunchError with Slurm's reason."""
    code, out, err = call(["sbatch", "--parsable", script])
    number = out.strip().partition(";")[0]
    if code != 0 or not number.isdecimal():
        raise LaunchError(f"sbatch refused {script}: {reason_in(err) or out.strip()}")
    return number


def test(script: str) -> str:
    """Ask Slurm whether it would take a script; return its estimate. Raises LaunchError with its reason."""
    code, out, err = call(["sbatch", "--test-only", script])
    if code != 0:
        raise LaunchError(
            f"Slurm would not take this job: {reason_in(err)}; change the flags, sinfo shows what there is"
        )
    return reason_in(err) or out.strip()


def partitions() -> list[str]:
    """The names of the partitions, or nothing where Slurm does not say."""
    return _names("sinfo", "--noheader", "--format=%R")


def accounts(user: str) -> list[str]:
    """The accounts of a user, or nothing where this cluster keeps no accounts."""
    if shutil.which("sacctmgr") is None:
        return []
    return _names("sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={user}", "format=account")


def _names(*command: str) -> list[str]:
    code, out, _ = call(command)
    return sorted(set(out.split())) if code == 0 else []


def entries(jobs: Sequence[str]) -> list[Entry]:
    """What Slurm still knows about jobs, each task of an array by itself; ended ones leave after minutes."""
    found = []
    for job in jobs:
        code, out, _ = call(["scontrol", "--oneliner", "show", "job", job])
        if code == 0:
            found += [entry_of(line) for line in out.splitlines() if line.startswith("JobId=")]
    return found


def entry_of(line: str) -> Entry:
    """Read a line of ``scontrol --oneliner show job``."""
    values = dict(re.findall(r"(?:^|\s)(\w+)=(\S*)", line))
    job = values["JobId"]
    if "ArrayJobId" in values:
        job = f"{values['ArrayJobId']}_{values.get('ArrayTaskId', '?')}"
    return Entry(
        job=job,
        state=values.get("JobState", "UNKNOWN"),
        restarts=int(values.get("Restarts", "0")),
        reason=values.get("Reason", "None"),
        nodes=values.get("NodeList", "").replace("(null)", ""),
    )


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs; those that have ended already are left alone. Raises LaunchError with Slurm's reason."""
    code, _, err = call(["scancel", *jobs])
    if code != 0:
        raise LaunchError(f"scancel {' '.join(jobs)}: {reason_in(err)}")


def reason_in(text: str) -> str:
    """What Slurm's programs say, on one line, without their own names."""
    own = re.compile(r"^(sbatch|scancel|srun|scontrol)\b:?( error:)?\s*")
    return "; ".join(filter(None, (own.sub("", line).strip() for line in text.splitlines())))
