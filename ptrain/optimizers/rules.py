"""The update rules, and the table of them."""

import torch

from ptrain.config import OptimizerConfig
from ptrain.optimizers.base import Optimizer, Vectors


def _sgd(config: OptimizerConfig, rate: float, step: int, part: Vectors) -> None:
    part.parameters.sub_(torch.mul(part.gradient, rate, out=part.scratch))


def _momentum(config: OptimizerConfig, rate: float, step: int, part: Vectors) -> None:
    """V = μ v + g, p -= η v."""
    velocity = part.state["velocity"]
    velocity.mul_(config.momentum).add_(part.gradient)
    part.parameters.sub_(torch.mul(velocity, rate, out=part.scratch))


def _nesterov(config: OptimizerConfig, rate: float, step: int, part: Vectors) -> None:
    """The same v, p -= η (g + μ v): Sutskever et al., ICML 2013, in the form that evaluates the gradient at p."""
    velocity, gradient = part.state["velocity"], part.gradient
    velocity.mul_(config.momentum).add_(gradient)
    gradient.add_(torch.mul(velocity, config.momentum, out=part.scratch))
    part.parameters.sub_(gradient.mul_(rate))


def _adam(config: OptimizerConfig, rate: float, step: int, part: Vectors) -> None:
    """Kingma and Ba, ICLR 2015; with decoupled weight decay Loshchilov and Hutter, ICLR 2019."""
    gradient, scratch = part.gradient, part.scratch
    first, second = part.state["first_moment"], part.state["second_moment"]
    first.mul_(config.beta1).add_(torch.mul(gradient, 1.0 - config.beta1, out=scratch))
    torch.mul(gradient, gradient, out=scratch)
    second.mul_(config.beta2).add_(scratch.mul_(1.0 - config.beta2))
    scaled, second_scale = corrected(config, rate, step)
    torch.div(second, second_scale, out=scratch)
    scratch.sqrt_().add_(config.epsilon)
    torch.div(first, scratch, out=scratch)
    part.parameters.sub_(scratch.mul_(scaled))


_MOMENTS = ("first_moment", "second_moment")
OPTIMIZERS = {
    "sgd": Optimizer(apply_=_sgd),
    "momentum": Optimizer(apply_=_momentum, state=("velocity",)),
    "nesterov": Optimizer(apply_=_nesterov, state=("velocity",)),
    "adam": Optimizer(apply_=_adam, state=_MOMENTS, corrects_bias=True),
    "adamw": Optimizer(apply_=_adam, state=_MOMENTS, corrects_bias=True, is_decoupled=True),
}
"""Every update rule by its name."""


def corrected(config: OptimizerConfig, rate: float, step: int) -> tuple[float, float]:
    """Correct for the moments' start at 0: the rate over the first one's scale, and the second one's scale."""
    if not OPTIMIZERS[config.optimizer].corrects_bias:
        return rate, 1.0
    return rate / (1.0 - config.beta1 ** (step + 1)), 1.0 - config.beta2 ** (step + 1)


def update_(config: OptimizerConfig, rate: float, step: int, part: Vectors) -> None:
    """Apply one update in place, weight decay included. ``step`` counts from 0."""
    rule = OPTIMIZERS[config.optimizer]
    if part.decay is not None:
        torch.mul(part.parameters, part.decay, out=part.scratch)
        if rule.is_decoupled:
            part.parameters.sub_(part.scratch.mul_(rate))
        else:
            part.gradient.add_(part.scratch)
    rule.apply_(config, rate, step, part)
