"""The update rules on the flat vector, and the course of the learning rate.

Every rule is written in elementwise operations that round once (no fused multiply-add), so that an update has the
same bits wherever a processor's vector loop ends and however the vector is shared out over threads.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from ptrain import native
from ptrain.config import OptimizerConfig

STATE_NAMES: dict[str, tuple[str, ...]] = {
    "sgd": (),
    "momentum": ("velocity",),
    "nesterov": ("velocity",),
    "adam": ("first_moment", "second_moment"),
    "adamw": ("first_moment", "second_moment"),
}
"""Vectors that each optimizer keeps, each as long as the flat parameters."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Equal slices of all the vectors that an update works on."""

    parameters: torch.Tensor
    gradient: torch.Tensor
    """Mean gradient of the step; used up by the update."""
    decay: torch.Tensor | None
    """weight_decay where a weight lies, 0 at biases; None without weight decay."""
    scratch: torch.Tensor
    state: dict[str, torch.Tensor] = field(default_factory=dict)


def update_(config: OptimizerConfig, learning_rate: float, step: int, part: Slice) -> None:
    """Apply one update in place. ``step`` counts from 0.

    momentum: v = μ v + g, p -= η v. nesterov: the same v, p -= η (g + μ v) (Sutskever et al., ICML 2013, in the form
    that evaluates the gradient at p). adam: Kingma and Ba, ICLR 2015. adamw: Loshchilov and Hutter, ICLR 2019.
    """
    p, g, scratch = part.parameters, part.gradient, part.scratch
    if part.decay is not None:
        torch.mul(p, part.decay, out=scratch)
        if config.optimizer == "adamw":
            p.sub_(scratch.mul_(learning_rate))
        else:
            g.add_(scratch)
    if config.optimizer == "sgd":
        p.sub_(torch.mul(g, learning_rate, out=scratch))
    elif config.optimizer in ("momentum", "nesterov"):
        velocity = part.state["velocity"]
        velocity.mul_(config.momentum).add_(g)
        if config.optimizer == "momentum":
            p.sub_(torch.mul(velocity, learning_rate, out=scratch))
        else:
            g.add_(torch.mul(velocity, config.momentum, out=scratch))
            p.sub_(g.mul_(learning_rate))
    else:
        first, second = part.state["first_moment"], part.state["second_moment"]
        first.mul_(config.beta1).add_(torch.mul(g, 1.0 - config.beta1, out=scratch))
        torch.mul(g, g, out=scratch)
        second.mul_(config.beta2).add_(scratch.mul_(1.0 - config.beta2))
        first_scale = 1.0 - config.beta1 ** (step + 1)
        second_scale = 1.0 - config.beta2 ** (step + 1)
        torch.div(second, second_scale, out=scratch)
        scratch.sqrt_().add_(config.epsilon)
        torch.div(first, scratch, out=scratch)
        p.sub_(scratch.mul_(learning_rate / first_scale))


class Update:
    """The update of a run's vectors, slice by slice, by the compiled kernel or by torch.

    Their bits differ for adam and adamw: torch's square root is not always the nearest number.

    parameters, the vectors of the optimizer's ``state`` and ``decay``: (length,); ``slices`` cut them. With ``ok``, a
    bool scalar on their device, an update changes nothing where it is false, and the host does not wait for it.
    """

    def __init__(
        self,
        config: OptimizerConfig,
        parameters: torch.Tensor,
        state: Mapping[str, torch.Tensor],
        decay: torch.Tensor | None,
        slices: Sequence[slice],
        *,
        compiled: bool,
        ok: torch.Tensor | None = None,
    ):
        self._config = config
        self._parameters, self._state, self._decay, self._slices = parameters, state, decay, slices
        self._compiled = compiled
        self._scratch, self._own = (
            torch.empty(0) if compiled else torch.zeros_like(parameters) for _ in ("scratch", "gradient")
        )
        self._ok = torch.empty(0) if ok is None else ok
        # With what each was before the update.
        self._kept = [] if ok is None else [(v, torch.empty_like(v)) for v in (parameters, *state.values())]
        self._calls: dict[tuple[int, int], native.Call] = {}

    def __call__(
        self, index: int, gradient: torch.Tensor, factor: float | torch.Tensor, rate: float, step: int
    ) -> None:
        """Update slice ``index`` with ``factor`` times the mean gradient (length,), which is left as it is."""
        part = self._slices[index]
        for vector, kept in self._kept:
            kept[part].copy_(vector[part])
        self._apply(index, gradient, factor, rate, step)
        for vector, kept in self._kept:
            torch.where(self._ok, vector[part], kept[part], out=vector[part])

    def _apply(self, index: int, gradient: torch.Tensor, factor: float | torch.Tensor, rate: float, step: int) -> None:
        if self._compiled:
            key = (index, native.address(gradient))
            if key not in self._calls:
                self._calls[key] = self.bind(index, gradient)
            self.aim([self._calls[key]], float(factor), rate, step)
            self._calls[key]()
            return
        part = self._slices[index]
        own = torch.mul(gradient[part], factor, out=self._own[part])
        vectors = Slice(
            parameters=self._parameters[part],
            gradient=own,
            decay=None if self._decay is None else self._decay[part],
            scratch=self._scratch[part],
            state={name: vector[part] for name, vector in self._state.items()},
        )
        update_(self._config, rate, step, vectors)

    def bind(self, index: int, gradient: torch.Tensor, flags: NDArray[np.int32] | None = None) -> native.Call:
        """Return the compiled update of slice ``index``; ``aim`` comes before it. It does nothing where a flag is 0."""
        config, part = self._config, self._slices[index]
        numbers = {name: getattr(config, name) for name in ("momentum", "beta1", "beta2", "epsilon")}
        moments = [vector[part] for vector in self._state.values()]
        decay = None if self._decay is None else self._decay[part]
        parameters, own = self._parameters[part], gradient[part]
        return native.update(config.optimizer, parameters, own, decay, moments, numbers, flags)

    def aim(self, calls: Sequence[native.Call], factor: float, rate: float, step: int) -> None:
        """Let bound updates be those of this step."""
        scaled, second_scale = _scaled(self._config, rate, step)
        for call in calls:
            native.set_update(call, factor, scaled, rate, second_scale)


def _scaled(config: OptimizerConfig, rate: float, step: int) -> tuple[float, float]:
    """Return the rate with adam's correction of the first moment, and the scale that corrects the second."""
    if config.optimizer not in ("adam", "adamw"):
        return rate, 1.0
    return rate / (1.0 - config.beta1 ** (step + 1)), 1.0 - config.beta2 ** (step + 1)


def learning_rate(config: OptimizerConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the learning rate of global step ``step`` (from 0) under the configured schedule and warm-up."""
    warmup = round(config.warmup_epochs * steps_per_epoch)
    rate = config.learning_rate
    if config.schedule == "step":
        rate *= config.step_factor ** (step // (config.step_epochs * steps_per_epoch))
    elif config.schedule == "cosine":
        total = max(1, epochs * steps_per_epoch - warmup)
        rate *= 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0, step - warmup) / total)))
    if step < warmup:
        rate *= (step + 1) / warmup
    return rate
