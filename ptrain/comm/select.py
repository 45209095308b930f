"""Choose and start the backend."""

from collections.abc import Callable

import torch

from ptrain.comm.base import Communicator, RankInfo
from ptrain.errors import LaunchError

ORDER = {"cpu": ("mpi", "horovod", "torch"), "cuda": ("horovod", "torch")}
"""What ``auto`` tries on each type of device, in this order."""


def create(name: str, info: RankInfo, device: torch.device, say: Callable[[str], None]) -> Communicator:
    """Start the backend ``name`` (auto, single, mpi, horovod or torch) and tell through ``say`` what was taken and why.

    Raises LaunchError with reason and fix where a backend that was asked for by name cannot start, and where auto
    finds none.
    """
    if name != "auto":
        return start(name, info, device)
    if info.size == 1:
        say("backend single: one rank")
        return start("single", info, device)
    reasons: list[str] = []
    for candidate in ORDER[device.type]:
        try:
            communicator = start(candidate, info, device)
        except LaunchError as error:
            reasons.append(str(error))
            continue
        say(
            f"backend {candidate}: "
            + (
                f"the first that starts for {device.type}; " + "; ".join(reasons)
                if reasons
                else f"first choice for {device.type}"
            )
        )
        return communicator
    raise LaunchError(f"--backend auto: no backend starts for {info.size} ranks: " + "; ".join(reasons))


def start(name: str, info: RankInfo, device: torch.device) -> Communicator:
    """Start one backend by name. Raises LaunchError where it cannot."""
    # Imported here: each pulls in a library that the others do not need and that may be missing.
    if name == "single":
        from ptrain.comm.single import SingleCommunicator

        return SingleCommunicator(info)
    if name == "mpi":
        from ptrain.comm.mpi import MpiCommunicator

        return MpiCommunicator(info)
    if name == "horovod":
        from ptrain.comm.horovod import HorovodCommunicator

        return HorovodCommunicator(info, device)
    if name == "torch":
        from ptrain.comm.torch_dist import TorchCommunicator

        return TorchCommunicator(info, device)
    raise LaunchError(f"--backend {name}: expected auto, single, mpi, horovod or torch")
