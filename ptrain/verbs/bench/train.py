"""``ptrain bench train``: some steps of a training job, without a run directory; samples/s and the parts of a step."""

import itertools
import json
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from statistics import fmean
from typing import Any

import torch

from ptrain.config import Config
from ptrain.console import Console, ProgressLine
from ptrain.errors import EXIT_DONE
from ptrain.run.job import Job, load_job, start_state, training_step
from ptrain.run.session import open_session
from ptrain.steps.base import Times
from ptrain.steps.choose import ChosenStep
from ptrain.verbs.bench import BenchOptions

WARM_UP = 20
"""Steps before the first measurement: buffers are touched, ranks have found each other."""
PARTS = ("gather", "compute", "exchange", "waiting", "update")
"""Parts of a step; waiting, for slower ranks, is a part of the exchange."""


def run(config: Config, options: BenchOptions) -> int:
    """Measure the steps of a job, print what came out, and return the exit code. Every rank calls it.

    Raises InputError where the configuration or the data is at fault, on every rank alike, and DivergedError.
    """
    with open_session(config.run, quiet=options.json) as session:
        job = load_job(session, config)
        choice = training_step(job, start_state(job))
        total = WARM_UP + 2 * options.steps
        with closing(choice.step), session.console.progress(total, "measuring") as progress:
            report = measure(job, choice, options.steps, options.seconds, progress)
        if options.json:
            Console(session.comm.info.rank).say(json.dumps(report))
        else:
            show(session.console, report)
    return EXIT_DONE


def measure(job: Job, choice: ChosenStep, steps: int, seconds: float, progress: ProgressLine) -> dict[str, Any]:
    """Measure first the steps as they are, then their parts, each until ``steps`` or ``seconds`` are over."""
    session, plan, step = job.session, job.plan, choice.step
    settle = settler(session.device)
    order = ((epoch, index) for epoch in itertools.count() for index in range(plan.steps_per_epoch))
    done = itertools.count(1)

    def go(steps: int) -> tuple[int, list[float]]:
        """Do steps; the samples, and the moments before the first step and after each."""
        samples, moments = 0, [time.perf_counter()]
        stop = False
        while len(moments) <= steps and not stop:
            epoch, index = next(order)
            valid_rows = plan.valid_rows(index)
            # All ranks hear of it with the step's own exchange, and stop after the same step.
            stop = step.run(epoch, index, valid_rows, time.perf_counter() - moments[0] > seconds)
            samples += valid_rows
            moments.append(time.perf_counter())
            progress.update(next(done))
        step.synchronise()
        settle()
        moments[-1] = time.perf_counter()
        return samples, moments

    go(min(WARM_UP, steps))
    session.comm.barrier()
    samples, moments = go(steps)
    times = step.measure()
    session.comm.barrier()
    go(steps)
    info, train = session.comm.info, job.config.train
    everybody = session.comm.all_gather_object((moments[-1] - moments[0], times, info.host))
    whole, all_times, hosts = zip(*everybody, strict=True)
    rows = split(all_times)
    return {
        "data": job.dataset.name,
        **job.model.description,
        "network": job.model.title,
        "parameters": job.model.layout.num_parameters,
        "batch_size": plan.batch_size,
        "shards": plan.shards,
        "precision": train.precision,
        "kernels": train.kernels,
        "device": job.environment["device"],
        "backend": session.comm.name,
        "step": step.name,
        "why_not": choice.why_not,
        "chosen": str(choice),
        "exchange": step.exchange,
        "why_messages": "" if step.exchange != "messages" else choice.why_not.get("slices", ""),
        "ranks": info.size,
        "threads": session.threads,
        "steps": len(moments) - 1,
        "samples_per_second": samples / max(whole),
        "median_step_seconds": statistics.median(b - a for a, b in itertools.pairwise(moments)),
        "split": [{"rank": rank, "host": host} | row for rank, (host, row) in enumerate(zip(hosts, rows, strict=True))],
        "slowest_rank": slowest(rows),
    }


def settler(device: torch.device) -> Callable[[], None]:
    """What waits until the device has done all that was asked of it."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def split(times: Sequence[Times]) -> list[dict[str, float]]:
    """The mean seconds of each part of a step and of the step, a rank each, from the times of all ranks.

    A rank waits for as long as its exchange takes longer than that of the rank that came last to the same exchange.
    """
    shortest = [min(values) for values in zip(*(rank.exchange for rank in times), strict=True)]
    rows = []
    for rank in times:
        gather, compute, exchange, step = map(fmean, (rank.gather, rank.compute, rank.exchange, rank.step))
        waiting = exchange - fmean(shortest)
        update = step - gather - compute - exchange
        rows.append(dict(zip((*PARTS, "step"), (gather, compute, exchange, waiting, update, step), strict=True)))
    return rows


def slowest(rows: Sequence[dict[str, float]]) -> int:
    """The rank that does its own work, all but waiting, most slowly."""
    return max(range(len(rows)), key=lambda rank: rows[rank]["step"] - rows[rank]["waiting"])


def show(console: Console, report: dict[str, Any]) -> None:
    """Print the measurements."""
    threads = f"{report['threads']} thread{'s' if report['threads'] > 1 else ''} a rank"
    ranks = f"{report['ranks']} rank{'s' if report['ranks'] > 1 else ''}"
    console.say(
        f"{report['data']}: {report['network']}, {report['parameters']:,} parameters, global batch "
        f"{report['batch_size']:,} in {report['shards']} shards, {report['kernels']} kernels, {report['precision']}"
    )
    travels = f"exchange by {report['exchange']}" if report["ranks"] > 1 else "no other rank"
    console.say(f"{ranks}, {threads}, device {report['device']}, backend {report['backend']}, {travels}")
    console.say(f"step by {report['chosen']}")
    console.say(
        f"{report['samples_per_second']:,.0f} samples/s; median step {1e6 * report['median_step_seconds']:,.0f} µs, "
        f"{report['steps']:,} steps"
    )
    console.say()
    columns = ["rank", "host", *(f"of it {part}" if part == "waiting" else part for part in PARTS), "step"]
    rows = [
        [row["rank"], row["host"], *(f"{1e6 * row[part]:,.0f}" for part in (*PARTS, "step"))] for row in report["split"]
    ]
    console.table(columns, rows, "µs a step, mean")
    own = report["split"][report["slowest_rank"]]
    # Waiting is no work of its own, so the exchange counts without it.
    shares = {part: own[part] for part in ("gather", "compute", "update")}
    shares["exchange"] = own["exchange"] - own["waiting"]
    largest = max(shares, key=shares.__getitem__)
    which = f"slowest rank: {own['rank']}; its" if report["ranks"] > 1 else "the"
    console.say(f"{which} largest part: {largest}, {100 * shares[largest] / own['step']:.0f} % of the step")
