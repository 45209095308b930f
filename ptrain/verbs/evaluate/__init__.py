"""``ptrain evaluate``: of a trained network on any number of ranks, or of predictions in a file."""

from dataclasses import dataclass
from typing import Annotated, Literal

from ptrain.config import RunConfig
from ptrain.config.flags import SWITCH, Flag, FlagGroup, Given
from ptrain.errors import ConfigError
from ptrain.verbs.base import CHECKPOINT, RUN, RUN_FIELDS, Command, Verb, on_ranks, required_run


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What to evaluate, and where the result goes."""

    run: Annotated[str | None, RUN] = None
    """run directory of ptrain train"""
    split: Literal["test", "validation", "train"] = "test"
    """split to evaluate"""
    data: str | None = None
    """evaluate on these data instead of a split of the run's own"""
    labels: str | None = None
    """file of labels for a FEATURES.npy or for --predictions"""
    checkpoint: Annotated[str, CHECKPOINT] = "last"
    """checkpoint to load: last, best, or a name such as step-00000469"""
    predictions: Annotated[str | None, Flag(metavar="FILE")] = None
    """evaluate these predictions against --labels, without a run: classes or probabilities, .csv, .npy or .parquet"""
    absent: Literal["exclude", "zero"] = "exclude"
    """what an undefined ratio (0/0) counts as: exclude leaves it out of means, zero is 0"""
    areas: Annotated[str | None, Flag(metavar="FILE.csv")] = None
    """mapped area of each class, lines class,area: weights the accuracy by area (Olofsson et al. 2014)"""
    out: Annotated[str | None, Flag(metavar="FOLDER")] = None
    """folder for evaluation.json and the CSV files (default: the run, or a folder below it; none for --predictions)"""
    json: Annotated[bool, SWITCH] = False
    """print evaluation.json instead of a table"""

    def __post_init__(self) -> None:
        if self.predictions is None:
            if self.run is None:
                raise ConfigError("nothing to evaluate: expected RUN, or --predictions FILE and --labels FILE")
            if self.labels is not None and self.data is None:
                raise ConfigError(f"--labels {self.labels} without --data: expected the features as well")
        elif self.labels is None:
            raise ConfigError(f"--predictions {self.predictions} without --labels: expected the file of labels as well")
        elif self.run is not None or self.data is not None:
            given = f"RUN {self.run}" if self.run is not None else f"--data {self.data}"
            raise ConfigError(f"--predictions {self.predictions} with {given}: expected one of the two")


def check(given: Given) -> Command:
    """Of a run every rank computes its share; of a file only rank 0 has something to do, and nobody needs torch."""
    settings, options = given.of(RunConfig), given.of(EvaluateOptions)
    if options.run is not None:
        required_run(options.run)
    work = f"verbs.evaluate.{'of_files' if options.run is None else 'of_run'}:run"
    return on_ranks(work, settings, options, settings)


VERB = Verb(
    summary="evaluate a finished run, or predictions in a file: exact counts over all ranks",
    usage="[RUN]",
    examples="""\
  ptrain evaluate runs/first
  ptrain evaluate runs/first --split validation --checkpoint best --ranks 2
  ptrain evaluate --predictions classes.csv --labels labels.csv --areas areas.csv
""",
    groups=(FlagGroup(of=EvaluateOptions), FlagGroup(of=RunConfig, names=RUN_FIELDS)),
    check=check,
)
