"""The losses: a value a row, and the gradient for the network's output, on preallocated buffers."""

from collections.abc import Callable

import torch

from ptrain.models.buffers import ShardBuffer

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, ShardBuffer], None]
"""(outputs, labels, weights, row_losses, grad): fills row_losses and grad.

outputs: (shards, rows, classes); labels: int64 (shards, rows); weights: (shards, rows), 0 for a padding row;
row_losses: (shards, rows); grad: a buffer like outputs, receives the derivative of the sum of row_losses.
"""


def cross_entropy_(
    outputs: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, row_losses: torch.Tensor, grad: ShardBuffer
) -> None:
    """Weighted negative log-likelihood of the softmax, w (log Σ exp(z) - z_label).

    Its derivative is w (softmax - one-hot) (Bishop, Pattern Recognition and Machine Learning, eq. 4.109).
    """
    index = labels.unsqueeze(-1)
    # Not with out=: torch 2.13 writes into a buffer with padding between shards as if it were dense.
    grad.view.copy_(torch.log_softmax(outputs, -1))
    torch.mul(torch.gather(grad.view, -1, index).squeeze(-1), weights, out=row_losses)
    row_losses.neg_()
    grad.flat.exp_()
    _subtract_one_hot_(grad.view, index)
    grad.view.mul_(weights.unsqueeze(-1))


def mse_(
    outputs: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, row_losses: torch.Tensor, grad: ShardBuffer
) -> None:
    """Weighted sum over classes of (output - one-hot)²; its derivative is 2 w (output - one-hot)."""
    grad.view.copy_(outputs)
    _subtract_one_hot_(grad.view, labels.unsqueeze(-1))
    squared_error_(grad.view, weights, row_losses)


def squared_error_(difference: torch.Tensor, weights: torch.Tensor, row_losses: torch.Tensor) -> None:
    """Fill row_losses with w Σ d² and turn ``difference`` d: (shards, rows, outputs) into the derivative 2 w d."""
    torch.mul(difference.square().sum(-1), weights, out=row_losses)
    difference.mul_(2.0).mul_(weights.unsqueeze(-1))


def _subtract_one_hot_(grad: torch.Tensor, index: torch.Tensor) -> None:
    grad.scatter_(-1, index, torch.gather(grad, -1, index).sub_(1.0))


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy_, "mse": mse_}


def probabilities(outputs: torch.Tensor, loss: str) -> torch.Tensor:
    """Class probabilities of a network's outputs: (rows, classes), each row sums to 1.

    The softmax for cross_entropy. Outputs trained towards one-hot targets with mse estimate the probabilities
    themselves (Bishop, Pattern Recognition and Machine Learning, section 1.5.5), but may be below 0 and need not sum to
    1. So it is the nearest probabilities, max(z - t, 0) with the t that makes their sum 1 (Duchi et al. 2008, Efficient
    projections onto the l1-ball): in the order of the outputs, so that they fit the decision, and nearer to any target.
    """
    values = outputs.double()
    if loss == "cross_entropy":
        return torch.softmax(values, -1)
    below = values - values.amax(-1, keepdim=True)  # or large outputs would lose what they differ by
    ordered = below.sort(-1, descending=True).values
    thresholds = (ordered.cumsum(-1) - 1) / torch.arange(1, outputs.shape[-1] + 1, device=outputs.device)
    num_positive = (ordered > thresholds).sum(-1, keepdim=True).clamp(min=1)
    return (below - thresholds.gather(-1, num_positive - 1)).clamp(min=0)
