"""The activation functions and their derivatives, in place on preallocated buffers."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

aten = torch.ops.aten


@dataclass(frozen=True, kw_only=True)
class Function:
    """One activation. All tensors have one shape; nothing is allocated."""

    forward_: Callable[[torch.Tensor, torch.Tensor], object]
    """(z, out): out = f(z). ``out`` may be z itself unless ``needs_input``."""
    backward_: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], object]
    """(grad, z, h): grad *= f'(z), where h = f(z)."""
    is_identity: bool = False
    needs_input: bool = False
    """Whether the derivative needs z, so that it must be kept besides h."""


def _copy(z: torch.Tensor, out: torch.Tensor) -> None:
    if z is not out:
        out.copy_(z)


def leaky_relu(alpha: float = 0.01) -> Function:
    """Make z above 0, alpha z below (Maas et al., ICML workshop 2013)."""
    return Function(
        forward_=lambda z, out: aten.leaky_relu.out(z, alpha, out=out),
        backward_=lambda grad, z, h: aten.leaky_relu_backward.grad_input(grad, h, alpha, True, grad_input=grad),
    )


def elu(alpha: float = 1.0) -> Function:
    """Make z above 0, alpha (exp(z) - 1) below (Clevert et al., ICLR 2016)."""
    return Function(
        forward_=lambda z, out: aten.elu.out(z, alpha, 1.0, 1.0, out=out),
        backward_=lambda grad, z, h: aten.elu_backward.grad_input(grad, alpha, 1.0, 1.0, True, h, grad_input=grad),
    )


WITH_ALPHA: dict[str, Callable[[float], Function]] = {"leaky_relu": leaky_relu, "elu": elu}
ACTIVATIONS: dict[str, Function] = {
    "identity": Function(forward_=_copy, backward_=lambda grad, z, h: None, is_identity=True),
    # 1 / (1 + exp(-z))
    "sigmoid": Function(
        forward_=lambda z, out: torch.sigmoid(z, out=out),
        backward_=lambda grad, z, h: aten.sigmoid_backward.grad_input(grad, h, grad_input=grad),
    ),
    "tanh": Function(
        forward_=lambda z, out: torch.tanh(z, out=out),
        backward_=lambda grad, z, h: aten.tanh_backward.grad_input(grad, h, grad_input=grad),
    ),
    # max(z, 0)
    "relu": Function(
        forward_=lambda z, out: torch.clamp_min(z, 0.0, out=out),
        backward_=lambda grad, z, h: aten.threshold_backward.grad_input(grad, h, 0.0, grad_input=grad),
    ),
    # log(1 + exp(z)), linear above 20 where float32 cannot tell the difference
    "softplus": Function(
        forward_=lambda z, out: aten.softplus.out(z, 1.0, 20.0, out=out),
        backward_=lambda grad, z, h: aten.softplus_backward.grad_input(grad, z, 1.0, 20.0, grad_input=grad),
        needs_input=True,
    ),
    "leaky_relu": leaky_relu(),
    "elu": elu(),
    # z times the standard normal distribution function at z (Hendrycks and Gimpel, arXiv:1606.08415)
    "gelu": Function(
        forward_=lambda z, out: aten.gelu.out(z, approximate="none", out=out),
        backward_=lambda grad, z, h: aten.gelu_backward.grad_input(grad, z, approximate="none", grad_input=grad),
        needs_input=True,
    ),
}


def activation(name: str, alpha: float | None) -> Function:
    """The activation of this name, with ``alpha`` in place of its own where it has one and a number is given."""
    return ACTIVATIONS[name] if alpha is None or name not in WITH_ALPHA else WITH_ALPHA[name](alpha)
