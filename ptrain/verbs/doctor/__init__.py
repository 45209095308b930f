"""``ptrain doctor``: what is installed, which backends start, what the launcher says, and the fix for what fails."""

import json
import os
import time
from dataclasses import asdict
from typing import Any

from ptrain.console import Console
from ptrain.errors import EXIT_DONE, EXIT_INPUT
from ptrain.launch import env
from ptrain.verbs.doctor import checks as checks
from ptrain.verbs.doctor.checks import Finding
from ptrain.verbs.doctor.cores import crowded, short_list

_COLOURS = {"ok": "\x1b[32m", "missing": "\x1b[33m", "failed": "\x1b[31m"}


def run(
    *,
    as_json: bool,
    time_limit: float,
    backend: str = "auto",
    device: str = "auto",
    preflight: bool = False,
    shared_folder: str | None = None,
    expect_ranks: int | None = None,
) -> int:
    """Report on this machine, or, where a launcher started several ranks, on each of them through ``backend``.

    ``time_limit``: seconds that each backend may take. Returns 0 where at least one backend of several ranks works (in
    a job: where all ranks heard each other), else 2. With ``preflight`` the ranks of a job are checked instead.
    """
    if preflight:
        from ptrain.verbs.doctor import preflight as checked

        return checked.run(
            backend=backend,
            device=device,
            shared_folder=shared_folder,
            expect_ranks=expect_ranks,
            time_limit=time_limit,
        )
    info = env.detect(os.environ)
    if info.size > 1:
        return _job(info, backend, device, as_json)
    console = Console()
    findings: list[Finding] = []
    for check in checks.all_checks(info, time_limit, [backend] if backend in checks.BACKENDS else checks.BACKENDS):
        for finding in check():
            findings.append(finding)
            if not as_json:
                console.say(_line(finding, console.colour))
    works = [finding.topic for finding in findings if finding.topic.startswith("backend ") and finding.status == "ok"]
    if as_json:
        console.say(json.dumps({"works": bool(works), "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        console.say(
            f"\n{', '.join(works)}: ready for several ranks" if works else "\nno backend for several ranks works"
        )
    return EXIT_DONE if works else EXIT_INPUT


def _line(finding: Finding, colour: bool) -> str:
    status = f"{finding.status:<7}"
    if colour:
        status = f"{_COLOURS[finding.status]}{status}\x1b[0m"
    fix = f"\n{'':9}fix: {finding.fix}" if finding.fix else ""
    return f"{status}  {finding.topic + ':':<19} {finding.detail}{fix}"


def _job(info: env.RankInfo, backend: str, device_name: str, as_json: bool) -> int:
    """Report on every rank of a job; each adds its rank + 1 to a sum that all of them check."""
    import torch

    from ptrain.comm.select import create
    from ptrain.run.session import pick_device

    console = Console(info.rank)
    reasons: list[str] = []
    started = time.perf_counter()
    device = pick_device(device_name, info)
    comm = create(backend, info, device, reasons.append)
    number = torch.tensor([float(info.rank + 1)], device=device)
    total = float(comm.all_reduce_(number).item())
    seconds = time.perf_counter() - started
    expected = info.size * (info.size + 1) / 2
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
    ranks: list[dict[str, Any]] = comm.all_gather_object(mine)
    right = all(row["sum"] == expected for row in ranks) and len(ranks) == info.size
    report = {
        "backend": comm.name,
        "launcher": info.launcher,
        "size": info.size,
        "hosts": len({row["host"] for row in ranks}),
        "seconds": round(seconds, 3),
        "expected_sum": expected,
        "works": right,
        "ranks": ranks,
    }
    comm.close()
    if as_json:
        console.say(json.dumps(report))
        return EXIT_DONE if right else EXIT_INPUT
    for reason in reasons:
        console.say(reason)
    console.table(list(mine), [["-" if value is None else str(value) for value in row.values()] for row in ranks])
    for host, count, cores in crowded(ranks):
        console.warn(f"{count} ranks share {cores} cores on {host}: expected at most a rank a core; start fewer ranks")
    num_hosts = report["hosts"]
    console.say(
        f"{'ok' if right else 'failed'}: {info.size} ranks on {num_hosts} {'host' if num_hosts == 1 else 'hosts'}, "
        f"started by {info.launcher}, sum over {comm.name} {total:g} (expected {expected:g}), "
        f"{seconds:.1f} s from backend to sum"
    )
    return EXIT_DONE if right else EXIT_INPUT
