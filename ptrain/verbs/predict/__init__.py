"""``ptrain predict``: class and probabilities of every sample of a file, or the map of a scene, on all ranks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ptrain.config import RunConfig
from ptrain.config.flags import Flag, FlagGroup, Given
from ptrain.errors import ConfigError
from ptrain.verbs.base import CHECKPOINT, RUN_FIELDS, Command, Verb, on_ranks, required_run

MAP_SUFFIXES = (".tif", ".tiff")
SUFFIXES = (".csv", ".npy", *MAP_SUFFIXES)


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What to predict with which network, and where the result goes."""

    paths: Annotated[tuple[str, ...], Flag(is_positional=True, metavar="RUN INPUT")]
    """run directory of ptrain train, and features: any source, images or a scene; RUN may be --run RUN"""
    run: Annotated[str | None, Flag(metavar="RUN")] = None
    """run directory, where it is not given in front of INPUT"""
    out: Annotated[str, Flag(metavar="FILE")]
    """where to write: FILE.csv, FILE.npy, or for a scene MAP.tif, which gets a picture MAP.png beside it"""
    checkpoint: Annotated[str, CHECKPOINT] = "last"
    """checkpoint to load: last, best, or a name such as step-00000469"""

    def __post_init__(self) -> None:
        expected = 2 if self.run is None else 1
        if len(self.paths) < expected:
            raise ConfigError(
                f"only {self.paths[0]}: expected RUN INPUT, or INPUT --run RUN; see ptrain predict --help"
            )
        if len(self.paths) > expected:
            raise ConfigError(f"unexpected argument {self.paths[expected]}; see ptrain predict --help")

    @property
    def run_dir(self) -> str:
        """The run directory."""
        return self.paths[0] if self.run is None else self.run

    @property
    def source(self) -> str:
        """The features."""
        return self.paths[-1]


def check(given: Given) -> Command:
    """Every rank computes its share."""
    settings, options = given.of(RunConfig), given.of(PredictOptions)
    required_run(options.run_dir)
    if Path(options.out).suffix not in SUFFIXES:
        raise ConfigError(f"--out {options.out}: expected a name that ends in .csv or .npy, or in .tif for a scene")
    return on_ranks("verbs.predict.samples:run", settings, options, settings)


VERB = Verb(
    summary="write the class and the probabilities of every sample of a file, or the map of a scene",
    usage="RUN INPUT --out FILE",
    examples="""\
  ptrain predict runs/first samples.npy --out classes.csv
  ptrain predict runs/first samples.npz --out classes.npy --checkpoint best --ranks 2 --backend mpi
  ptrain predict runs/photos folder --out classes.csv
  ptrain predict scene.tif --run runs/scene --out map.tif --ranks 2
""",
    groups=(FlagGroup(of=PredictOptions), FlagGroup(of=RunConfig, names=RUN_FIELDS)),
    check=check,
)
