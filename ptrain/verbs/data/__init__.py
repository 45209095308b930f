"""``ptrain data``: look at data, convert them, fetch them, make some up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from ptrain.config import DataConfig, RunConfig, TrainConfig
from ptrain.config.flags import SWITCH, Flag, FlagGroup, Given
from ptrain.config.values import require
from ptrain.errors import ConfigError
from ptrain.verbs.base import ACTION, Action, Command, Verb, actions_text, choose, on_ranks


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What to do, and with the numbers of a made-up scene."""

    action: Annotated[str, ACTION]
    words: Annotated[tuple[str, ...], Flag(is_positional=True, metavar="SPEC")] = ()
    """the source, as in --data; see the action"""
    json: Annotated[bool, SWITCH] = False
    """info: print JSON"""
    height: Annotated[int, Flag(heading="made-up scene (scene)")] = 600
    """rows of pixels"""
    width: int = 800
    """columns of pixels"""
    bands: int = 12
    """bands from 450 to 2300 nm"""
    classes: int = 6
    """classes"""
    noise: float = 0.25
    """deviation of a parcel from the spectrum of its class, relative to it; that of a pixel is half"""

    def __post_init__(self) -> None:
        _require_between(self, ("height", "width"), 32, 1_000_000, "a whole number")
        _require_between(self, ("bands",), 1, 1000, "a whole number")
        _require_between(self, ("classes",), 2, 255, "a whole number")
        _require_between(self, ("noise",), 0, 10, "a number")


def _require_between(options: DataOptions, names: Sequence[str], low: int, high: int, kind: str) -> None:
    require(options, names, lambda number: low <= number <= high, f"{kind} from {low} to {high}")


ACTIONS = {
    "info": Action(
        "verbs.data.info:run",
        "what is in the data: shape, types, classes, ranges, missing values, hash, duplicates",
        ("SPEC",),
    ),
    "convert": Action(
        "verbs.data.convert:run",
        "write the data as memory-mapped arrays into the folder OUT, to train on with --data OUT",
        ("SPEC", "OUT"),
    ),
    "fetch": Action(
        "verbs.data.fetch:run", "download one of torchvision's data sets, for nodes without network", ("NAME",)
    ),
    "scene": Action("verbs.data.scene:run", "make up a scene with its reference, to try things out with", ("OUT",)),
}


def check(given: Given) -> Command:
    """Only the conversion knows what to do with several ranks; the others leave it to rank 0."""
    options = given.of(DataOptions)
    action = choose("data", options.action, ACTIONS)
    if len(options.words) != len(action.words):
        told = " ".join(["data", options.action, *options.words])
        raise ConfigError(f"{told}: expected ptrain data {options.action} {' '.join(action.words)}")
    source = {"data": options.words[0]} if "SPEC" in action.words else {}
    given.values.setdefault(DataConfig, {}).update(source)
    run = given.of(RunConfig)
    return on_ranks(action.work, run, options, given.of(DataConfig), given.of(TrainConfig).seed, run)


_READING = "how the data are read (info and convert)"
VERB = Verb(
    summary="look at data, convert them to memory-mapped arrays, fetch them, or make some up",
    usage="ACTION SPEC|NAME|OUT [OUT]",
    examples="""\
  ptrain data info table.csv --target species
  ptrain data convert table.parquet arrays --target species --ranks 2
  ptrain data fetch CIFAR10
""",
    groups=(
        FlagGroup(of=DataOptions, texts={"action": actions_text(ACTIONS)}),
        FlagGroup(of=DataConfig, without=("data", "normalize"), heading=_READING),
        FlagGroup(of=TrainConfig, names=("seed",), heading=_READING),
        FlagGroup(of=RunConfig, names=("ranks", "backend"), heading=_READING),
    ),
    check=check,
)
