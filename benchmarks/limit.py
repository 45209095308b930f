"""The most samples/s that this machine allows: a job's matrix products alone, and its exchange at memory speed."""

import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

Product = tuple[str, int, int, int]
"""Kind, and rows, inner dimension and columns of the result's factors."""

SECONDS = 0.15
"""For each product with each library."""


def products(widths: Sequence[int], rows: int) -> list[Product]:
    """Return the products of one step of one rank: all but the gradient for the features, which nobody needs."""
    found = []
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        found.append(("forward", rows, inputs, outputs))
        found.append(("weight gradient", inputs, rows, outputs))
        if layer:
            found.append(("data gradient", rows, outputs, inputs))
    return found


def measure(widths: Sequence[int], batch_size: int, ranks: int) -> dict[str, Any]:
    """Return the limit in samples/s, and of what it is made, with one process a core at work at the same time.

    Each product counts with the library that is fastest for it; the slowest process counts.
    """
    wanted = products(widths, batch_size // ranks)
    num_parameters = sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(widths))
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(ranks), context.Queue()
    processes = [context.Process(target=_work, args=(wanted, num_parameters, barrier, queue)) for _ in range(ranks)]
    for process in processes:
        process.start()
    reports = [queue.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    libraries = sorted(reports[0]["products"][0])
    rows, computing = [], 0.0
    for index, (kind, m, k, n) in enumerate(wanted):
        slowest = {name: max(report["products"][index][name] for report in reports) for name in libraries}
        best = min(slowest, key=lambda name: slowest[name])
        computing += slowest[best]
        rates = {name: 2e-9 * m * k * n / seconds for name, seconds in slowest.items()}
        rows.append({"product": f"{kind} {m}x{k}x{n}", "best": best, "gflops_per_core": rates})
    # A rank reads its slice of every rank's sum, writes its slice of the mean and reads the whole mean.
    num_bytes = 4 * num_parameters * (2 + 1 / ranks) if ranks > 1 else 0
    bandwidth = min(report["bytes_per_second"] for report in reports)
    exchange = num_bytes / bandwidth
    return {
        "samples_per_second": batch_size / (computing + exchange),
        "products_seconds": computing,
        "exchange_seconds": exchange,
        "exchange_bytes": num_bytes,
        "memory_bytes_per_second_per_core": bandwidth,
        "products": rows,
    }


def _work(wanted: Sequence[Product], num_parameters: int, barrier: Any, queue: Any) -> None:
    import torch

    torch.set_num_threads(1)
    times = []
    for kind, m, k, n in wanted:
        found = {}
        for name, task in _tasks(torch, kind, m, k, n).items():
            barrier.wait(timeout=300)
            found[name] = _seconds(task)
        times.append(found)
    source, target = torch.ones(num_parameters), torch.empty(num_parameters)
    barrier.wait(timeout=300)
    # A copy reads and writes.
    bandwidth = 2 * 4 * num_parameters / _seconds(lambda: target.copy_(source))
    queue.put({"products": times, "bytes_per_second": bandwidth})


def _tasks(torch: Any, kind: str, m: int, k: int, n: int) -> dict[str, Callable[[], object]]:
    """Return the product (m, k) x (k, n) in every library, on dense operands as it likes them best."""
    from ptrain.native import calls
    from ptrain.native.choice import instruction_set

    a, b, out = torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)
    tasks: dict[str, Callable[[], object]] = {"torch mm": lambda: torch.mm(a, b, out=out)}
    # Its second operand is (n, k).
    weight = b.t().contiguous()
    tasks["oneDNN"] = lambda: torch.ops.mkldnn._linear_pointwise(a, weight, None, "none", [], "")
    if instruction_set() is not None:
        if kind == "weight gradient":
            call = calls.weight_gradient(a.t().contiguous()[None], b[None], [0], torch.zeros(1, m, n))
        elif kind == "data gradient":
            call = calls.linear(a[None], weight, torch.zeros(1, m, n), transposed=True)
        else:
            call = calls.linear(a[None], b, torch.zeros(1, m, n))
        tasks["ptrain native"] = call
    return tasks


def _seconds(task: Callable[[], object]) -> float:
    """Return the median seconds of a task."""
    for _ in range(3):
        task()
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
