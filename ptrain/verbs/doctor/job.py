"""The doctor in a job: each rank adds its rank + 1 to a sum that all of them check."""

import json
import os
import time
from collections.abc import Callable
from typing import Any

import torch

from ptrain.comm.base import Communicator
from ptrain.comm.select import create
from ptrain.config import RunConfig
from ptrain.console import Console
from ptrain.errors import EXIT_DONE, EXIT_INPUT
from ptrain.launch.env import RankInfo
from ptrain.run.session import pick_device
from ptrain.verbs.doctor import DoctorOptions
from ptrain.verbs.doctor.cores import crowded, short_list

Row = dict[str, Any]


def join(info: RankInfo, settings: RunConfig, say: Callable[[str], None]) -> tuple[Communicator, Row, float, float]:
    """Start the backend and add up rank + 1 over the ranks. Raises LaunchError where it does not start.

    Returns the communicator, what there is to say about this rank, what the sum should be, and the seconds until it was
    there.
    """
    started = time.perf_counter()
    device = pick_device(settings.device, info)
    comm = create(settings.backend, info, device, say)
    total = float(comm.all_reduce_(torch.tensor([float(info.rank + 1)], device=device)).item())
    seconds = time.perf_counter() - started
    mine = {
        "rank": info.rank,
        "local_rank": info.local_rank,
        "host": info.host,
        "pid": os.getpid(),
        "cores": short_list(sorted(os.sched_getaffinity(0))),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "gpu": device.index,
        "sum": total,
    }
    return comm, mine, info.size * (info.size + 1) / 2, seconds


def told(ranks: list[Row]) -> str:
    """How many hosts the ranks are on, in words."""
    hosts = len({row["host"] for row in ranks})
    return f"{len(ranks)} ranks on {hosts} {'host' if hosts == 1 else 'hosts'}"


def run(info: RankInfo, options: DoctorOptions, settings: RunConfig) -> int:
    """Report on every rank; returns 0 where all ranks heard each other, else 2."""
    console = Console(info.rank)
    reasons: list[str] = []
    comm, mine, expected, seconds = join(info, settings, reasons.append)
    ranks: list[Row] = comm.all_gather_object(mine)
    works = all(row["sum"] == expected for row in ranks) and len(ranks) == info.size
    comm.close()
    if options.json:
        report = {
            "backend": comm.name,
            "launcher": info.launcher,
            "size": info.size,
            "hosts": len({row["host"] for row in ranks}),
            "seconds": round(seconds, 3),
            "expected_sum": expected,
            "works": works,
            "ranks": ranks,
        }
        console.say(json.dumps(report))
        return EXIT_DONE if works else EXIT_INPUT
    for reason in reasons:
        console.say(reason)
    console.table(list(mine), [["-" if value is None else str(value) for value in row.values()] for row in ranks])
    for host, count, cores in crowded(ranks):
        console.warn(f"{count} ranks share {cores} cores on {host}: expected at most a rank a core; start fewer ranks")
    console.say(
        f"{'ok' if works else 'failed'}: {told(ranks)}, started by {info.launcher}, sum over {comm.name} "
        f"{mine['sum']:g} (expected {expected:g}), {seconds:.1f} s from backend to sum"
    )
    return EXIT_DONE if works else EXIT_INPUT
