"""Runs every program of every job in turn, several times; writes table, plot and numbers. See scripts/benchmark."""

import argparse
import dataclasses
import json
import os
import platform
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

from benchmarks import limit
from ptrain.launch import mpirun
from ptrain.launch.child import last_cause, last_json, run_limited, without_launcher

ROOT = Path(__file__).resolve().parent.parent
CORES = len(os.sched_getaffinity(0))
RANKS = 2
BASE = "ptrain 2 ranks"
TIME_LIMIT = 1200.0
"""Seconds for one program."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A network and a batch."""

    hidden: tuple[int, ...] = (128, 128)
    batch_size: int = 128
    epochs: int = 5

    @property
    def flags(self) -> list[str]:
        """Return the job as flags of the programs and of ptrain train."""
        return ["--hidden", *map(str, self.hidden), "--batch-size", str(self.batch_size), "--epochs", str(self.epochs)]


JOBS = {
    "reference": Job(),
    "batch1024": Job(batch_size=1024),
    "wide": Job(hidden=(1024, 1024), epochs=3),
    "deep": Job(hidden=(128,) * 8),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """How to start one of the programs."""

    ranks: int
    threads: int
    module: str = ""
    """Below benchmarks.programs; empty for ptrain."""
    flags: tuple[str, ...] = ()
    """Of ptrain train, or of the module."""
    starter: str = ""
    """What starts several ranks: torchrun or mpirun."""


PROGRAMS = {
    "ptrain 1 rank": Program(ranks=1, threads=1),
    "ptrain 1 rank, all threads": Program(ranks=1, threads=CORES),
    BASE: Program(ranks=RANKS, threads=1),
    "ptrain 2 ranks, 2 shards": Program(ranks=RANKS, threads=1, flags=("--shards", "2")),
    "ptrain 2 ranks, torch kernels": Program(ranks=RANKS, threads=1, flags=("--kernels", "torch")),
    "ptrain 2 ranks, bf16": Program(ranks=RANKS, threads=1, flags=("--precision", "bf16")),
    "Keras on JAX": Program(ranks=1, threads=CORES, module="keras_jax"),
    "scikit-learn": Program(ranks=1, threads=CORES, module="scikit_learn"),
    "torch and DataLoader": Program(ranks=1, threads=CORES, module="torch_loader"),
    "Accelerate": Program(ranks=1, threads=CORES, module="accelerate_loop"),
    "Horovod 2 ranks": Program(ranks=RANKS, threads=1, module="horovod_example", starter="mpirun"),
    "DDP 2 ranks": Program(ranks=RANKS, threads=1, module="torch_ddp", starter="torchrun"),
    "Accelerate 2 ranks": Program(ranks=RANKS, threads=1, module="accelerate_loop", starter="torchrun"),
    "Lightning 2 ranks": Program(ranks=RANKS, threads=1, module="lightning_trainer", starter="torchrun"),
}


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of scripts/benchmark."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark", add_help=False)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--only", nargs="+", choices=PROGRAMS, default=list(PROGRAMS), metavar="NAME")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("PTRAIN_BENCHMARK_OUT", "benchmark-results")))
    parser.add_argument("--list", action="store_true")
    wanted = parser.parse_args(argv)
    if wanted.quick:
        wanted.repetitions, wanted.epochs = 1, 2
    if wanted.epochs is not None and wanted.epochs < 2:
        parser.error("--epochs: expected 2 or more, the first is not counted")
    if wanted.repetitions < 1:
        parser.error("--repetitions: expected 1 or more")
    return wanted


def run_program(program: Program, job: Job) -> dict[str, Any]:
    """Return samples/s of the epochs after the first and the accuracy, or what went wrong."""
    if not program.module:
        return run_ptrain(program, job)
    python = os.environ["PTRAIN_BENCHMARK_PEERS"]
    command = [python, "-m", f"benchmarks.programs.{program.module}", *program.flags, *job.flags]
    environ = environment(program)
    if program.starter == "torchrun":
        command[1:2] = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={program.ranks}", "-m"]
    elif program.starter == "mpirun":
        launcher = mpirun.find(environ)
        environ = mpirun.environment(
            launcher, program.ranks, CORES, environ, root=os.geteuid() == 0, job_id="benchmark", columns=0
        )
        command = mpirun.command(launcher, program.ranks, command)
    code, out, err = run_limited(command, TIME_LIMIT, environ)
    found = last_json(out)
    if code != 0 or found is None:
        return failure(code, err)
    return {"rates": found["samples_per_second"][1:], "accuracy": found["accuracy"]}


def run_ptrain(program: Program, job: Job) -> dict[str, Any]:
    """Train with ptrain in a run directory of its own and return what its files say."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        ranks = ["--ranks", str(program.ranks)] if program.ranks > 1 else []
        # 0 to 1, like the peers.
        flags = [
            "--data",
            "fashion-mnist",
            "--normalize",
            "unit",
            "--optimizer",
            "sgd",
            "--run-dir",
            str(run_dir),
            "--no-report",
        ]
        flags += ["--threads", str(program.threads), *ranks, *program.flags, *job.flags]
        code, _, err = run_limited([sys.executable, "-m", "ptrain", "train", *flags], TIME_LIMIT, environment(program))
        if code != 0:
            return failure(code, err)
        lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        accuracy = json.loads((run_dir / "evaluation.json").read_text(encoding="utf-8"))["overall_accuracy"]
        return {"rates": [json.loads(line)["samples_per_second"] for line in lines][1:], "accuracy": accuracy}


def failure(code: int | None, err: str) -> dict[str, Any]:
    """Return what is kept of a program that failed: its cause, and the end of its whole message."""
    return {"error": "too slow" if code is None else last_cause(err) or f"exit code {code}", "message": err[-4000:]}


def environment(program: Program) -> dict[str, str]:
    """Return the variables of a program: one thread in a library where there are several ranks, else all cores."""
    kept = {name: value for name, value in without_launcher(os.environ).items() if not name.endswith("_NUM_THREADS")}
    threads = {} if program.threads > 1 or not program.module else {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return kept | threads | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "TF_CPP_MIN_LOG_LEVEL": "3"}


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on."""
    import torch

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "processor": processor,
        "cores": CORES,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit,
        "load_at_start": os.getloadavg()[0],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def summary(job: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Return median, range and accuracy of a program over its repetitions, None where none succeeded."""
    done = [turn for turn in job["programs"].get(name, []) if "rates" in turn]
    if not done:
        return None
    rates = [statistics.median(turn["rates"]) for turn in done]
    return {
        "samples_per_second": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "accuracy": done[-1]["accuracy"],
        "repetitions": len(done),
    }


def show(console: Console, name: str, job: dict[str, Any]) -> None:
    """Print the table of a job."""
    base, most = job["summary"].get(BASE), job["limit"]["samples_per_second"]
    table = Table(title=f"{name}: hidden {'-'.join(map(str, job['hidden']))}, global batch {job['batch_size']}")
    table.add_column("program")
    for column in ("samples/s", "lowest", "highest", "ptrain 2 ranks is", "of the limit", "accuracy"):
        table.add_column(column, justify="right")
    for program, turns in job["programs"].items():
        found = job["summary"][program]
        if found is None:
            table.add_row(program, turns[-1]["error"])
            continue
        rate = found["samples_per_second"]
        ratio = f"{base['samples_per_second'] / rate:.2f} times" if base else ""
        numbers = [f"{found[key]:,.0f}" for key in ("samples_per_second", "lowest", "highest")]
        table.add_row(program, *numbers, ratio, f"{100 * rate / most:.0f} %", f"{found['accuracy']:.4f}")
    table.add_row("the machine's limit, 2 cores", f"{most:,.0f}")
    console.print(table)


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw samples/s of every program, a panel for each job."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    jobs = report["jobs"]
    figure = Figure(figsize=(8, 0.6 + 3.6 * len(jobs)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, job) in zip(figure.subplots(len(jobs), 1, squeeze=False)[:, 0], jobs.items(), strict=True):
        rows = [(program, found) for program, found in job["summary"].items() if found is not None]
        rows.sort(key=lambda row: row[1]["samples_per_second"])
        rates = [found["samples_per_second"] for _, found in rows]
        spread = [[rate - found["lowest"] for rate, (_, found) in zip(rates, rows, strict=True)]]
        spread.append([found["highest"] - rate for rate, (_, found) in zip(rates, rows, strict=True)])
        colours = ["#0072B2" if program.startswith("ptrain") else "#767676" for program, _ in rows]
        axes.barh([program for program, _ in rows], rates, xerr=spread, color=colours, ecolor="#000000", capsize=2)
        most = job["limit"]["samples_per_second"]
        axes.axvline(most, color="#D55E00", linestyle="--", label=f"the machine's limit: {most:,.0f}")
        hidden = "-".join(map(str, job["hidden"]))
        axes.set(title=f"{name}: hidden {hidden}, global batch {job['batch_size']}", xlabel="samples/s")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.legend(loc="lower right", frameon=False)
    figure.savefig(path)


def main(argv: Sequence[str]) -> int:
    """Measure, print and write; 1 where a program failed every time."""
    wanted = arguments(argv)
    console = Console() if sys.stdout.isatty() else Console(width=120)
    if wanted.list:
        console.print(f"jobs: {', '.join(JOBS)}\nprograms: {', '.join(PROGRAMS)}", highlight=False)
        return 0
    wanted.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"machine": machine(), "repetitions": wanted.repetitions, "jobs": {}}
    if report["machine"]["load_at_start"] > 0.5:
        console.print(f"[yellow]load {report['machine']['load_at_start']:.1f}: other programs take part in this[/]")
    for name in wanted.jobs:
        job = dataclasses.replace(JOBS[name], epochs=wanted.epochs or JOBS[name].epochs)
        entry = report["jobs"][name] = {**dataclasses.asdict(job), "programs": {program: [] for program in wanted.only}}
        entry["limits"] = []
        for turn in range(wanted.repetitions):
            for program in wanted.only:
                result = run_program(PROGRAMS[program], job)
                entry["programs"][program].append(result)
                said = f"{statistics.median(result['rates']):,.0f} samples/s" if "rates" in result else result["error"]
                console.print(f"{name} {turn + 1}/{wanted.repetitions} {program}: {said}", highlight=False)
            entry["limits"].append(limit.measure([784, *job.hidden, 10], job.batch_size, RANKS))
            entry["limit"] = max(entry["limits"], key=lambda found: found["samples_per_second"])
            entry["summary"] = {program: summary(entry, program) for program in wanted.only}
            (wanted.out / "benchmark.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        show(console, name, entry)
    draw(report, wanted.out / "benchmark.png")
    console.print(f"{wanted.out / 'benchmark.json'} and {wanted.out / 'benchmark.png'}", soft_wrap=True)
    failed = [program for entry in report["jobs"].values() for program, found in entry["summary"].items() if not found]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
