"""Communication through Horovod (MPI, Gloo or NCCL, as it was built)."""

import os

import torch

from ptrain.comm.base import Communicator, Op, RankInfo, check_world
from ptrain.errors import LaunchError

# Horovod's background thread looks for work once in this many milliseconds (1 by default), and every exchange of a
# step waits for it. Two ranks, 473 kB: an all-to-all and an all-gather took 0.8 to 1.3 ms with 0.3 and 2.2 ms with 1;
# with 0.1 and less the threads took the cores from each other.
CYCLE_TIME = "0.3"
# Types that Horovod's torch interface does not add, and those that stand in for them.
ADDED_AS = {torch.uint8: torch.int64, torch.int8: torch.int64, torch.int16: torch.int64, torch.bfloat16: torch.float32}


class HorovodCommunicator(Communicator):
    """Horovod's world. Its average is never used.

    Every call names its tensor by operation, type and shape: Horovod then knows it from the step before. Raises
    LaunchError where Horovod is missing, lacks NCCL on a GPU, or sees another world than the launcher.
    """

    name = "horovod"

    def __init__(self, info: RankInfo, device: torch.device) -> None:
        try:
            import horovod.torch as hvd
        except ImportError as error:
            reason = " ".join(str(error).split())
            raise LaunchError(
                f"--backend horovod: Horovod does not start ({reason}); build it with scripts/build-horovod, or choose "
                "--backend mpi or torch"
            ) from None
        if device.type == "cuda" and not hvd.nccl_built():
            raise LaunchError(
                "--backend horovod: this Horovod was built without NCCL, which --device cuda needs; build it with "
                "scripts/build-horovod for GPU operations, or choose --backend torch"
            )
        os.environ.setdefault("HOROVOD_CYCLE_TIME", CYCLE_TIME)
        if device.type == "cuda":
            torch.cuda.set_device(device)
            # The default stream then waits for NCCL, and not this thread; ptrain's steps are on the default stream.
            os.environ.setdefault("HOROVOD_ENABLE_ASYNC_COMPLETION", "1")
        hvd.init()
        fix = "start the ranks with the mpirun of the MPI that Horovod was built with, or with horovodrun"
        try:
            check_world(info, self.name, hvd.rank(), hvd.size(), fix)
        except LaunchError:
            hvd.shutdown()
            raise
        self._hvd = hvd
        self._ops = {"sum": hvd.Sum, "min": hvd.Min, "max": hvd.Max}
        self.info = info

    def _all_reduce(self, tensor: torch.Tensor, op: Op) -> None:
        if tensor.dtype in ADDED_AS:
            tensor.copy_(self.all_reduce_(tensor.to(ADDED_AS[tensor.dtype]), op))
        else:
            self._hvd.allreduce_(tensor.view(-1), op=self._ops[op], name=_name(f"all_reduce.{op}", tensor))

    def _all_to_all(self, tensor: torch.Tensor, out: torch.Tensor) -> None:
        rows = _movable(tensor).view(self.info.size, -1)
        _movable(out).view(rows.shape).copy_(self._hvd.alltoall(rows, name=_name("all_to_all", tensor)))

    def _all_gather(self, tensor: torch.Tensor, out: torch.Tensor) -> None:
        row = _movable(tensor).view(1, -1)
        _movable(out).view(self.info.size, -1).copy_(self._hvd.allgather(row, name=_name("all_gather", tensor)))

    def _broadcast(self, tensor: torch.Tensor, root: int) -> None:
        self._hvd.broadcast_(_movable(tensor).view(-1), root, name=_name(f"broadcast.{root}", tensor))

    def barrier(self) -> None:
        """See Communicator."""
        self._hvd.barrier()

    def close(self) -> None:
        """See Communicator."""
        self._hvd.barrier()
        self._hvd.shutdown()


def _name(operation: str, tensor: torch.Tensor) -> str:
    return f"{operation}.{str(tensor.dtype)[6:]}.{'x'.join(map(str, tensor.shape))}"


def _movable(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory in a type that Horovod can move."""
    stand_in = {torch.bfloat16: torch.int16, torch.bool: torch.uint8}.get(tensor.dtype)
    return tensor if stand_in is None else tensor.view(stand_in)
