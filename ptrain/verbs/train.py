"""``ptrain train``: train, checkpoint, evaluate, write the run directory."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ptrain.config import SECTIONS, Config, RunConfig, default_run_dir
from ptrain.config.flags import Given
from ptrain.config.training import GROUPS, TrainOptions, configure
from ptrain.verbs import base
from ptrain.verbs.base import Command, Verb


def check(given: Given) -> Command:
    """Every rank trains. A file's number of ranks is for a machine without a launcher."""
    config, resume = configure(given)
    named = tuple(name for kind in SECTIONS.values() for name in given.values.get(kind, {}))
    return Command(
        work="run.train:train",
        arguments=(config, resume, given.of(TrainOptions).force_resume, named),
        ranks=given.values.get(RunConfig, {}).get("ranks"),
        ranks_to_start=config.run.ranks,
        start=partial(_start_supervised, config) if config.run.restarts else base.start,
    )


def _start_supervised(config: Config, argv: Sequence[str], ranks: int) -> int:
    """Start ranks here, and after a crash start them again from the last checkpoint, as ``--restarts`` asks."""
    from ptrain.launch import supervise

    run_dir = config.run.run_dir or default_run_dir(config.data.data)

    def start(ranks: int, again: bool) -> int:
        resume = ["--resume", "auto"] if again else []
        # One rank is started by mpirun as well: the process that supervises must not be the one that crashes.
        return base.start([*argv, "--run-dir", run_dir, *resume], ranks)

    return supervise.supervise(start, Path(run_dir), ranks, config.run.restarts)


VERB = Verb(
    summary="train a classifier on every rank, then evaluate it on the test split",
    examples="""\
  ptrain train --data fashion-mnist --hidden 256 128 100 --optimizer adam --epochs 20 --ranks 2
  ptrain train --config job.toml --lr 0.05 --run-dir runs/first
  srun ptrain train --config job.toml --run-dir runs/first --resume auto
""",
    groups=GROUPS,
    check=check,
)
