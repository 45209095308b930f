"""Steps that the host does not wait for one by one, as on a GPU: here on the CPU, with the same code."""

import pytest
import torch

from ptrain.optimizers.update import clip_factor
from ptrain.steps.device import Guard
from ptrain.steps.exchange import Exchange
from ptrain.sums.tree import plan_local_sum
from tests.steps.work import CONFIGS, CPU, ONE, plan_of, step_of, with_kernels, with_step, work_of


def test_a_request_to_stop_is_seen_by_the_next_synchronisation() -> None:
    work = work_of(with_kernels(with_step(CONFIGS["plain"], "device", 3), "torch"))
    step, plan = step_of(work), plan_of(work.config)
    answers = [step.run(0, index, plan.valid_rows(index), stop=index == 1) for index in range(3)]
    assert answers == [False, False, True]
    assert [step.run(1, index, plan.valid_rows(index), stop=index == 0) for index in range(2)] == [False, False]
    assert step.synchronise() is True
    assert step.synchronise() is False
    assert [step.run(2, index, plan.valid_rows(index)) for index in range(3)] == [False, False, False]
    assert work.state.step == 8


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("position", [0, 1001, 3699, 3700])
def test_what_is_not_finite_is_found_once_and_for_all(position: int, bad: float) -> None:
    find(position, bad, CPU)


def find(position: int, bad: float, device: torch.device) -> None:
    """Let one element, the last of them the loss, be bad in the third of four steps."""
    length = 3700
    local = plan_local_sum(1, [[range(1)]])
    exchange, guard = Exchange(ONE, [range(1)], local, length, device, "ordered"), Guard(device)
    for index in range(4):
        exchange.workspace.fill_(-3e38)
        if index == 2:
            exchange.workspace[0, position] = bad
        zero, stops = exchange(1, index == 3)
        assert (zero.item() == 0.0) is (index != 2)
        guard.judge(zero, stops)
        assert bool(guard.ok) is (index < 2)
    assert guard.read() == (2, True)


def test_a_clipped_gradient_has_the_bits_of_a_quotient_in_double_precision() -> None:
    for seed in range(200):
        gradient = torch.randn(50, generator=torch.Generator().manual_seed(seed)) * 10 ** (seed % 7 - 3)
        norm = torch.linalg.vector_norm(gradient).item()
        clip = 0.9 if seed % 2 else norm
        expected = gradient * (clip / norm) if norm > clip else gradient
        assert torch.equal(gradient * clip_factor(gradient, clip), expected)
    assert clip_factor(torch.zeros(3), 0.5) == 1
