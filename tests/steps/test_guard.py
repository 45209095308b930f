"""Steps that the host does not look at one by one, as on a GPU: here on the CPU, with the same code."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import ptrain.steps.step as step_module
from ptrain import native
from ptrain.comm.single import SingleCommunicator
from ptrain.config import Config, ModelConfig, OptimizerConfig, TrainConfig
from ptrain.data.permutation import KeyedPermutation
from ptrain.data.plan import BatchPlan
from ptrain.errors import DivergedError
from ptrain.keys import derive_key
from ptrain.models.mlp import parameters_sha256
from ptrain.steps.exchange import Messages, Plan
from ptrain.steps.guard import Guard, clip_factor
from ptrain.steps.state import State
from ptrain.steps.step import TrainingStep
from tests.steps.test_step import CONFIGS, CPU, ONE, training

OPTIMIZERS = {
    "sgd": OptimizerConfig(weight_decay=0.01),
    "momentum": OptimizerConfig(optimizer="momentum", weight_decay=0.01),
    "nesterov": OptimizerConfig(optimizer="nesterov", clip_norm=0.2),
    "adam": OptimizerConfig(optimizer="adam", clip_norm=0.2, schedule="cosine"),
    "adamw": OptimizerConfig(optimizer="adamw", weight_decay=0.01),
}


def with_kernels(config: Config, kernels: str) -> Config:
    return replace(config, train=replace(config.train, kernels=kernels))  # type: ignore[arg-type]


def train(config: Config, look_every: int, threads: int = 1) -> tuple[str, State]:
    step, state, plan = training(config, look_every=look_every, threads=threads)
    for epoch in range(3):
        state.start_epoch()
        for index in range(plan.steps_per_epoch):
            assert step.run(epoch, index, plan.valid_rows(index)) is False
        assert step.look() is False
    step.close()
    return parameters_sha256(step.layout, state.parameters), state


def epoch(step: TrainingStep, plan: BatchPlan) -> None:
    for index in range(plan.steps_per_epoch):
        step.run(0, index, plan.valid_rows(index))


def assert_same_state(one: State, other: State) -> None:
    assert one.step == other.step
    assert torch.equal(one.parameters, other.parameters)
    for name, vector in one.optimizer.items():
        assert torch.equal(vector, other.optimizer[name]), name


@pytest.mark.parametrize("kernels", ["auto", "torch"])
@pytest.mark.parametrize("name", CONFIGS)
def test_how_often_the_host_looks_does_not_change_a_bit(
    name: str, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_kernels(CONFIGS[name], kernels)
    sha256, state = train(config, 1)
    for room in (step_module.WORKSPACE_LIMIT, 0):
        monkeypatch.setattr(step_module, "WORKSPACE_LIMIT", room)
        for every, threads in ((4, 1), (1000, 2)):
            other = train(config, every, threads)
            assert other[0] == sha256
            assert torch.equal(other[1].row_losses, state.row_losses)
            assert torch.equal(other[1].row_hits, state.row_hits)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_has_the_same_bits_under_a_guard(
    name: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(native, "instruction_set", lambda: None)
    config = Config(model=ModelConfig(hidden=(7,)), optimizer=OPTIMIZERS[name], train=TrainConfig(batch_size=16))
    config = with_kernels(config, "auto" if compiled else "torch")
    assert_same_state(train(config, 1)[1], train(config, 4)[1])


@pytest.mark.parametrize("kernels", ["auto", "torch", "none compiled"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_divergence_between_two_looks_leaves_the_state_before_it(
    name: str, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernels == "none compiled":
        monkeypatch.setattr(native, "instruction_set", lambda: None)
        kernels = "torch"
    config = Config(model=ModelConfig(hidden=(7,)), optimizer=OPTIMIZERS[name], train=TrainConfig(batch_size=5))
    config = with_kernels(config, kernels)
    order = KeyedPermutation(50, derive_key(0, "order", 0))(np.arange(50))
    bad = int(order[27])
    state, message = diverge(config, bad, (1, 4), CPU)
    assert message.startswith("step 5 (epoch 1), shard ")
    assert state.step == 5


def diverge(config: Config, bad: int, looks: tuple[int, int], device: torch.device) -> tuple[State, str]:
    """Diverge at the sample ``bad`` with a look every so many steps; check that both ways end alike, and return how."""
    states, messages = [], []
    for every in looks:
        step, state, plan = training(config, bad=bad, look_every=every, device=device)
        with pytest.raises(DivergedError) as caught:
            epoch(step, plan)
        step.close()
        states.append(state)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert states[0].parameters.isfinite().all()
    assert_same_state(*states)
    return states[0], messages[0]


@pytest.mark.parametrize("kernels", ["auto", "torch"])
def test_a_request_to_stop_is_seen_by_the_next_look(kernels: str) -> None:
    step, state, plan = training(with_kernels(CONFIGS["plain"], kernels), look_every=3)
    answers = [step.run(0, index, plan.valid_rows(index), stop=index == 1) for index in range(3)]
    assert answers == [False, False, True]
    assert [step.run(1, index, plan.valid_rows(index), stop=index == 0) for index in range(2)] == [False, False]
    assert step.look() is True
    assert step.look() is False
    assert [step.run(2, index, plan.valid_rows(index)) for index in range(3)] == [False, False, False]
    assert state.step == 8


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 1001, 3699, 3700])
def test_what_is_not_finite_is_found_once_and_for_all(place: int, bad: float) -> None:
    find(place, bad, CPU)


def find(place: int, bad: float, device: torch.device) -> None:
    """Exchange six steps of one shard; the third has a bad element in its gradient or, behind it, its loss."""
    guard = Guard(10, device)
    plan = Plan(owners=[range(1)], length=3700, num_rows=1, nodes=[((0, 1), 0)])
    looking = Messages(plan, SingleCommunicator(ONE), device, "ordered")
    guarded = Messages(plan, SingleCommunicator(ONE), device, "ordered", guard)
    for index in range(6):
        for exchange in (looking, guarded):
            exchange.workspace.fill_(-3e38)
            exchange.workspace[0, 3701] = index == 1
            if index == 2:
                exchange.workspace[0, place] = bad
        assert looking(1).finite is (index != 2)
        assert guarded(1).finite
        assert bool(guard.ok) is (index < 2)
        guard.places.append((7, index))
    assert guard.look() == ((7, 2), 2, True)


def test_a_clipped_gradient_has_the_bits_of_a_quotient_in_double_precision() -> None:
    for seed in range(200):
        gradient = torch.randn(50, generator=torch.Generator().manual_seed(seed)) * 10 ** (seed % 7 - 3)
        norm = torch.linalg.vector_norm(gradient).item()
        clip = 0.9 if seed % 2 else norm
        expected = gradient * (clip / norm) if norm > clip else gradient
        assert torch.equal(gradient * clip_factor(gradient, clip), expected)
    assert clip_factor(torch.zeros(3), 0.5) == 1
