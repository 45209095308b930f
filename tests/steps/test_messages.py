"""What a step does, seen on one rank; that all strategies do the same: test_conformance.py."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ptrain.config import Config, ModelConfig, OptimizerConfig, TrainConfig
from ptrain.errors import ConfigError, DivergedError
from tests.steps.work import CONFIGS, samples, step_of, train, with_kernels, with_step, work_of


@pytest.mark.parametrize("batch_size", [1, 10, "all"])
def test_pattern_mini_batch_and_batch_training_each_lower_the_loss(batch_size: int) -> None:
    config = Config(
        model=ModelConfig(hidden=(8,)),
        optimizer=OptimizerConfig(optimizer="sgd", lr=0.05),
        train=TrainConfig(batch_size=batch_size),
    )
    losses = []
    for epochs in (1, 30):
        work = work_of(config)
        losses.append(train(step_of(work), work, epochs).row_losses.sum())
    assert losses[1] < 0.7 * losses[0]


def test_the_gradient_is_the_mean_over_the_global_batch() -> None:
    """One batch step of plain gradient descent against autograd on all samples at once."""
    train = TrainConfig(batch_size="all", shards=7)
    work = work_of(Config(model=ModelConfig(hidden=(6,)), optimizer=OptimizerConfig(optimizer="sgd"), train=train))
    step = step_of(work)
    leaf = work.state.parameters.clone().requires_grad_()
    views = work.model.layout.views(leaf)
    split = samples()
    x = torch.from_numpy(np.asarray(split.samples.features, dtype=np.float32))
    hidden = torch.relu(x @ views["layers.0.weight"] + views["layers.0.bias"])
    outputs = hidden @ views["layers.1.weight"] + views["layers.1.bias"]
    labels = torch.from_numpy(split.samples.labels.astype(np.int64))
    torch.nn.functional.cross_entropy(outputs, labels).backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    expected = (leaf - 0.1 * leaf.grad).detach()
    step.run(0, 0, 50)
    torch.testing.assert_close(work.state.parameters, expected, rtol=1e-5, atol=1e-6)


def test_clipping_limits_the_length_of_the_update() -> None:
    config = Config(
        model=ModelConfig(hidden=(6,)),
        optimizer=OptimizerConfig(optimizer="sgd", lr=1.0, clip_norm=0.01),
        train=TrainConfig(batch_size="all"),
    )
    work = work_of(config)
    step = step_of(work)
    before = work.state.parameters.clone()
    step.run(0, 0, 50)
    assert (work.state.parameters - before).norm().item() == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("name", ["slices", "messages"])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_divergence_names_step_and_shard_and_keeps_the_parameters(where: str, name: str) -> None:
    work = work_of(with_step(CONFIGS["plain"], name))
    step, state = step_of(work), work.state
    step.run(0, 0, 16)
    if where == "loss":
        state.parameters.fill_(float("inf"))
    else:
        # finite outputs, but a product in the backward pass overflows
        views = work.model.layout.views(state.parameters)
        views["layers.0.weight"].fill_(1e30)
        views["layers.1.weight"].fill_(1e10)
    before = state.parameters.clone()
    with pytest.raises(DivergedError, match=r"step 1 \(epoch 1\), shard \d: its (loss|gradient) is not finite"):
        step.run(0, 1, 16)
    assert torch.equal(state.parameters, before)
    assert state.step == 1


@pytest.mark.parametrize("name", ["slices", "messages", "device"])
def test_the_parts_of_a_measured_step_are_kept(name: str) -> None:
    work = work_of(with_kernels(with_step(CONFIGS["plain"], name), "torch" if name == "device" else "native"))
    step = step_of(work)
    step.run(0, 0, 16)
    times = step.measure()
    for index in range(3):
        step.run(0, index + 1, 16)
    step.close()
    assert [len(part) for part in (times.gather, times.compute, times.exchange, times.step)] == [3] * 4
    for parts in zip(times.gather, times.compute, times.exchange, times.step, strict=True):
        assert all(seconds >= 0 for seconds in parts)
        assert sum(parts[:3]) <= parts[3]


@pytest.mark.parametrize(
    ("name", "train", "message"),
    [
        ("slices", {"kernels": "torch"}, "--step slices: the kernels are torch's, expected --kernels native"),
        ("slices", {"reduction": "allreduce"}, "--step slices: reduction is allreduce, expected ordered"),
        ("device", {"kernels": "native"}, "--step device: the kernels are native's, expected --kernels torch"),
    ],
)
def test_a_strategy_that_cannot_be_had_is_an_error_with_the_reason(
    name: str, train: dict[str, Any], message: str
) -> None:
    config = with_step(replace(CONFIGS["plain"], train=replace(CONFIGS["plain"].train, **train)), name)
    with pytest.raises(ConfigError) as caught:
        step_of(work_of(config))
    assert str(caught.value).startswith(message)
    assert caught.value.agreed
