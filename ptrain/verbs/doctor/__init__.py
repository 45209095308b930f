"""``ptrain doctor``: what is installed, which backends start, what the launcher says, and the fix for what fails."""

from dataclasses import dataclass
from typing import Annotated

from ptrain.config import RunConfig
from ptrain.config.flags import SWITCH, Flag, FlagGroup, Given
from ptrain.verbs.base import Command, Verb, on_ranks


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """What to check."""

    json: Annotated[bool, SWITCH] = False
    """print the findings as JSON"""
    time_limit: Annotated[float, Flag(metavar="SECONDS")] = 60.0
    """for each backend to start (default: 60)"""
    preflight: Annotated[bool, SWITCH] = False
    """in a job: is every rank where it should be? exit code 2 if not"""
    shared_folder: Annotated[str | None, Flag(metavar="DIR")] = None
    """--preflight: folder that all ranks must share"""
    expect_ranks: int | None = None
    """--preflight: number of ranks there must be"""


def check(given: Given) -> Command:
    """One process checks this machine; several are a job, which is checked from inside."""
    settings, options = given.of(RunConfig), given.of(DoctorOptions)
    return on_ranks("verbs.doctor.machine:run", settings, options, settings)


VERB = Verb(
    summary="say what is installed, which backends start, and the fix for what does not",
    examples="""\
  ptrain doctor
  ptrain doctor --json > doctor.json
  srun ptrain doctor --backend horovod        is every rank where it should be, and do they hear each other?
""",
    groups=(
        FlagGroup(of=DoctorOptions),
        FlagGroup(
            of=RunConfig,
            names=("ranks", "backend", "device"),
            texts={
                "backend": "try only this one; the ranks of a job report through it",
                "device": "where the ranks of a job keep what they add up",
            },
        ),
    ),
    check=check,
)
