"""``ptrain doctor --preflight``: is every rank of the job where it should be, and do all of them hear each other?

What one rank finds wrong by itself ends the job at once with that rank and its host named; what shows only in
comparison is told by rank 0, a line a rank.
"""

import contextlib
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ptrain.config import RunConfig
from ptrain.console import Console
from ptrain.errors import EXIT_DONE, EXIT_INPUT, LaunchError, os_error_as
from ptrain.launch import env
from ptrain.launch.env import RankInfo
from ptrain.verbs.doctor import DoctorOptions
from ptrain.verbs.doctor.cores import crowded

PATIENCE = 10.0  # seconds; a network file system may show a new file late


def run(info: RankInfo, options: DoctorOptions, settings: RunConfig) -> int:
    """Check this job; 0 where training can start. Raises LaunchError where this rank is not where it should be."""
    check_world_size(info, options.expect_ranks)
    check_first_host(info, os.environ)
    from ptrain.verbs.doctor.job import join, told  # loads torch, which may take minutes in a large job

    console = Console(info.rank)
    # A backend that waits for a peer cannot be asked to stop.
    timer = threading.Timer(options.time_limit, _give_up, (info, settings.backend, options.time_limit))
    timer.daemon = True
    timer.start()
    try:
        comm, mine, expected, seconds = join(info, settings, console.say)
    finally:
        timer.cancel()
    folder = options.shared_folder
    token = comm.broadcast_object(secrets.token_hex(8))
    mine |= {"gpu": _gpu(mine), "problem": "" if folder is None else _shared(Path(folder), token, info, comm.barrier)}
    ranks: list[dict[str, Any]] = comm.all_gather_object(mine)
    problems = find_problems(ranks, expected)
    comm.close()
    if info.rank == 0:
        for problem in problems:
            print(f"ptrain: error: preflight: {problem}", file=sys.stderr, flush=True)
    if not problems:
        shared = "" if folder is None else f", {folder} is shared"
        console.say(
            f"preflight: {told(ranks)} started by {info.launcher}, "
            f"sum over {comm.name} {mine['sum']:g} as expected{shared}, {seconds:.1f} s"
        )
    return EXIT_INPUT if problems else EXIT_DONE


def check_world_size(info: RankInfo, expected: int | None) -> None:
    """Raise LaunchError where the world has another number of ranks than the job has tasks."""
    if expected is not None and expected != info.size:
        started = f"{info.launcher} started {info.size} ranks" if info.launcher != "none" else "no launcher was found"
        raise LaunchError(
            f"preflight: {_me(info)}the job has {expected} tasks, but {started}; expected a rank a task: "
            f"start ptrain through srun, or mpirun -n {expected}"
        )


def check_first_host(info: RankInfo, environ: Mapping[str, str]) -> None:
    """Raise LaunchError where the host of rank 0 cannot be resolved, or is localhost in a job of several hosts."""
    host = environ.get("MASTER_ADDR", "")
    if not host and info.launcher == "slurm":
        host = env.first_host(environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST", ""))
    if not host:
        return
    where = f"preflight: {_me(info)}the first host, {host},"
    if info.size > info.local_size and host.split(".")[0] in ("localhost", "127", "ip6-localhost"):
        raise LaunchError(f"{where} is this host on every host; set MASTER_ADDR to the name of the first node")
    fix = "set MASTER_ADDR, or host_suffix in the site's file, to a name that every node knows"
    with os_error_as(LaunchError, f"{where} cannot be resolved", fix):
        socket.getaddrinfo(host, None)


def _me(info: RankInfo) -> str:
    """The name of rank 0; where another rank fails, its name is put before the message."""
    return f"rank 0 on {info.host}: " if info.rank == 0 else ""


def find_problems(ranks: list[dict[str, Any]], expected_sum: float) -> list[str]:
    """What the ranks' reports say is wrong, a line each, with ranks and hosts."""
    problems = [f"rank {row['rank']} on {row['host']}: {row['problem']}" for row in ranks if row["problem"]]
    problems += [
        f"rank {row['rank']} on {row['host']}: the sum over all ranks is {row['sum']:g}, expected {expected_sum:g}; "
        "choose another --backend, or look for two MPI libraries with ptrain doctor"
        for row in ranks
        if row["sum"] != expected_sum
    ]
    taken: dict[tuple[str, str], int] = {}
    for row in (one for one in ranks if one["gpu"] is not None):
        first = taken.setdefault((row["host"], row["gpu"]), row["rank"])
        if first != row["rank"]:
            problems.append(
                f"rank {row['rank']} on {row['host']}: has the same GPU as rank {first} ({row['gpu']}); expected one a "
                "rank: ask for as many GPUs as ranks a node"
            )
    for host, count, cores in crowded(ranks):
        here = ", ".join(str(row["rank"]) for row in ranks if row["host"] == host)
        problems.append(
            f"ranks {here} on {host}: {count} ranks share {cores} cores; expected at least one each: "
            "start fewer ranks a node, or restate --cpus-per-task on srun"
        )
    return problems


def _gpu(mine: dict[str, Any]) -> str | None:
    """What tells a rank's GPU from all others, or None on a CPU."""
    import torch

    index = mine["gpu"]
    return None if index is None else str(getattr(torch.cuda.get_device_properties(index), "uuid", None) or index)


def _shared(folder: Path, token: str, info: RankInfo, barrier: Callable[[], None]) -> str:
    """What is wrong with the folder on this rank: rank 0 writes a file, every rank must see it."""
    path = folder / f".preflight-{token}"
    problem = ""
    if info.rank == 0:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(token, encoding="utf-8")
        except OSError as error:
            problem = f"cannot write to {folder} ({error.strerror}); choose a --run-dir that you can write to"
    barrier()
    deadline = time.monotonic() + PATIENCE
    while not problem and not _reads(path, token):
        if time.monotonic() > deadline:
            problem = (
                f"does not see what rank 0 wrote to {folder}; choose a --run-dir on a file system that all nodes share"
            )
        time.sleep(0.1)
    barrier()
    if info.rank == 0:
        with contextlib.suppress(OSError):
            path.unlink()
    return problem


def _reads(path: Path, token: str) -> bool:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8") == token
    return False


def _give_up(info: RankInfo, backend: str, seconds: float) -> None:
    message = (
        f"ptrain: error: preflight: rank {info.rank} on {info.host}: --backend {backend} did not start within "
        f"{seconds:g} s; a rank is missing, or the network interface is the wrong one (NCCL_SOCKET_IFNAME, "
        "GLOO_SOCKET_IFNAME)\n"
    )
    os.write(2, message.encode())
    os._exit(EXIT_INPUT)
