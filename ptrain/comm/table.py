"""The backends: a new one is a file in this folder and a row here. Imports nothing, so that everybody can read it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Backend:
    """What carries tensors between ranks, and where it is found."""

    communicator: str
    """Module of this folder and its class, as ``mpi.MpiCommunicator``: imported only where it is started."""
    package: str = ""
    """What must be installed besides torch's own; empty for one rank, which needs nothing."""
    devices: tuple[str, ...] = ()
    """Types of devices for which auto tries it, in the order of the table."""


BACKENDS = {
    "single": Backend(communicator="single.SingleCommunicator"),
    "mpi": Backend(communicator="mpi.MpiCommunicator", package="mpi4py", devices=("cpu",)),
    "horovod": Backend(communicator="horovod.HorovodCommunicator", package="horovod", devices=("cpu", "cuda")),
    "torch": Backend(communicator="torch_dist.TorchCommunicator", package="torch", devices=("cpu", "cuda")),
}
SEVERAL = {name: backend for name, backend in BACKENDS.items() if backend.package}
"""Those of several ranks."""


def order(device: str) -> list[str]:
    """Names of what auto tries for a type of device, best first.

    MPI's sums are the fastest between CPUs; between GPUs it would copy through the host, where NCCL does not.
    """
    return [name for name, backend in BACKENDS.items() if device in backend.devices]
