"""What the host must know of a step, kept on the device, so that it need not ask at every step."""

import torch

EVERY = 32
"""Steps on a GPU after which the host looks. A request to stop or a divergence is seen at most so much later."""


class Guard:
    """Counts good steps and requests to stop since the last look, on the device of the gradient.

    From the first step on whose loss or gradient is not finite, ``ok`` is false: updates are then to change nothing.
    """

    def __init__(self, every: int, device: torch.device):
        self.every = every
        self.ok = torch.ones((), dtype=torch.bool, device=device)
        self.places: list[tuple[int, int]] = []
        """Epoch and step of every step since the last look."""
        # Good steps, and ranks that asked to stop, counted again in each step.
        self._counts = torch.zeros(2, dtype=torch.float64, device=device)
        self._good, self._stops = self._counts
        self._zero = torch.zeros((), device=device)

    def judge(self, zero: torch.Tensor, stops: torch.Tensor) -> None:
        """Take note of a step. zero: not a number where the step is bad, else 0; stops: how many ranks ask to stop."""
        self._zero.add_(zero)
        torch.eq(self._zero, 0.0, out=self.ok)
        self._good.add_(self.ok)
        self._stops.add_(stops)

    def look(self) -> tuple[tuple[int, int] | None, int, bool]:
        """Wait for the device; return the place of the first bad step or None, the good steps before it, and stops.

        All of it since the last look; the same on every rank that looks after the same step.
        """
        if not self.places:
            return None, 0, False
        good, stops = self._counts.tolist()
        self._counts.zero_()
        places, self.places = self.places, []
        return (places[int(good)] if good < len(places) else None), int(good), stops > 0


def clip_factor(gradient: torch.Tensor, clip_norm: float) -> torch.Tensor:
    """Return what a gradient (length,) longer than ``clip_norm`` is to be multiplied with, else 1: a float32 scalar."""
    norm = torch.linalg.vector_norm(gradient).double()
    # A number divided by a tensor would be the tensor's rounded reciprocal times the number.
    return torch.full_like(norm, clip_norm).div_(norm).clamp_max_(1.0).float()
