"""Choose and start the backend."""

import importlib
from collections.abc import Callable

import torch

from ptrain.comm.base import Communicator, RankInfo
from ptrain.comm.table import BACKENDS, order
from ptrain.errors import LaunchError


def create(name: str, info: RankInfo, device: torch.device, say: Callable[[str], None]) -> Communicator:
    """Start a backend by name, for auto the first of the table that starts, and tell through ``say`` which and why.

    Raises LaunchError with reason and fix where a backend that was asked for by name cannot start, and where auto
    finds none.
    """
    if name != "auto":
        return start(name, info, device)
    if info.size == 1:
        say("backend single: one rank")
        return start("single", info, device)
    reasons: list[str] = []
    for candidate in order(device.type):
        try:
            communicator = start(candidate, info, device)
        except LaunchError as error:
            reasons.append(str(error))
            continue
        why = f"the first that starts for {device.type}; " + "; ".join(reasons)
        say(f"backend {candidate}: {why if reasons else f'first choice for {device.type}'}")
        return communicator
    raise LaunchError(f"--backend auto: no backend starts for {info.size} ranks: " + "; ".join(reasons))


def start(name: str, info: RankInfo, device: torch.device) -> Communicator:
    """Start one backend by name. Raises LaunchError where it cannot."""
    if name not in BACKENDS:
        raise LaunchError(f"--backend {name}: expected auto, {', '.join(BACKENDS)}")
    # Imported here: each pulls in a library that the others do not need and that may be missing.
    module, _, communicator = BACKENDS[name].communicator.partition(".")
    started: Communicator = getattr(importlib.import_module(f"ptrain.comm.{module}"), communicator)(info, device)
    return started
