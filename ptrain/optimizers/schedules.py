"""The course of the learning rate."""

import math
from collections.abc import Callable

from ptrain.config import OptimizerConfig


def _step(config: OptimizerConfig, step: int, steps_per_epoch: int, total: int) -> float:
    return float(config.step_factor ** (step // (config.step_epochs * steps_per_epoch)))


def _cosine(config: OptimizerConfig, step: int, steps_per_epoch: int, total: int) -> float:
    warmup = _warmup(config, steps_per_epoch)
    course = min(1.0, max(0, step - warmup) / max(1, total - warmup))
    return 0.5 * (1.0 + math.cos(math.pi * course))


def _warmup(config: OptimizerConfig, steps_per_epoch: int) -> int:
    return round(config.warmup_epochs * steps_per_epoch)


SCHEDULES: dict[str, Callable[[OptimizerConfig, int, int, int], float]] = {
    "constant": lambda config, step, steps_per_epoch, total: 1.0,
    "step": _step,
    "cosine": _cosine,
}
"""(config, step, steps an epoch, steps in all) -> the share of the base rate, behind the warm-up."""


def learning_rate(config: OptimizerConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of global step ``step`` (from 0) under the configured schedule and warm-up."""
    rate = config.learning_rate * SCHEDULES[config.schedule](config, step, steps_per_epoch, epochs * steps_per_epoch)
    warmup = _warmup(config, steps_per_epoch)
    return rate * ((step + 1) / warmup) if step < warmup else rate
