"""The configuration of ``ptrain train``: flags, over a file, over the configuration of the run that is continued."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ptrain.config.flags import SWITCH, Flag, FlagGroup, Given, Parser
from ptrain.config.sections import SECTIONS, Config, DataConfig
from ptrain.config.toml import build, read_toml
from ptrain.data.sources.table import SOURCES
from ptrain.errors import ConfigError, RunDirectoryError

HERE = "--run-dir"
"""What --resume alone continues; nobody can write it behind --resume."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Where a training starts from."""

    config: Annotated[str | None, Flag(metavar="FILE")] = None
    """TOML file with values for the flags below; flags win"""
    resume: Annotated[str | None, Flag(metavar="auto|RUN", alone=HERE)] = None
    """continue the run in --run-dir, or in RUN, with its configuration and these flags on top; auto starts a new run
    there if there is none yet"""
    force_resume: Annotated[bool, SWITCH] = False
    """resume even with changed data or configuration"""


_EXAMPLES = "; ".join(source.example for source in SOURCES.values())
TEXTS = {"data": f"Source of the data, as one of these: {_EXAMPLES}. (default: {DataConfig.data})"}
"""Help of fields that is made from a table."""
GROUPS = (
    FlagGroup(of=TrainOptions, heading="configuration and resume"),
    *(
        FlagGroup(of=one, heading=f"[{name}] {(one.__doc__ or '').rstrip('.')}", texts=TEXTS)
        for name, one in SECTIONS.items()
    ),
)
"""The flags of a training."""


def with_file(path: str | None, given: Given) -> dict[str, Any]:
    """The values of the sections: those of a file, where there is one, under those of the flags."""
    flags = {name: value for kind in SECTIONS.values() for name, value in given.values.get(kind, {}).items()}
    return flags if path is None else read_toml(Path(path)) | flags


def configure(given: Given) -> tuple[Config, bool]:
    """The configuration that a command line makes, and whether it continues a run.

    Raises ConfigError for values, and RunDirectoryError where there is no run to continue.
    """
    options = given.of(TrainOptions)
    values = with_file(options.config, given)
    if options.resume is None:
        if options.force_resume:
            raise ConfigError("--force-resume without --resume: expected --resume --run-dir RUN with it")
        return build(values), False
    if options.resume not in (HERE, "auto"):
        given_dir = str(values.setdefault("run_dir", options.resume))
        if Path(given_dir) != Path(options.resume):
            raise ConfigError(f"--resume {options.resume} with --run-dir {given_dir}: expected one of the two")
    run_dir = values.get("run_dir")
    if not isinstance(run_dir, str):
        raise ConfigError("--resume without a run directory: expected --run-dir RUN with it, the run to continue")
    stored = Path(run_dir) / "config.toml"
    if stored.is_file():
        return build(read_toml(stored) | values), True
    if options.resume == "auto":
        return build(values), False
    raise RunDirectoryError(
        f"--resume: {run_dir} holds no run to continue (no config.toml in it); "
        "give the --run-dir of a run, or start a new one with --resume auto or without --resume"
    )


def configuration_of(argv: Sequence[str]) -> Config:
    """The configuration that flags of ``ptrain train`` make."""
    return configure(_parser().read(argv))[0]


@functools.cache
def _parser() -> Parser:
    return Parser(prog="ptrain train", groups=GROUPS)
