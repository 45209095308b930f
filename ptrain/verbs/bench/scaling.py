"""``ptrain bench scaling``: bench train on several numbers of ranks, and which of them pay."""

import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptrain.config import Config
from ptrain.console import Console
from ptrain.errors import EXIT_DONE, ConfigError, LaunchError
from ptrain.files import replacing, write_file
from ptrain.launch.env import detect
from ptrain.verbs.bench import BenchOptions, measuring

WORTH = 0.05
"""More ranks pay where they add at least this share to the samples/s."""


def run(config: Config, options: BenchOptions) -> int:
    """Measure on each number of ranks in turn, print a table, write plot and numbers, and return the exit code.

    Raises InputError where a flag, the folder to write to, or the launcher is at fault, or a job failed.
    """
    if detect(os.environ).size > 1:
        raise LaunchError("ptrain bench scaling starts its ranks itself: expected one process, without mpirun or srun")
    cores = len(os.sched_getaffinity(0))
    numbers = sorted(set(options.ranks)) or default_ranks(cores, config.train.shards)
    picture = writable(options.out)
    threads = config.run.threads or 1
    config = replace(config, run=replace(config.run, ranks=None, threads=threads))
    console = Console(stream=sys.stderr if options.json else None)
    measured: dict[int, list[dict[str, Any]]] = {ranks: [] for ranks in numbers}
    turns = options.repetitions * numbers  # interleaved, so that what else the machine does falls on all of them
    with measuring(config, options) as measure, console.progress(len(turns), "measuring", "jobs") as progress:
        for turn, ranks in enumerate(turns):
            progress.update(turn, f"{ranks} ranks")
            found, reason = measure("train", ranks)
            if found is None:
                hint = f"ptrain bench train --ranks {ranks} shows all of its output"
                raise LaunchError(f"{ranks} ranks: {reason}; {hint}")
            measured[ranks].append(found)
    report = evaluate({ranks: [job["samples_per_second"] for job in jobs] for ranks, jobs in measured.items()})
    first = measured[numbers[0]][0]
    kept = ("data", "widths", "parameters", "batch_size", "shards", "precision", "kernels", "device")
    report |= {"threads": threads, "cores": cores, **{name: first[name] for name in kept}}
    report["exchange"] = {str(ranks): jobs[0]["exchange"] for ranks, jobs in measured.items()}
    _draw(report, picture)
    write_file(picture.with_suffix(".json"), json.dumps(report, indent=1) + "\n")
    if options.json:
        Console().say(json.dumps(report))
    else:
        _show(console, report, picture)
    return EXIT_DONE


def default_ranks(cores: int, shards: int) -> list[int]:
    """1, 2, 4 and so on, up to the cores and the gradient shards."""
    most = max(1, min(cores, shards))
    return [2**power for power in range(most.bit_length())]


def writable(out: str) -> Path:
    """The path of the plot. Raises ConfigError where it cannot be written."""
    path = Path(out)
    if path.suffix != ".png":
        raise ConfigError(f"--out {out}: expected a name that ends in .png")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK) or path.is_dir():
        raise ConfigError(f"--out {out}: cannot be written; expected a file in a folder that is there and yours")
    return path


def evaluate(rates: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    """Speed-up and efficiency against the fewest ranks, and the number beyond which more do not pay.

    rates: samples/s of every measurement, by ranks. That number is the smallest that no larger one beats by WORTH.
    """
    medians = {ranks: statistics.median(values) for ranks, values in sorted(rates.items())}
    fewest = min(medians)
    rows = [
        {
            "ranks": ranks,
            "samples_per_second": rate,
            "lowest": min(rates[ranks]),
            "highest": max(rates[ranks]),
            "speed_up": rate / medians[fewest],
            "efficiency": rate / medians[fewest] * fewest / ranks,
        }
        for ranks, rate in medians.items()
    ]
    enough = next(ranks for ranks in medians if all(rate < medians[ranks] * (1 + WORTH) for rate in medians.values()))
    return {"ranks": rows, "enough": enough, "tried": max(medians)}


def verdict(report: Mapping[str, Any]) -> str:
    """The sentence that names the number of ranks to use."""
    enough, tried = report["enough"], report["tried"]
    if enough == tried:
        return f"up to {tried} ranks every step paid; more were not tried" if len(report["ranks"]) > 1 else ""
    return f"more than {enough} rank{'s' if enough > 1 else ''} do not pay for this job on this machine"


def _show(console: Console, report: Mapping[str, Any], picture: Path) -> None:
    threads = report["threads"]
    console.say(
        f"{report['data']}: {'-'.join(map(str, report['widths']))}, global batch {report['batch_size']:,} in "
        f"{report['shards']} shards, {report['kernels']} kernels, {threads} thread{'s' if threads > 1 else ''} a rank, "
        f"{report['cores']} cores, device {report['device']}"
    )
    rows = [
        [
            row["ranks"],
            *(f"{row[name]:,.0f}" for name in ("samples_per_second", "lowest", "highest")),
            f"{row['speed_up']:.2f}",
            f"{100 * row['efficiency']:.0f} %",
        ]
        for row in report["ranks"]
    ]
    console.table(["ranks", "samples/s", "lowest", "highest", "speed-up", "efficiency"], rows)
    if text := verdict(report):
        console.say(text)
    console.say(f"plot {picture}, numbers {picture.with_suffix('.json')}")


def _draw(report: Mapping[str, Any], picture: Path) -> None:
    """Draw samples/s over ranks, with the line that perfect scaling would follow."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    rows = report["ranks"]
    ranks = [row["ranks"] for row in rows]
    rates = [row["samples_per_second"] for row in rows]
    spread = [[row["samples_per_second"] - row["lowest"] for row in rows]]
    spread.append([row["highest"] - row["samples_per_second"] for row in rows])
    figure = Figure(figsize=(5.2, 3.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    ideal = [rates[0] * number / ranks[0] for number in ranks]
    axes.plot(ranks, ideal, color="#555555", linestyle="--", linewidth=1, label="every rank as good as the first")
    axes.errorbar(ranks, rates, spread, color="#0072B2", marker="o", capsize=3, label="measured: median, range")
    axes.axvline(report["enough"], color="#D55E00", linestyle=":", label=f"enough: {report['enough']}")
    axes.set(xlabel="ranks", ylabel="samples/s", xticks=ranks, title=f"{report['data']}, batch {report['batch_size']}")
    axes.set_ylim(0, 1.08 * max(*rates, *ideal, *(row["highest"] for row in rows)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(color="#dddddd")
    axes.legend(frameon=False, fontsize=8)
    FigureCanvasAgg(figure)
    with replacing(picture) as temporary:
        figure.savefig(temporary, format="png")
