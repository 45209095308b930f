"""Host memory that is filled and copied to a device while the device still computes."""

from collections.abc import Sequence

import torch

SLOTS = 4
"""Copies of the host memory for a device: so many steps may be on their way before the host waits."""


class Upload:
    """Fills tensors of a device from the host, without waiting for the device.

    For a GPU the host fills pinned memory, never one whose last copy is still to come. On the CPU it fills the tensors
    themselves, which nobody reads in the meantime.
    """

    def __init__(self, tensors: Sequence[torch.Tensor]):
        self._tensors = tensors
        self._slots = [list(tensors)]
        self._copied: list[torch.cuda.Event] = []
        self._slot = 0
        if not tensors[0].is_cpu:
            self._slots = [[_host(tensor) for tensor in tensors] for _ in range(SLOTS)]
        if tensors[0].is_cuda:
            self._copied = [torch.cuda.Event() for _ in range(SLOTS)]  # type: ignore[no-untyped-call]

    def fill(self) -> list[torch.Tensor]:
        """Return the memory to fill, of the shapes of the tensors; it holds what it was filled with some time ago."""
        self._slot = (self._slot + 1) % len(self._slots)
        if self._copied:
            self._copied[self._slot].synchronize()
        return self._slots[self._slot]

    def send(self) -> None:
        """Copy what was filled to the device, in the order of its other work."""
        if len(self._slots) > 1:
            for tensor, host in zip(self._tensors, self._slots[self._slot], strict=True):
                tensor.copy_(host, non_blocking=True)
        if self._copied:
            self._copied[self._slot].record()


def _host(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
