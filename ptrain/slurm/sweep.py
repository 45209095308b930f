"""Sweeps: every combination of the values of some flags, one a task of a job array."""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ptrain.errors import ConfigError
from ptrain.slurm.words import one_line

MOST = 1000
"""Slurm's own limit for the tasks of an array, unless its administrators changed it (MaxArraySize)."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One task of a sweep."""

    name: str
    """Name of its run directory in the folder of the sweep."""
    values: dict[str, str]
    """Value of each flag that is swept, as the person wrote it."""
    flags: tuple[str, ...]
    """The same as flags of ptrain train."""


def combinations(sweeps: Sequence[str]) -> tuple[Combination, ...]:
    """Every combination of sweeps such as ``lr=0.1,0.01`` and ``hidden=128,256x128`` (x joins a list).

    Raises ConfigError where a sweep is not written like this, twice for one flag, or where there are too many.
    """
    axes: dict[str, list[str]] = {}
    for sweep in sweeps:
        flag, equals, text = one_line("--sweep", sweep).partition("=")
        flag = flag.strip().removeprefix("--").replace("_", "-")
        values = [value.strip() for value in text.split(",")]
        if not equals or not flag or not all(values):
            raise ConfigError(f"--sweep {sweep!r}: expected a flag and its values, such as lr=0.1,0.01")
        if flag in axes:
            raise ConfigError(f"--sweep {flag} twice: expected all its values in one, such as {flag}={text},…")
        if len(set(values)) < len(values):
            raise ConfigError(f"--sweep {sweep}: a value twice would train the same twice")
        axes[flag] = values
    if not axes:
        return ()
    number = math.prod(map(len, axes.values()))
    if number > MOST:
        raise ConfigError(f"--sweep: {number} combinations; expected at most {MOST}, Slurm's limit for an array")
    rows = itertools.product(*axes.values())
    width = len(str(number - 1))
    return tuple(_combination(index, width, dict(zip(axes, row, strict=True))) for index, row in enumerate(rows))


def _combination(index: int, width: int, values: dict[str, str]) -> Combination:
    flags = [word for flag, value in values.items() for word in (f"--{flag}", *_words(value))]
    told = re.sub(r"[^A-Za-z0-9.,=+-]", "_", ",".join(f"{flag}={value}" for flag, value in values.items()))
    return Combination(name=f"{index:0{width}d}-{told}"[:100], values=values, flags=tuple(flags))


def _words(value: str) -> list[str]:
    """Split ``256x128`` at the x, but nothing else that has an x in it."""
    return value.split("x") if re.fullmatch(r"[0-9.]+(x[0-9.]+)+", value, re.ASCII) else [value]
