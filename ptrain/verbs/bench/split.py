"""Where the time of a step goes, from what the steps of all ranks kept of it."""

from collections.abc import Callable, Sequence
from statistics import fmean

import torch

from ptrain.steps.base import Times

PARTS = ("gather", "compute", "exchange", "waiting", "update")
"""Parts of a step; waiting, for slower ranks, is a part of the exchange."""


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
