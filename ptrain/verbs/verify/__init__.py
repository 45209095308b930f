"""``ptrain verify``: train a run's configuration again, on other ranks, backends and threads, and compare the bits."""

from dataclasses import dataclass
from typing import Annotated

from ptrain.comm.table import SEVERAL
from ptrain.config.flags import Flag, FlagGroup, Given
from ptrain.config.values import OneOf
from ptrain.verbs.base import RUN, Command, Verb, required_run


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """Which run, and on what it is repeated."""

    run: Annotated[str, RUN]
    """run directory of ptrain train"""
    ranks: tuple[int, ...] = (1, 2, 3)
    """numbers of ranks to repeat the run on"""
    backends: Annotated[tuple[Annotated[str, OneOf(*SEVERAL)], ...], Flag(metavar="NAME")] = ()
    """backends to repeat it over: mpi, horovod, torch (default: those that are installed)"""
    threads: tuple[int, ...] = (1, 2)
    """numbers of threads a rank, in turn"""
    interruptions: Annotated[int, Flag(metavar="K")] = 0
    """kill a random rank at this many random moments of every run but the first, and continue on other ranks"""
    steps: int | None = None
    """repeat the first N steps only"""
    random_seed: int = 0
    """seed of the kills"""


def check(given: Given) -> Command:
    """One process starts the ranks of every case itself."""
    options = given.of(VerifyOptions)
    required_run(options.run)
    return Command(work="verbs.verify.compare:run", arguments=(options,))


VERB = Verb(
    summary="look at a run's files, train it again on other ranks, backends and threads, and compare every bit",
    usage="RUN",
    examples="""\
  ptrain verify runs/first
  ptrain verify runs/first --ranks 1 3 --backends mpi --interruptions 2
  ptrain verify runs/first --steps 50         only the first 50 steps; works before the run is finished
""",
    groups=(FlagGroup(of=VerifyOptions),),
    check=check,
)
