"""``ptrain bench comm``: how long the ranks take to sum up a gradient, with every backend that starts."""

import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ptrain import config as configuration
from ptrain.config import Config
from ptrain.console import Console, Progress
from ptrain.data.plan import owned_shards
from ptrain.data.sources.load import load
from ptrain.errors import EXIT_DONE, ConfigError, LaunchError
from ptrain.launch.env import detect
from ptrain.models.mlp import ALIGNMENT, aligned, layout_of
from ptrain.native.threads import Workers
from ptrain.run.session import Session, open_session
from ptrain.steps.exchange import CONTROL, Plan, make_exchange
from ptrain.sums.tree import plan_merged_sum
from ptrain.verbs.bench.split import settler
from ptrain.verbs.doctor.child import last_cause, last_json, run_limited

LIBRARIES = {"mpi": "mpi4py", "horovod": "horovod", "torch": "torch"}
"""Backends of several ranks and what must be installed for them."""
FACTORS = {"1/16": 1 / 16, "1/4": 1 / 4, "1": 1.0, "4": 4.0, "16": 16.0}
"""Sizes, as multiples of the model's gradient."""
MAX_BYTES = 2**30
"""Larger gradients are left out; each rank holds some of them."""
WARM_UP = 5
SHARE = 20
"""Each size of each way takes one part in this many of --seconds, and at least three exchanges."""


def run(config: Config, *, parameters: int | None, steps: int, seconds: float, time_limit: float, as_json: bool) -> int:
    """Measure this job's backend where there are several ranks; from one process, start a job for each backend.

    Raises:
        InputError: the data or a flag is at fault, or no backend starts.
    """
    if detect(os.environ).size > 1 or config.run.backend != "auto":
        with open_session(config.run, quiet=as_json) as session:
            if session.comm.info.size == 1:
                raise LaunchError(
                    f"bench comm with --backend {config.run.backend}: expected several ranks; add --ranks"
                )
            report = measure(session, config, parameters, steps, seconds)
            _print(Console(session.comm.info.rank), report, as_json)
        return EXIT_DONE
    console = Console(stream=sys.stderr if as_json else None)
    if parameters is None:
        parameters = gradient_length(config)
    report = _every_backend(console, config, parameters, steps, seconds, time_limit)
    _print(Console(), report, as_json)
    return EXIT_DONE


def gradient_length(config: Config) -> int:
    """Return the elements of the gradient of the configured network on the configured data."""
    dataset = load(config.data, config.train.seed)
    return layout_of(config.model, dataset.num_features, dataset.num_classes).length


def _every_backend(
    console: Console, config: Config, parameters: int, steps: int, seconds: float, time_limit: float
) -> dict[str, Any]:
    ranks = config.run.ranks or 2
    if ranks == 1:
        raise ConfigError("--ranks 1 for bench comm: expected 2 or more, one rank has nothing to exchange")
    report: dict[str, Any] = {"ranks": ranks, "elements": parameters, "ways": [], "failed": {}}
    with tempfile.TemporaryDirectory(prefix="ptrain-bench-") as folder:
        path = Path(folder) / "job.toml"
        configuration.write_toml(config, path)
        with console.progress(len(LIBRARIES), "measuring", "backends") as progress:
            for number, (backend, library) in enumerate(LIBRARIES.items()):
                progress.update(number, backend)
                if importlib.util.find_spec(library) is None:
                    report["failed"][backend] = f"{library} is not installed"
                    continue
                flags = ["--config", str(path), "--backend", backend, "--ranks", str(ranks), "--json"]
                flags += ["--parameters", str(parameters), "--steps", str(steps), "--seconds", str(seconds)]
                command = [sys.executable, "-m", "ptrain", "bench", "comm", *flags]
                code, out, err = run_limited(command, time_limit)
                found = last_json(out)
                if code != 0 or found is None:
                    limit = f"no answer within {time_limit:g} s"
                    report["failed"][backend] = limit if code is None else last_cause(err) or f"exit code {code}"
                    continue
                # Memory that ranks share is the same whatever else carries messages.
                known = {way["way"] for way in report["ways"] if way["way"] == "shared memory"}
                report["ways"] += [way for way in found["ways"] if way["way"] not in known]
                report["why_messages"] = found["why_messages"]
    if not report["ways"]:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in report["failed"].items())
        raise LaunchError(f"no backend starts for {ranks} ranks ({reasons}); ptrain doctor says what to do")
    return report | {"recommended": recommend(report["ways"])}


def measure(session: Session, config: Config, parameters: int | None, steps: int, seconds: float) -> dict[str, Any]:
    """Return the times of this job's backend: the ordered sum, the backend's own sum, and shared memory."""
    size = session.comm.info.size
    if parameters is None:
        parameters = session.agreed(lambda: gradient_length(config))
    ways: dict[str, tuple[str, str]] = {
        "ordered sum": ("messages", "ordered"),
        "allreduce": ("messages", "allreduce"),
        "shared memory": ("auto", "ordered"),
    }
    lengths = {"0": ALIGNMENT} | {name: max(ALIGNMENT, aligned(round(parameters * x))) for name, x in FACTORS.items()}
    lengths = {name: length for name, length in lengths.items() if 4 * length <= MAX_BYTES}
    report: dict[str, Any] = {"ranks": size, "elements": parameters, "ways": [], "failed": {}, "why_messages": ""}
    shards = max(config.train.shards, size)
    with session.console.progress(len(ways) * len(lengths), "measuring", "sizes") as progress:
        for way, (kind, reduction) in ways.items():
            sizes = _sizes(session, shards, lengths, kind, reduction, steps, seconds / SHARE, progress)
            if isinstance(sizes, str):
                report["why_messages"] = sizes
                continue
            latency = sizes.pop(0)["seconds"]
            report["ways"].append(
                {"backend": session.comm.name, "way": way, "latency_seconds": latency, "sizes": sizes}
            )
    return report | {"recommended": recommend(report["ways"])}


def _sizes(
    session: Session,
    shards: int,
    lengths: dict[str, int],
    kind: str,
    reduction: str,
    steps: int,
    seconds: float,
    progress: Progress,
) -> list[dict[str, Any]] | str:
    """Return the time of an exchange of each length, or why there is no shared memory."""
    comm = session.comm
    owners = [owned_shards(shards, comm.info.size, rank) for rank in range(comm.info.size)]
    local = plan_merged_sum([owners[comm.info.rank]], shards)
    workers = Workers(1)
    found = []
    for done, (name, length) in enumerate(lengths.items()):
        progress.update(done, f"{4 * length:,} bytes")
        plan = Plan(owners=owners, length=length, num_rows=local.num_rows, nodes=local.nodes)
        exchange, why = make_exchange(kind, plan, comm, workers, session.device, reduction)
        if kind == "auto" and exchange.name == "messages":
            return why or f"memory is not shared on device {session.device.type}"
        median = time_of(session, lambda: exchange(1), steps, seconds)  # noqa: B023, called before the next turn
        bandwidth = 4 * length / median
        found.append({"times": name, "bytes": 4 * length, "seconds": median, "bytes_per_second": bandwidth})
    return found


def time_of(session: Session, task: Callable[[], object], steps: int, seconds: float) -> float:
    """Return the median seconds of a collective task on the slowest rank, of at most ``steps`` or for ``seconds``."""
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
    """Return the fastest way at the model's size that keeps the bits, and the fastest by messages."""

    def at_model(way: dict[str, Any]) -> float:
        return float(next((size["seconds"] for size in way["sizes"] if size["times"] == "1"), way["latency_seconds"]))

    found: dict[str, Any] = {}
    for name, kinds in {"here": ("ordered sum", "shared memory"), "between_machines": ("ordered sum",)}.items():
        best = min((way for way in ways if way["way"] in kinds), key=at_model)
        found[name] = {"backend": best["backend"], "way": best["way"], "seconds": at_model(best)}
    return found


def _print(console: Console, report: dict[str, Any], as_json: bool) -> None:
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
    if here["way"] == "shared memory":
        console.say(
            f"recommended on this machine: --exchange auto, shared memory, {1e6 * here['seconds']:,.0f} µs; "
            f"by messages: --backend {between['backend']}, {1e6 * between['seconds']:,.0f} µs"
        )
    else:
        console.say(f"recommended: --backend {here['backend']}, {1e6 * here['seconds']:,.0f} µs")


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"
