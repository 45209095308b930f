"""The flags of ``ptrain bench``; those of the configuration are added by ptrain.config.flags."""

import argparse

ACTIONS = {
    "train": "samples/s, and on every rank where the time of a step goes",
    "comm": "latency and bandwidth of every backend that starts, at the size of the model's gradient and around it",
    "scaling": "speed-up and efficiency on several numbers of ranks, and the number beyond which more do not pay",
}
"""Every action and what it does."""

NOT_FOR_BENCH = (
    "epochs",
    "early_stopping",
    "run_dir",
    "ranks",
    "report",
    "log",
    "keep",
    "checkpoint_every",
    "max_steps",
    "step_timeout",
    "restarts",
    "trace",
)
"""Fields of the configuration that a benchmark has no use for; in a file they are passed over."""

LIMITS = {"steps": 1, "seconds": 0.01, "repetitions": 1, "parameters": 1, "time_limit": 1.0}
"""Smallest value of each number."""


def add_bench(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``ptrain bench`` that are not in the configuration."""
    text = "; ".join(f"{name}: {what}" for name, what in ACTIONS.items())
    parser.add_argument("action", metavar="ACTION", help=text)
    parser.add_argument("--json", dest="as_json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--config", metavar="FILE", help="TOML file with values for the flags below; flags win")
    text = "ranks to start here; scaling takes several (default: 1 for train, 2 for comm, for scaling 1 2 4 … cores)"
    parser.add_argument("--ranks", dest="num_ranks", nargs="+", type=int, default=[], metavar="N", help=text)
    group = parser.add_argument_group("how long to measure")
    group.add_argument("--steps", type=int, default=500, metavar="N", help="steps of each measurement (default: 500)")
    group.add_argument(
        "--seconds", type=float, default=5.0, metavar="X", help="stop a measurement after this long (default: 5)"
    )
    group.add_argument(
        "--time-limit",
        type=float,
        default=300.0,
        metavar="X",
        help="seconds for each job that is started (default: 300)",
    )
    group.add_argument(
        "--repetitions", type=int, default=3, metavar="N", help="scaling: measurements of each number (default: 3)"
    )
    group.add_argument("--parameters", type=int, metavar="N", help="comm: parameters (default: those of the network)")
    group.add_argument(
        "--out",
        metavar="FILE.png",
        default="bench-scaling.png",
        help="scaling: the plot; the numbers go beside it as .json (default: bench-scaling.png)",
    )
