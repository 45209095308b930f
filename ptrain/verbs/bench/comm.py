"""``ptrain bench comm``: how long the ranks take to sum up a gradient, with every backend that starts."""

import importlib.util
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from ptrain.comm.table import SEVERAL
from ptrain.config import Config
from ptrain.console import Console
from ptrain.data.plan import owned_shards
from ptrain.data.sources.load import load
from ptrain.errors import EXIT_DONE, ConfigError, LaunchError
from ptrain.launch.env import detect
from ptrain.models.base import ALIGNMENT, aligned
from ptrain.models.table import make_model
from ptrain.native.threads import Workers
from ptrain.run.session import Session, open_session
from ptrain.steps.base import UnavailableError
from ptrain.steps.exchange import Exchange, MeanGradient
from ptrain.steps.local import CONTROL
from ptrain.steps.shared import SharedExchange, why_not_shared
from ptrain.sums.tree import plan_local_sum
from ptrain.verbs.bench import BenchOptions, measuring
from ptrain.verbs.bench.train import settler

FACTORS = {"1/16": 1 / 16, "1/4": 1 / 4, "1": 1.0, "4": 4.0, "16": 16.0}
"""Sizes, as multiples of the model's gradient."""
MAX_BYTES = 2**30
"""Larger gradients are left out; each rank holds some of them."""
SHARED = "shared memory"
"""The way that is the same with every backend."""
WARM_UP = 5
SHARE = 20
"""Each size of each way takes one part in this many of --seconds, and at least three exchanges."""


def run(config: Config, options: BenchOptions) -> int:
    """Measure this job's backend where there are several ranks; from one process, start a job for each backend.

    Raises InputError where the data or a flag is at fault, or no backend starts.
    """
    if detect(os.environ).size == 1 and config.run.backend == "auto":
        show(Console(), _every_backend(config, options), options.json)
        return EXIT_DONE
    with open_session(config.run, quiet=options.json) as session:
        if session.comm.info.size == 1:
            raise LaunchError(f"bench comm with --backend {config.run.backend}: expected several ranks; add --ranks")
        show(Console(session.comm.info.rank), _this_backend(session, config, options), options.json)
    return EXIT_DONE


def gradient_length(config: Config) -> int:
    """Elements of the gradient of the configured network on the configured data."""
    dataset = load(config.data, config.train.seed)
    return make_model(config.model, dataset.num_features, dataset.num_classes).layout.length


def _every_backend(config: Config, options: BenchOptions) -> dict[str, Any]:
    console = Console(stream=sys.stderr if options.json else None)
    parameters = options.parameters or gradient_length(config)
    ranks = config.run.ranks or 2
    if ranks == 1:
        raise ConfigError("--ranks 1 for bench comm: expected 2 or more, one rank has nothing to exchange")
    report: dict[str, Any] = {"ranks": ranks, "elements": parameters, "ways": [], "failed": {}}
    with measuring(config, options) as measure, console.progress(len(SEVERAL), "measuring", "backends") as progress:
        for number, (name, backend) in enumerate(SEVERAL.items()):
            progress.update(number, name)
            found, reason = None, f"{backend.package} is not installed"
            if importlib.util.find_spec(backend.package) is not None:
                found, reason = measure("comm", ranks, "--parameters", str(parameters), "--backend", name)
            if found is None:
                report["failed"][name] = reason
            else:
                # Memory that ranks share is the same whatever else carries messages.
                known = {way["way"] for way in report["ways"]} & {SHARED}
                report["ways"] += [way for way in found["ways"] if way["way"] not in known]
                report["why_messages"] = found["why_messages"]
    if not report["ways"]:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in report["failed"].items())
        raise LaunchError(f"no backend starts for {ranks} ranks ({reasons}); ptrain doctor says what to do")
    return report | {"recommended": recommend(report["ways"])}


def _this_backend(session: Session, config: Config, options: BenchOptions) -> dict[str, Any]:
    """The times of this job's backend: the ordered sum, the backend's own sum, and shared memory."""
    comm, ranks = session.comm, session.comm.info.size
    parameters = options.parameters or session.agreed(lambda: gradient_length(config))
    lengths = {"0": ALIGNMENT} | {name: max(ALIGNMENT, aligned(round(parameters * x))) for name, x in FACTORS.items()}
    lengths = {name: length for name, length in lengths.items() if 4 * length <= MAX_BYTES}
    report: dict[str, Any] = {"ranks": ranks, "elements": parameters, "ways": [], "failed": {}}
    report["why_messages"] = why_not_shared(comm.info, session.device)
    shards = max(config.train.shards, ranks)
    owners = [owned_shards(shards, ranks, rank) for rank in range(ranks)]
    local = plan_local_sum(shards, [[owners[comm.info.rank]]], merged=True)
    workers = Workers(1)

    def exchange(way: str, length: int) -> MeanGradient:
        if way == SHARED:
            return SharedExchange(comm, local, length, shards, [1] * ranks, workers)
        return Exchange(comm, owners, local, length, session.device, "ordered" if way == "ordered sum" else way)

    ways = ["ordered sum", "allreduce", *([] if report["why_messages"] else [SHARED])]
    done = itertools.count()
    with session.console.progress(len(ways) * len(lengths), "measuring", "sizes") as progress:
        for way in ways:
            sizes = []
            for name, length in lengths.items():
                size = 4 * length
                progress.update(next(done), f"{size:,} bytes")
                try:
                    once = partial(exchange(way, length), 1, False)
                except UnavailableError as error:
                    report["why_messages"] = str(error)
                    break
                median = time_of(session, once, options.steps, options.seconds / SHARE)
                sizes.append({"times": name, "bytes": size, "seconds": median, "bytes_per_second": size / median})
            else:
                latency = sizes.pop(0)["seconds"]
                report["ways"].append({"backend": comm.name, "way": way, "latency_seconds": latency, "sizes": sizes})
    return report | {"recommended": recommend(report["ways"])}


def time_of(session: Session, task: Callable[[], object], steps: int, seconds: float) -> float:
    """The median seconds of a collective task on the slowest rank, of at most ``steps`` or for ``seconds``."""
    settle = settler(session.device)
    comm = session.comm

    def once() -> float:
        start = time.perf_counter()
        task()
        settle()
        return time.perf_counter() - start

    comm.barrier()
    first = statistics.median(once() for _ in range(WARM_UP))
    # Every rank must do the same number of them.
    slowest = float(comm.all_reduce_(torch.tensor([first], dtype=torch.float64, device=session.device), "max"))
    count = max(3, min(steps, int(seconds / slowest)))
    comm.barrier()
    median = statistics.median(once() for _ in range(count))
    return float(comm.all_reduce_(torch.tensor([median], dtype=torch.float64, device=session.device), "max"))


def recommend(ways: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The fastest way at the model's size that keeps the bits, on one machine and between machines."""

    def at_model(way: dict[str, Any]) -> float:
        return float(next((size["seconds"] for size in way["sizes"] if size["times"] == "1"), way["latency_seconds"]))

    found: dict[str, Any] = {}
    for name, kinds in {"here": ("ordered sum", SHARED), "between_machines": ("ordered sum",)}.items():
        best = min((way for way in ways if way["way"] in kinds), key=at_model)
        found[name] = {"backend": best["backend"], "way": best["way"], "seconds": at_model(best)}
    return found


def show(console: Console, report: dict[str, Any], as_json: bool) -> None:
    """Print the times, and the fastest way."""
    if as_json:
        console.say(json.dumps(report))
        return
    names = [name for name in FACTORS if any(s["times"] == name for way in report["ways"] for s in way["sizes"])]
    console.say(
        f"{report['ranks']} ranks; a gradient of {report['elements']:,} elements, {_bytes(4 * report['elements'])}; "
        f"{_bytes(4 * CONTROL)} travel with it"
    )
    columns = ["backend", "way", "latency", *(f"x{name}" for name in names), "MB/s at x1"]
    rows = []
    for way in report["ways"]:
        by_name = {size["times"]: size for size in way["sizes"]}
        times = [f"{1e6 * by_name[name]['seconds']:,.0f}" if name in by_name else None for name in names]
        rate = f"{by_name['1']['bytes_per_second'] / 1e6:,.0f}" if "1" in by_name else None
        rows.append([way["backend"], way["way"], f"{1e6 * way['latency_seconds']:,.0f}", *times, rate])
    console.table(columns, rows, "µs an exchange, median")
    for backend, reason in report["failed"].items():
        console.say(f"{backend} did not start: {reason}")
    if report["why_messages"]:
        console.say(f"no shared memory: {report['why_messages']}")
    here, between = report["recommended"]["here"], report["recommended"]["between_machines"]
    messages = f"--backend {between['backend']}, {1e6 * between['seconds']:,.0f} µs"
    if here["way"] == SHARED:
        memory = f"--step auto, shared memory, {1e6 * here['seconds']:,.0f} µs"
        console.say(f"recommended on this machine: {memory}; by messages: {messages}")
    else:
        console.say(f"recommended: {messages}")


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"
