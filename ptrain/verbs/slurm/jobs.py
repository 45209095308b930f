"""Submitted runs and sweeps: what their directories and Slurm say about them."""

import json
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptrain import config
from ptrain.console import Console
from ptrain.errors import EXIT_DONE, ConfigError, LaunchError, RunDirectoryError
from ptrain.files import write_file
from ptrain.report.records import read_metrics
from ptrain.slurm import queue as slurm_queue
from ptrain.slurm.queue import Entry
from ptrain.verbs.slurm import SlurmOptions

JOBS, ABOUT = "slurm.jobs", "slurm.json"
FOLLOW_INTERVAL = 0.5  # seconds between two reads of a log
STATE_INTERVAL = 5.0  # seconds between two questions to Slurm


def note(run_dir: Path, job: str, about: dict[str, Any]) -> None:
    """Keep the number of a job and what it is about in its run directory."""
    write_file(run_dir / ABOUT, json.dumps(about, indent=1) + "\n")
    with (run_dir / JOBS).open("a", encoding="utf-8") as file:
        file.write(job + "\n")


def refuse_second(run_dir: Path) -> None:
    """Raise LaunchError where a job of this directory still waits or runs: two would write the same files."""
    if (run_dir / JOBS).exists():
        for entry in _active(_jobs(run_dir)):
            raise LaunchError(
                f"--run-dir {run_dir}: its job {entry.job} is {entry.state}; expected one job a run directory: wait, "
                f"or ptrain slurm cancel {run_dir}"
            )


def status(options: SlurmOptions, _train_argv: Sequence[str]) -> int:
    """Print what a run is doing, or the table of a sweep: best validation accuracy first."""
    console = Console()
    path, run_dir, task = _submitted(options)
    combinations = _about(run_dir)["combinations"]
    entries = slurm_queue.entries(_jobs(run_dir))
    if combinations and task is None:
        rows = sweep_rows(run_dir, combinations, entries)
        if options.json:
            console.say(json.dumps(rows, indent=1))
            return EXIT_DONE
        flags = list(combinations[0]["values"])
        columns = ["task", *flags, "state", "epoch", "best validation accuracy", "in epoch", "run directory"]
        shown = ("state", "epoch", "best_validation_accuracy", "best_epoch", "run_dir")
        console.table(columns, [[row["task"], *row["values"].values(), *(row[key] for key in shown)] for row in rows])
        if all(row["best_validation_accuracy"] is None for row in rows):
            console.say(
                "no validation accuracy yet; without --validation there is none, and the test is not for choosing"
            )
        return EXIT_DONE
    if task is not None:
        entries = [entry for entry in entries if entry.job.endswith(f"_{task}")]
    row = {"run_dir": str(path), "state": _state(entries, path), **progress(path)}
    row |= {"jobs": [vars(entry) for entry in entries], "log": str(_log(run_dir, task))}
    if options.json:
        console.say(json.dumps(row, indent=1))
        return EXIT_DONE
    for entry in entries:
        where = f" on {entry.nodes}" if entry.nodes else f" ({entry.reason})" if entry.state == "PENDING" else ""
        console.say(f"job {entry.job}: {entry.state}{where}, {entry.restarts} restarts")
    if not entries:
        console.say(f"job {_jobs(run_dir)[-1]}: Slurm no longer knows it; the log says how it ended")
    best = row["best_validation_accuracy"]
    told = "" if best is None else f", best validation accuracy {best:.4f} in epoch {row['best_epoch']}"
    console.say(f"{row['state']}: epoch {row['epoch']} of {row['epochs'] or '?'}{told}")
    console.say(f"log {row['log']}")
    return EXIT_DONE


def sweep_rows(run_dir: Path, combinations: list[dict[str, Any]], entries: list[Entry]) -> list[dict[str, Any]]:
    """A row a combination, best validation accuracy first; test results are never looked at."""
    rows = []
    for task, combination in enumerate(combinations):
        folder = run_dir / combination["name"]
        row = {"task": task, "values": combination["values"]}
        row |= {"state": _state([entry for entry in entries if _covers(entry, task)], folder)}
        rows.append(row | progress(folder) | {"run_dir": str(folder)})
    best = "best_validation_accuracy"
    return sorted(rows, key=lambda row: 1.0 if row[best] is None else -row[best])


def progress(run_dir: Path) -> dict[str, Any]:
    """How far a run is, from its metrics: epoch, epochs, best validation accuracy and its epoch."""
    epochs = None
    if (run_dir / "config.toml").is_file():
        try:
            epochs = config.build(config.read_toml(run_dir / "config.toml")).train.epochs
        except ConfigError as error:
            raise RunDirectoryError(f"{run_dir}: {error}") from None
    records = read_metrics(run_dir / "metrics.jsonl")
    judged = [row for row in records if row["validation_accuracy"] is not None]
    best = max(judged, key=lambda row: row["validation_accuracy"], default={})  # the first epoch of several alike
    return {
        "epoch": records[-1]["epoch"] if records else 0,
        "epochs": epochs,
        "best_validation_accuracy": best.get("validation_accuracy"),
        "best_epoch": best.get("epoch"),
    }


def log(options: SlurmOptions, _train_argv: Sequence[str]) -> int:
    """Print the last lines of a log, and with --follow what is added until the job has ended."""
    console = Console()
    path, run_dir, task = _submitted(options)
    combinations = _about(run_dir)["combinations"]
    if task is None and combinations:
        names = ", ".join(one["name"] for one in combinations[:3])
        raise ConfigError(f"{path} is a sweep: expected one of its run directories, such as {names}")
    where = _log(run_dir, task)
    jobs = [f"{job}_{task}" for job in _jobs(run_dir)] if task is not None else _jobs(run_dir)
    if not where.exists() and not options.follow:
        console.say(f"no log yet: the job has not started; ptrain slurm status {path}")
        return EXIT_DONE
    position, asked, follow = 0, 0.0, options.follow
    while True:
        if where.exists():
            with where.open(encoding="utf-8", errors="replace") as file:
                file.seek(position)
                for line in file if position else deque(file, maxlen=max(options.lines, 0)):
                    console.say(line.rstrip("\n"))
                position = file.tell()
        if not follow:
            return EXIT_DONE
        if time.monotonic() - asked > STATE_INTERVAL:
            asked = time.monotonic()
            follow = bool(_active(jobs))  # once more after the end: what came meanwhile
        time.sleep(FOLLOW_INTERVAL)


def cancel(options: SlurmOptions, _train_argv: Sequence[str]) -> int:
    """Cancel what waits or runs of a run, a sweep or one run of a sweep."""
    console = Console()
    path, run_dir, task = _submitted(options)
    active = _active(_jobs(run_dir))
    if task is not None:
        active = [entry for entry in active if _covers(entry, task)]
        chosen = [entry.job.partition("_")[0] + f"_{task}" for entry in active]
    else:
        chosen = [entry.job.replace("_?", "") for entry in active]
        chosen = sorted({job if "[" not in job else job.partition("_")[0] for job in chosen})
    if not chosen:
        console.say(f"no job of {path} waits or runs")
        return EXIT_DONE
    slurm_queue.cancel(chosen)
    console.say(f"cancelled {', '.join(chosen)}; ptrain slurm submit with --run-dir {path} goes on from its checkpoint")
    return EXIT_DONE


def _submitted(options: SlurmOptions) -> tuple[Path, Path, int | None]:
    """The directory that was given, the one that was submitted, and the task where the first is one run of a sweep."""
    if options.target is None:
        raise ConfigError(f"ptrain slurm {options.action}: expected the run directory of a submitted job")
    path = Path(options.target)
    if (path / JOBS).is_file() and (path / ABOUT).is_file():
        return path, path, None
    if (path.parent / ABOUT).is_file():
        for task, combination in enumerate(_about(path.parent)["combinations"]):
            if combination["name"] == path.name:
                return path, path.parent, task
    raise RunDirectoryError(f"{path}: is not the run directory of ptrain slurm submit (no {JOBS} in it)")


def _about(run_dir: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((run_dir / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise RunDirectoryError(f"{run_dir / ABOUT}: is damaged; submit the job again") from None
    return about


def _jobs(run_dir: Path) -> list[str]:
    return [line.strip() for line in (run_dir / JOBS).read_text(encoding="utf-8").splitlines() if line.strip()]


def _log(run_dir: Path, task: int | None) -> Path:
    return run_dir / ("slurm.log" if task is None else f"slurm-{task}.log")


def _active(jobs: Sequence[str]) -> list[Entry]:
    return [entry for entry in slurm_queue.entries(jobs) if entry.state not in slurm_queue.ENDED]


def _covers(entry: Entry, task: int) -> bool:
    """Whether a task is part of an entry: waiting tasks of an array share one, such as 12_[3-5,8%2]."""
    numbers = entry.job.partition("_")[2].strip("[]").partition("%")[0]
    bounds = [part.partition(":")[0].split("-") for part in numbers.split(",")]
    known = [bound for bound in bounds if all(number.isdecimal() for number in bound)]
    return any(int(bound[0]) <= task <= int(bound[-1]) for bound in known)


def _state(entries: list[Entry], run_dir: Path) -> str:
    """One word: what Slurm says while the job lives, else what the run directory says."""
    active = [entry.state for entry in entries if entry.state not in slurm_queue.ENDED]
    if active:
        return active[-1]
    if (run_dir / "model.safetensors").exists():
        return "DONE"
    return entries[-1].state if entries else "NOT DONE"
