"""The update rules against torch.optim, and the schedules against their formulas."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch

from ptrain.config import OptimizerConfig
from ptrain.optimizers.base import Vectors
from ptrain.optimizers.rules import OPTIMIZERS, update_
from ptrain.optimizers.schedules import learning_rate

Reference = Callable[[list[torch.Tensor]], torch.optim.Optimizer]
REFERENCES: dict[str, Reference] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.01),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_ten_updates_are_those_of_torch(name: str) -> None:
    config = OptimizerConfig(optimizer=name, lr=0.1, weight_decay=0.01)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(50, generator=generator)
    ours, theirs = start.clone(), start.clone().requires_grad_()
    reference = REFERENCES[name]([theirs])
    state = {key: torch.zeros(50) for key in OPTIMIZERS[name].state}
    for step in range(10):
        gradient = torch.randn(50, generator=generator)
        theirs.grad = gradient.clone()
        reference.step()
        part = Vectors(
            parameters=ours,
            gradient=gradient,
            decay=torch.full((50,), 0.01),
            scratch=torch.zeros(50),
            state=state,
        )
        update_(config, 0.1, step, part)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", REFERENCES)
def test_an_update_in_slices_has_the_same_bits(name: str) -> None:
    config = OptimizerConfig(optimizer=name, lr=0.03, weight_decay=0.2)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    length = 1000
    vectors = {key: torch.rand(length, generator=generator) for key in ("p", "g", *OPTIMIZERS[name].state)}
    results = []
    for cuts in ([0, length], [0, 16, 496, length], [0, 7, 333, 334, length]):
        copies = {key: vector.clone() for key, vector in vectors.items()}
        decay, scratch = torch.full((length,), 0.2), torch.zeros(length)
        for start, stop in itertools.pairwise(cuts):
            cut = slice(start, stop)
            part = Vectors(
                parameters=copies["p"][cut],
                gradient=copies["g"][cut],
                decay=decay[cut],
                scratch=scratch[cut],
                state={key: copies[key][cut] for key in OPTIMIZERS[name].state},
            )
            update_(config, 0.03, 4, part)
        results.append(torch.cat([copies[key] for key in ("p", *OPTIMIZERS[name].state)]))
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_constant_schedule_with_warm_up() -> None:
    config = OptimizerConfig(lr=1.0, warmup_epochs=0.5)
    assert [learning_rate(config, step, 8, 2) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_step_schedule() -> None:
    config = OptimizerConfig(lr=1.0, schedule="step", step_epochs=2, step_factor=0.5)
    assert [learning_rate(config, step, 3, 6) for step in (0, 5, 6, 11, 12)] == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_cosine_schedule_falls_from_the_rate_to_nearly_zero() -> None:
    config = OptimizerConfig(lr=2.0, schedule="cosine", warmup_epochs=1)
    rates = [learning_rate(config, step, 10, 5) for step in range(50)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[30] == pytest.approx(2.0 * 0.5)
    assert rates[49] == pytest.approx(1.0 + math.cos(math.pi * 39 / 40))
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.1), ("nesterov", 0.01), ("adamw", 0.001)])
def test_the_default_rate_is_the_optimizers(optimizer: str, rate: float) -> None:
    assert OptimizerConfig(optimizer=optimizer).learning_rate == rate  # type: ignore[arg-type]
