"""``ptrain bench``: measure steps, the exchange between ranks, and how many ranks pay."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ptrain.config import SECTIONS, Config, build, write_toml
from ptrain.config.flags import SWITCH, Flag, FlagGroup, Given
from ptrain.config.training import TEXTS, with_file
from ptrain.config.values import require
from ptrain.errors import ConfigError
from ptrain.launch.child import ask
from ptrain.verbs.base import ACTION, Action, Command, Verb, actions_text, choose

NOT_FOR_BENCH = (
    *("epochs", "early_stopping", "run_dir", "ranks", "report", "log", "keep", "checkpoint_every", "max_steps"),
    *("step_timeout", "restarts", "trace"),
)
"""Fields of the configuration that a benchmark has no use for; in a file they are passed over."""


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What to measure, and for how long."""

    action: Annotated[str, ACTION]
    json: Annotated[bool, SWITCH] = False
    """print the numbers as JSON"""
    config: Annotated[str | None, Flag(metavar="FILE")] = None
    """TOML file with values for the flags below; flags win"""
    ranks: tuple[int, ...] = ()
    """ranks to start here; scaling takes several (default: 1 for train, 2 for comm, for scaling 1 2 4 … cores)"""
    steps: Annotated[int, Flag(heading="how long to measure")] = 500
    """steps of each measurement"""
    seconds: float = 5.0
    """stop a measurement after this long (default: 5)"""
    time_limit: float = 300.0
    """seconds for each job that is started (default: 300)"""
    repetitions: int = 3
    """scaling: measurements of each number"""
    parameters: int | None = None
    """comm: parameters (default: those of the network)"""
    out: Annotated[str, Flag(metavar="FILE.png")] = "bench-scaling.png"
    """scaling: the plot; the numbers go beside it as .json"""

    def __post_init__(self) -> None:
        require(self, ("steps", "repetitions", "parameters", "time_limit"), lambda number: number >= 1, "1 or more")
        require(self, ("seconds",), lambda seconds: seconds >= 0.01, "0.01 or more")


ACTIONS = {
    "train": Action("verbs.bench.train:run", "samples/s, and on every rank where the time of a step goes"),
    "comm": Action(
        "verbs.bench.comm:run",
        "latency and bandwidth of every backend that starts, at the size of the model's gradient and around it",
    ),
    "scaling": Action(
        "verbs.bench.scaling:run",
        "speed-up and efficiency on several numbers of ranks, and the number beyond which more do not pay",
    ),
}


def check(given: Given) -> Command:
    """Leave the ranks to scaling, and to comm where it tries every backend: they start jobs themselves."""
    options = given.of(BenchOptions)
    name, numbers = options.action, options.ranks
    action = choose("bench", name, ACTIONS)
    if name != "scaling" and len(numbers) > 1:
        told = " ".join(map(str, numbers))
        raise ConfigError(f"--ranks {told} for bench {name}: expected one number; bench scaling takes several")
    values = {key: value for key, value in with_file(options.config, given).items() if key not in NOT_FOR_BENCH}
    config, *_ = [build(values | {"ranks": ranks}) for ranks in numbers or [None]]
    ranks = config.run.ranks
    return Command(
        work=action.work,
        arguments=(config, options),
        ranks=None if name == "scaling" else ranks,
        ranks_to_start={
            "train": ranks,
            "comm": None if config.run.backend == "auto" else ranks or 2,
            "scaling": None,
        }[name],
    )


@contextmanager
def measuring(config: Config, options: BenchOptions) -> Iterator[Callable[..., tuple[dict[str, Any] | None, str]]]:
    """Yield what runs an action with this configuration on some ranks, in a job of its own, and gives its numbers.

    It takes the action, the ranks and further flags; it returns None and the reason where the job fails.
    """
    with tempfile.TemporaryDirectory(prefix="ptrain-bench-") as folder:
        path = Path(folder) / "job.toml"
        write_toml(config, path)

        def measure(action: str, ranks: int, *flags: str) -> tuple[dict[str, Any] | None, str]:
            limits = ["--steps", str(options.steps), "--seconds", str(options.seconds)]
            own = ["--config", str(path), "--ranks", str(ranks), *limits, "--json"]
            return ask("-m", "ptrain", "bench", action, *own, *flags, time_limit=options.time_limit)

        yield measure


VERB = Verb(
    summary="measure steps, the exchange between ranks, and how many ranks pay",
    usage="ACTION",
    examples="""\
  ptrain bench train --data fashion-mnist --ranks 2
  ptrain bench comm --hidden 1024 1024        which backend, and how long the exchange takes with each
  ptrain bench scaling --ranks 1 2 4 --batch-size 1024
""",
    groups=(
        FlagGroup(of=BenchOptions, texts={"action": actions_text(ACTIONS)}),
        *(
            FlagGroup(of=section, without=NOT_FOR_BENCH, heading=f"[{name}] as for ptrain train", texts=TEXTS)
            for name, section in SECTIONS.items()
        ),
    ),
    check=check,
)
