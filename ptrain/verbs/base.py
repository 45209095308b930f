"""What a verb is: summary, flags, and checks that say what to run; and how those with actions choose one."""

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptrain.config import RunConfig, nearest
from ptrain.config.flags import Flag, FlagGroup, Given, Parser
from ptrain.errors import ConfigError, RunDirectoryError

RUN_FIELDS = ("ranks", "backend", "device", "threads")
"""What every verb that computes on ranks can be told about them."""


def start(argv: Sequence[str], ranks: int) -> int:
    """Start ranks here that run this command line, and return their exit code."""
    from ptrain.launch import local  # here, since --help does not wait for what it does not need

    return local.start([sys.executable, "-m", "ptrain", *argv], ranks, os.environ)


def function(work: str) -> Callable[..., Any]:
    """The function that ``module:function`` names. Its libraries are loaded here, and for no --help."""
    module, _, name = work.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"ptrain.{module}"), name)
    return found


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line that a verb has checked: what to run, and on how many ranks."""

    work: str
    """Module and function that do the work and return the exit code, as ``verbs.report:run``: found when it is run."""
    arguments: tuple[Any, ...]
    ranks: int | None = None
    """What --ranks says: where a launcher has started ranks, their number."""
    ranks_to_start: int | None = None
    """Ranks to start where no launcher did: those of --ranks, of a file, or of the verb's own choice."""
    start: Callable[[Sequence[str], int], int] = start
    """Starts ranks that run a command line without --ranks."""

    def run(self) -> int:
        """Do the work here and return the exit code."""
        return int(function(self.work)(*self.arguments))


def on_ranks(work: str, settings: RunConfig, *arguments: Any) -> Command:
    """A call that every rank of ``settings`` makes."""
    return Command(work=work, arguments=arguments, ranks=settings.ranks, ranks_to_start=settings.ranks)


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A verb of the command line."""

    summary: str
    """One line of ``ptrain --help``."""
    usage: str = ""
    """What stands between the verb and its flags."""
    usage_behind: str = ""
    """What stands behind a ``--``; empty where the verb has no use for one."""
    examples: str
    groups: Sequence[FlagGroup]
    check: Callable[[Given], Command]
    """Finds out all that can be wrong without starting anything; raises InputError."""

    def parser(self, name: str) -> Parser:
        """The flags of this verb, which goes by ``name``."""
        usage = " ".join(part for part in ("ptrain", name, self.usage, "[flags]", self.usage_behind) if part)
        description = f"{self.summary[0].upper()}{self.summary[1:]}."
        return Parser(f"ptrain {name}", usage, description, self.examples, self.groups)

    def read(self, name: str, argv: Sequence[str]) -> Given:
        """Take a command line apart, without ``ptrain`` and the verb in front."""
        own, behind = list(argv), []
        if self.usage_behind and "--" in own:
            own, behind = own[: own.index("--")], own[own.index("--") + 1 :]
        return self.parser(name).read(own, behind=behind)


@dataclass(frozen=True)
class Action:
    """One of the things that a verb of several does."""

    work: str
    """As that of a Command."""
    does: str
    words: tuple[str, ...] = ()
    """What stands behind it."""


def actions_text(actions: Mapping[str, Action]) -> str:
    """The help of the argument that chooses an action."""
    return "; ".join(f"{' '.join((name, *action.words))}: {action.does}" for name, action in actions.items())


def choose(verb: str, name: str, actions: Mapping[str, Action]) -> Action:
    """The action of that name. Raises ConfigError that names the nearest one."""
    if name not in actions:
        raise ConfigError(f"{verb} {name}: {nearest(name, list(actions))}")
    return actions[name]


def required_run(run_dir: str) -> None:
    """Raise RunDirectoryError unless there is a run."""
    if not (Path(run_dir) / "config.toml").is_file():
        raise RunDirectoryError(f"{run_dir} is no run directory (no config.toml in it); expected one of ptrain train")


ACTION = Flag(is_positional=True, metavar="ACTION")
RUN = Flag(is_positional=True, metavar="RUN")
CHECKPOINT = Flag(metavar="last|best|NAME")
