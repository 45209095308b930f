"""``ptrain bench train``: some steps of a training job, without a run directory; samples/s and the parts of a step."""

import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from ptrain.config import Config
from ptrain.console import Console, ProgressLine
from ptrain.errors import EXIT_DONE
from ptrain.run.job import Job, load_job, start_state, training_step
from ptrain.run.session import open_session
from ptrain.steps.step import TrainingStep
from ptrain.verbs.bench import BenchOptions
from ptrain.verbs.bench.split import PARTS, StepTimer, settler, slowest, split

WARM_UP = 20
"""Steps before the first measurement: buffers are touched, ranks have found each other."""


def run(config: Config, options: BenchOptions) -> int:
    """Measure the steps of a job, print what came out, and return the exit code. Every rank calls it.

    Raises:
        InputError: the configuration or the data is at fault; on every rank alike.
        DivergedError: the loss or a gradient is not finite.
    """
    with open_session(config.run, quiet=options.json) as session:
        job = load_job(session, config)
        step = training_step(job, start_state(job))
        try:
            with session.console.progress(WARM_UP + 2 * options.steps, "measuring") as progress:
                report = measure(job, step, options.steps, options.seconds, progress)
        finally:
            step.close()
        if options.json:
            Console(session.comm.info.rank).say(json.dumps(report))
        else:
            show(session.console, report)
    return EXIT_DONE


def measure(job: Job, step: TrainingStep, steps: int, seconds: float, progress: ProgressLine) -> dict[str, Any]:
    """Return the measurements: first of the steps as they are, then of their parts. ``step`` is of no use afterwards.

    steps, seconds: each of the two measurements ends with whichever comes first.
    """
    session, plan = job.session, job.plan
    settle = settler(session.device)
    places = _places(plan.steps_per_epoch)
    done = itertools.count(1)

    def go(run: Callable[[int, int, int, bool], bool], steps: int) -> tuple[int, list[float]]:
        """Return the samples and the moments before the first step and after each."""
        samples, moments = 0, [time.perf_counter()]
        stop = False
        while len(moments) <= steps and not stop:
            epoch, index = next(places)
            valid_rows = plan.valid_rows(index)
            # All ranks hear of it with the step's own exchange, and stop after the same step.
            stop = run(epoch, index, valid_rows, time.perf_counter() - moments[0] > seconds)
            samples += valid_rows
            moments.append(time.perf_counter())
            progress.update(next(done))
        step.look()
        settle()
        moments[-1] = time.perf_counter()
        return samples, moments

    go(step.run, min(WARM_UP, steps))
    session.comm.barrier()
    samples, moments = go(step.run, steps)
    timer = StepTimer(step, session.device)
    session.comm.barrier()
    go(timer.run, steps)
    info, train = session.comm.info, job.config.train
    whole = session.comm.all_gather_object(moments[-1] - moments[0])
    rows = split(session.comm.all_gather_object(timer.times))
    hosts = session.comm.all_gather_object(info.host)
    return {
        "data": job.dataset.name,
        "widths": list(job.layout.widths),
        "parameters": job.layout.num_parameters,
        "batch_size": plan.batch_size,
        "shards": plan.shards,
        "precision": train.precision,
        "kernels": step.kernels,
        "device": job.environment["device"],
        "backend": session.comm.name,
        "exchange": step.exchange,
        "why_messages": step.why_messages,
        "ranks": info.size,
        "threads": session.threads,
        "steps": len(moments) - 1,
        "samples_per_second": samples / max(whole),
        "median_step_seconds": statistics.median(b - a for a, b in itertools.pairwise(moments)),
        "split": [{"rank": rank, "host": host} | row for rank, (host, row) in enumerate(zip(hosts, rows, strict=True))],
        "slowest_rank": slowest(rows),
    }


def _places(steps_per_epoch: int) -> Iterator[tuple[int, int]]:
    """Yield epoch and step for ever."""
    return ((epoch, step) for epoch in itertools.count() for step in range(steps_per_epoch))


def show(console: Console, report: dict[str, Any]) -> None:
    """Print the measurements."""
    threads = f"{report['threads']} thread{'s' if report['threads'] > 1 else ''} a rank"
    ranks = f"{report['ranks']} rank{'s' if report['ranks'] > 1 else ''}"
    console.say(
        f"{report['data']}: {'-'.join(map(str, report['widths']))}, {report['parameters']:,} parameters, global batch "
        f"{report['batch_size']:,} in {report['shards']} shards, {report['kernels']} kernels, {report['precision']}"
    )
    travels = f"exchange by {report['exchange']}" if report["ranks"] > 1 else "no other rank"
    why = f" ({report['why_messages']})" if report["why_messages"] else ""
    console.say(f"{ranks}, {threads}, device {report['device']}, backend {report['backend']}, {travels}{why}")
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
    largest = max(("gather", "compute", "update"), key=lambda part: own[part])
    own_exchange = own["exchange"] - own["waiting"]
    if own_exchange > own[largest]:
        largest, most = "exchange", own_exchange
    else:
        most = own[largest]
    which = f"slowest rank: {own['rank']}; its" if report["ranks"] > 1 else "the"
    console.say(f"{which} largest part: {largest}, {100 * most / own['step']:.0f} % of the step")
