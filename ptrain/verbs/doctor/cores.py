"""The cores that a process may use: by affinity, and by the quota of its control group."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def cgroup_quota(root: Path, membership: str) -> float | None:
    """The smallest CPU quota, in cores, of this process's control groups (version 1 and 2), or None.

    ``membership`` is the text of /proc/self/cgroup, ``root`` where control groups are mounted.
    """
    quotas = []
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for folder in (root, root / "cpu", root / "cpu,cpuacct", root / "unified"):
            group = folder / path.lstrip("/")
            for level in (group, *group.parents):
                quotas += _quota(level)
                if level == folder:
                    break
    return min(quotas, default=None)


def _quota(group: Path) -> list[float]:
    with contextlib.suppress(OSError, ValueError):
        allowance, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        return [] if allowance == "max" else [int(allowance) / int(period)]
    with contextlib.suppress(OSError, ValueError):
        limit = int((group / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
        return [] if limit < 0 else [limit / int((group / "cpu.cfs_period_us").read_text(encoding="utf-8"))]
    return []


def crowded(ranks: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """Return host, number of ranks and number of cores where there are more ranks than cores."""
    found = []
    for host in dict.fromkeys(row["host"] for row in ranks):
        here = [row for row in ranks if row["host"] == host]
        usable = {core for row in here for core in expanded(row["cores"])}
        if len(here) > len(usable):
            found.append((host, len(here), len(usable)))
    return found


def short_list(numbers: Sequence[int]) -> str:
    """Return sorted whole numbers in short form: [0, 1, 2, 5] is ``0-2,5``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def expanded(text: str) -> list[int]:
    """The numbers of a short list."""
    bounds = [[int(bound) for bound in part.split("-")] for part in text.split(",") if part]
    return [number for bound in bounds for number in range(bound[0], bound[-1] + 1)]
