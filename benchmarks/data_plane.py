"""The start of an epoch, memory-mapped files, memory, and the time to the first step. See scripts/benchmark.

Every measurement is a process of its own, so that its memory is its own as well.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ptrain.launch import mpirun
from ptrain.launch.child import last_cause, last_json, run_limited, without_launcher

ROOT = Path(__file__).resolve().parent.parent

_START = """
import json, resource, sys, time
import numpy as np
size, way = int(sys.argv[1]), sys.argv[2]
if way == "ptrain":
    from ptrain.data.permutation import KeyedPermutation
    from ptrain.data.plan import BatchPlan
    from ptrain.keys import derive_key
else:
    import torch
    from torch.utils.data.distributed import DistributedSampler
def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, times = memory(), []
for epoch in range(3):
    start = time.perf_counter()
    if way == "ptrain":
        order = KeyedPermutation(size, derive_key(0, "order", epoch))
        block = BatchPlan(num_samples=size, batch_size=128, shards=8).block(0, range(8))
        first = order(np.arange(block.start, block.stop))
    else:
        sampler = DistributedSampler(range(size), num_replicas=2, rank=0)
        sampler.set_epoch(epoch)
        order = iter(sampler)
        first = [next(order) for _ in range(64)]
    times.append(time.perf_counter() - start)
    del order
print(json.dumps({"seconds": sorted(times)[1], "bytes": memory() - before}))
"""

_FILE = """
import json, os, sys
import numpy as np
folder, samples = sys.argv[1], int(sys.argv[2])
random = np.random.default_rng(0)
out = np.lib.format.open_memmap(folder + "/x.npy", "w+", np.uint8, (samples, 784))
for start in range(0, samples, 65536):
    out[start : start + 65536] = random.integers(0, 256, (min(65536, samples - start), 784), np.uint8)
out.flush()
np.save(folder + "/y.npy", random.integers(0, 10, samples))
print("{}")
"""


def child(code: str, *words: str) -> dict[str, Any]:
    """Run Python code in a process of its own and return the JSON that it prints."""
    environ = without_launcher(os.environ) | {"OMP_NUM_THREADS": "1"}
    status, out, err = run_limited([sys.executable, "-c", code, *words], 1200.0, environ)
    found = last_json(out)
    if status != 0 or found is None:
        raise SystemExit(f"scripts/benchmark: {last_cause(err)}")
    return found


def starts(quick: bool) -> list[dict[str, Any]]:
    """Return seconds and bytes from nothing to the indices of the first batch of an epoch."""
    rows = [
        {"way": "ptrain", "positions": size} | child(_START, str(size), "ptrain") for size in (10**6, 10**9, 10**12)
    ]
    sizes = (10**6,) if quick else (10**6, 2 * 10**7)
    return rows + [{"way": "DistributedSampler", "positions": n} | child(_START, str(n), "torch") for n in sizes]


def speed(folder: Path, way: str, seconds: float) -> float:
    """Return samples/s of 2 ranks; see benchmarks.programs.mapped_file."""
    environ = without_launcher(os.environ) | {"PYTHONPATH": str(ROOT)}
    launcher = mpirun.find(environ)
    cores = len(os.sched_getaffinity(0))
    environ = mpirun.environment(launcher, 2, cores, environ, root=os.geteuid() == 0, job_id="benchmark", columns=0)
    program = [sys.executable, "-m", "benchmarks.programs.mapped_file", str(folder), way, "--seconds", str(seconds)]
    status, out, err = run_limited(mpirun.command(launcher, 2, program), 1200.0, environ)
    found = last_json(out)
    if status != 0 or found is None:
        raise SystemExit(f"scripts/benchmark: {last_cause(err)}")
    return float(found["samples_per_second"])


def mapped(folder: Path, samples: int, repetitions: int, seconds: float) -> dict[str, Any]:
    """Return samples/s from arrays in memory, from a mapped .npy, and from one that has to be read first."""
    child(_FILE, str(folder), str(samples))
    rates: dict[str, list[float]] = {"memory": [], "warm": [], "cold": []}
    for _ in range(repetitions):
        for way, found in rates.items():
            found.append(speed(folder, way, seconds))
    return {"bytes": (folder / "x.npy").stat().st_size} | {way: statistics.median(all_) for way, all_ in rates.items()}


def memory_of_ranks(folder: Path) -> list[dict[str, int]]:
    """Return for each of 2 ranks that train its resident bytes, its own, and those mapped from the data file."""
    command = [
        sys.executable,
        "-m",
        "ptrain",
        "bench",
        "train",
        "--ranks",
        "2",
        "--steps",
        "1000000",
        "--seconds",
        "30",
    ]
    command += ["--data", str(folder / "x.npy"), "--labels", str(folder / "y.npy"), "--normalize", "unit"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found: dict[int, dict[str, int]] = {}
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        for pid in ranks_with(folder / "x.npy"):
            row = memory_of(pid, folder / "x.npy")
            if row["data_pages"] >= found.get(pid, row)["data_pages"]:
                found[pid] = row
        time.sleep(1)
    if process.poll() is None:
        process.terminate()
    process.wait()
    return list(found.values())


def ranks_with(path: Path) -> list[int]:
    """Return the processes that have mapped a file."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if str(path) in (entry / "maps").read_text(encoding="utf-8"):
                    found.append(int(entry.name))
            except OSError:
                continue  # ended, or somebody else's
    return found


def memory_of(pid: int, path: Path) -> dict[str, int]:
    """Return bytes of a process: resident, private, of the file, and its share of the file's pages (Pss)."""
    row = {"resident": 0, "private": 0, "data_pages": 0, "data_share": 0}
    of_file = False
    try:
        text = Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8")
    except OSError:
        return row
    for line in text.splitlines():
        words = line.split()
        if not words[0].endswith(":"):  # a new mapping: its addresses, and at the end its file
            of_file = line.endswith(str(path))
            continue
        if words[-1] != "kB":
            continue
        name, count = words[0].removesuffix(":"), int(words[1]) * 1024
        if name == "Rss":
            row["resident"] += count
            row["data_pages"] += count if of_file else 0
        elif name == "Pss" and of_file:
            row["data_share"] += count
        elif name in ("Private_Clean", "Private_Dirty") and not of_file:
            row["private"] += count
    return row


def first_step(repetitions: int) -> list[float]:
    """Return the seconds of one step of ptrain train on the digits, checkpoint included, on a warm machine."""
    seconds = []
    for _ in range(repetitions + 1):
        with tempfile.TemporaryDirectory() as folder:
            flags = ["--max-steps", "1", "--no-report", "--run-dir", f"{folder}/run"]
            start = time.perf_counter()
            run_limited([sys.executable, "-m", "ptrain", "train", *flags], 300.0, without_launcher(os.environ))
            seconds.append(time.perf_counter() - start)
    return seconds[1:]


def main(argv: Sequence[str]) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark data-plane", add_help=False)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--samples", type=int, default=1_000_000, help="rows of 784 bytes of the memory-mapped file")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("PTRAIN_BENCHMARK_OUT", "benchmark-results")))
    wanted = parser.parse_args(argv)
    samples, repetitions, seconds = (60_000, 1, 0.5) if wanted.quick else (wanted.samples, wanted.repetitions, 5.0)
    console = Console() if sys.stdout.isatty() else Console(width=120)
    report: dict[str, Any] = {"epoch_start": starts(wanted.quick)}
    table = Table(
        "order", "positions", "start of an epoch", "memory", title="from nothing to the first batch's indices"
    )
    for row in report["epoch_start"]:
        table.add_row(row["way"], f"{row['positions']:.0e}", f"{1e3 * row['seconds']:,.2f} ms", megabytes(row["bytes"]))
    console.print(table)
    report["first_step_seconds"] = first_step(repetitions)
    median = statistics.median(report["first_step_seconds"])
    console.print(f"ptrain train on the digits, one step and its checkpoint: {median:.2f} s")
    with tempfile.TemporaryDirectory(dir=wanted.out.parent) as name:
        folder = Path(name).resolve()
        found = report["mapped"] = mapped(folder, samples, repetitions, seconds)
        table = Table("data", "samples/s", "of in memory", title=f"2 ranks, a file of {megabytes(found['bytes'])}")
        for way, text in {"memory": "in memory", "warm": "mapped, warm", "cold": "mapped, cold"}.items():
            table.add_row(text, f"{found[way]:,.0f}", f"{100 * found[way] / found['memory']:.0f} %")
        console.print(table)
        report["memory"] = memory_of_ranks(folder)
    table = Table("rank", "resident", "private", "pages of the data", "its share of them", title="memory of 2 ranks")
    for rank, row in enumerate(report["memory"]):
        table.add_row(str(rank), *(megabytes(row[key]) for key in ("resident", "private", "data_pages", "data_share")))
    console.print(table)
    wanted.out.mkdir(parents=True, exist_ok=True)
    (wanted.out / "data-plane.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    console.print(str(wanted.out / "data-plane.json"), soft_wrap=True)
    return 0


def megabytes(count: float) -> str:
    """Return bytes for people."""
    return f"{count / 1e6:,.1f} MB"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
