"""One GPU: ptrain, the plain torch loop in three ways, and what the GPU allows. See scripts/benchmark."""

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.limit import products
from benchmarks.programs.torch_gpu import WAYS
from benchmarks.run import JOBS, Job, Program, machine, run_program

PROGRAMS = {
    "ptrain": Program(ranks=1, threads=1, flags=("--device", "cuda")),
    "ptrain, bf16": Program(ranks=1, threads=1, flags=("--device", "cuda", "--precision", "bf16")),
    "ptrain, 1 shard": Program(ranks=1, threads=1, flags=("--device", "cuda", "--shards", "1")),
    **{f"torch, {way}": Program(ranks=1, threads=1, module="torch_gpu", flags=("--way", way)) for way in WAYS},
}
NODES = 200
"""Times an operation is in a graph of which one is timed."""


def limits(job: Job) -> dict[str, Any]:
    """Return the seconds of a step's parts at the best rate that this GPU reaches, each measured alone.

    products: the job's matrix products in fp32, in graphs. traffic: the least bytes that a step moves (pixels read
    and written as float32, parameters and gradients written and read once) at the speed of a large copy. launch: of a
    small operation by the host, of one within a graph, and of a graph.
    """
    widths = [784, *job.hidden, 10]
    seconds = []
    for _, m, k, n in products(widths, job.batch_size):
        a, b, out = torch.randn(m, k).cuda(), torch.randn(k, n).cuda(), torch.empty(m, n).cuda()
        seconds.append(in_graph(lambda a=a, b=b, out=out: torch.mm(a, b, out=out)))
    source = torch.zeros(1 << 26, device="cuda")
    target = torch.empty_like(source)
    bandwidth = 2 * source.nbytes / in_graph(lambda: target.copy_(source), nodes=10)
    num_parameters = sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(widths))
    num_bytes = 5 * job.batch_size * widths[0] + 4 * 4 * num_parameters
    little = torch.zeros(1, device="cuda")
    one = graph_of(lambda: little.add_(1), 1)
    traffic = num_bytes / bandwidth
    return {
        "samples_per_second": job.batch_size / (sum(seconds) + traffic),
        "products_seconds": sum(seconds),
        "traffic_seconds": traffic,
        "bytes": num_bytes,
        "bytes_per_second": bandwidth,
        "launch_seconds": timed(lambda: little.add_(1), 1000),
        "node_seconds": in_graph(lambda: little.add_(1)),
        "graph_seconds": timed(one.replay, 1000),
    }


def in_graph(operation: Callable[[], object], nodes: int = NODES) -> float:
    """Return the seconds of an operation between others of its kind in a graph."""
    return timed(graph_of(operation, nodes).replay, 5) / nodes


def graph_of(operation: Callable[[], object], nodes: int) -> torch.cuda.CUDAGraph:
    """Return a graph that does an operation several times."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        operation()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        for _ in range(nodes):
            operation()
    return graph


def timed(task: Callable[[], object], times: int) -> float:
    """Return the seconds of a task that is done several times without waiting in between: a median of 7."""
    found = []
    for _ in range(8):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(times):
            task()
        torch.cuda.synchronize()
        found.append((time.perf_counter() - start) / times)
    return statistics.median(found[1:])


def show(console: Console, name: str, entry: dict[str, Any]) -> None:
    """Print the table of a job."""
    found = entry["limit"]
    most = found["samples_per_second"]
    table = Table(title=f"{name}: hidden {'-'.join(map(str, entry['hidden']))}, batch {entry['batch_size']}")
    table.add_column("program")
    for column in ("samples/s", "lowest", "highest", "µs a step", "of the limit", "accuracy"):
        table.add_column(column, justify="right")
    for program, turns in entry["programs"].items():
        rates = [statistics.median(turn["rates"]) for turn in turns if "rates" in turn]
        if not rates:
            table.add_row(program, turns[-1]["error"])
            continue
        rate = statistics.median(rates)
        numbers = [f"{value:,.0f}" for value in (rate, min(rates), max(rates), 1e6 * entry["batch_size"] / rate)]
        accuracy = next(turn["accuracy"] for turn in reversed(turns) if "rates" in turn)
        table.add_row(program, *numbers, f"{100 * rate / most:.0f} %", f"{accuracy:.4f}")
    table.add_row("the GPU's limit", f"{most:,.0f}", "", "", f"{1e6 * entry['batch_size'] / most:,.1f}")
    console.print(table)
    micro = {key.removesuffix("_seconds"): 1e6 * value for key, value in found.items() if key.endswith("_seconds")}
    console.print(", ".join(f"{key} {value:,.2f} µs" for key, value in micro.items()), highlight=False)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of scripts/benchmark gpu."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark gpu", add_help=False)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--only", nargs="+", choices=PROGRAMS, default=list(PROGRAMS), metavar="NAME")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("PTRAIN_BENCHMARK_OUT", "benchmark-results")))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--check", action="store_true", help="only say whether there is a GPU")
    wanted = parser.parse_args(argv)
    if wanted.quick:
        wanted.repetitions, wanted.epochs = 1, 2
    return wanted


def main(argv: Sequence[str]) -> int:
    """Measure, print and write; 2 where there is no GPU, 1 where a program failed every time."""
    wanted = arguments(argv)
    if not torch.cuda.is_available():
        print(
            f"scripts/benchmark gpu: no CUDA GPU is visible (torch {torch.__version__}); expected one, and a CUDA "
            "build of torch",
            file=sys.stderr,
        )
        return 2
    if wanted.check:
        return 0
    console = Console() if sys.stdout.isatty() else Console(width=120)
    # The programs here need nothing that ptrain's own environment has not.
    os.environ["PTRAIN_BENCHMARK_PEERS"] = sys.executable
    wanted.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"machine": machine() | {"gpu": torch.cuda.get_device_name()}, "jobs": {}}
    failed = False
    for name in wanted.jobs:
        job = dataclasses.replace(JOBS[name], epochs=wanted.epochs)
        entry = report["jobs"][name] = dataclasses.asdict(job) | {"programs": {only: [] for only in wanted.only}}
        entry["limit"] = limits(job)
        for _ in range(wanted.repetitions):
            for program, turns in entry["programs"].items():
                turns.append(run_program(PROGRAMS[program], job))
        show(console, name, entry)
        failed |= any(not any("rates" in turn for turn in turns) for turns in entry["programs"].values())
        (wanted.out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    console.print(str(wanted.out / "gpu.json"), soft_wrap=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
