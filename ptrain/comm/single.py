"""One process: every collective operation is the identity."""

import torch

from ptrain.comm.base import Communicator, Op, RankInfo, check_world


class SingleCommunicator(Communicator):
    """The communicator of a job of one rank. Raises LaunchError under a launcher that started more."""

    name = "single"

    def __init__(self, info: RankInfo, device: torch.device | None = None) -> None:
        check_world(info, self.name, 0, 1, "choose --backend auto, mpi, horovod or torch, or start one rank")
        self.info = info

    def _all_reduce(self, tensor: torch.Tensor, op: Op) -> None:
        pass

    def _all_to_all(self, tensor: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(tensor)

    def _all_gather(self, tensor: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(tensor.unsqueeze(0))

    def _broadcast(self, tensor: torch.Tensor, root: int) -> None:
        pass

    def barrier(self) -> None:
        """See Communicator."""

    def close(self) -> None:
        """See Communicator."""
