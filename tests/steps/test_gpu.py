"""Training and evaluation on a CUDA GPU; deselected where there is none."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import ptrain.data.gather as gather_module
import ptrain.steps.step as step_module
from ptrain.config import Config, ModelConfig, TrainConfig, build
from ptrain.models.mlp import parameters_sha256
from ptrain.native.upload import SLOTS, Upload
from ptrain.run.train import train
from ptrain.steps.graph import _in_turn, recorded
from ptrain.steps.state import State
from tests.steps.test_guard import OPTIMIZERS, diverge, epoch, find
from tests.steps.test_step import CONFIGS, training

pytestmark = pytest.mark.gpu

GPU = torch.device("cuda", 0)


def evaluation(run_dir: Path, **values: object) -> dict[str, Any]:
    train(build({"run_dir": str(run_dir), "device": "cuda", "report": False, **values}))
    content: dict[str, Any] = json.loads((run_dir / "evaluation.json").read_text())
    return content


def trained(config: Config, look_every: int | None = None) -> tuple[str, State]:
    step, state, plan = training(config, look_every=look_every, device=GPU)
    for number in range(3):
        state.start_epoch()
        for index in range(plan.steps_per_epoch):
            step.run(number, index, plan.valid_rows(index))
        step.look()
    step.close()
    return parameters_sha256(step.layout, state.parameters), state


def test_the_digits_are_learned(tmp_path: Path) -> None:
    assert evaluation(tmp_path / "run")["overall_accuracy"] > 0.94


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_runs_have_the_same_bits_with_any_number_of_threads(tmp_path: Path, precision: str) -> None:
    values = {"epochs": 2, "precision": precision, "dropout": 0.1, "class_weights": "balanced"}
    one = evaluation(tmp_path / "one", **values, threads=1)
    other = evaluation(tmp_path / "other", **values, threads=4)
    assert one == other


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_graph_has_the_bits_of_the_operations_done_one_by_one(
    name: str, resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather_module, "_fits", lambda samples, device: resident)
    sha256, state = trained(CONFIGS[name])
    monkeypatch.setattr(step_module, "recorded", lambda stages, device: partial(_in_turn, stages))
    other_sha256, other = trained(CONFIGS[name])
    assert sha256 == other_sha256
    assert torch.equal(state.row_losses, other.row_losses)
    assert torch.equal(state.row_hits, other.row_hits)


def test_what_a_graph_adds_up_starts_at_zero() -> None:
    """To record it the operations are done once, with no sample in any row."""
    _, state, _ = training(CONFIGS["plain"], device=GPU)
    assert not state.row_losses.any()
    assert not state.row_hits.any()


@pytest.mark.parametrize("name", ["plain", "bf16"])
def test_how_often_the_host_looks_and_how_many_shards_fit_does_not_change_a_bit(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256, _ = trained(CONFIGS[name])
    assert trained(CONFIGS[name], look_every=1)[0] == sha256
    monkeypatch.setattr(step_module, "WORKSPACE_LIMIT", 0)
    assert trained(CONFIGS[name], look_every=4)[0] == sha256


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_host_does_not_wait_for_a_step(optimizer: str, resident: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather_module, "_fits", lambda samples, device: resident)
    config = Config(
        model=ModelConfig(hidden=(7, 5), dropout=0.2),
        optimizer=OPTIMIZERS[optimizer],
        train=TrainConfig(batch_size=16, shards=6),
    )
    step, _, plan = training(config, device=GPU)
    epoch(step, plan)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            epoch(step, plan)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert step.look() is False


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_divergence_between_two_looks_leaves_the_state_before_it(optimizer: str) -> None:
    config = Config(model=ModelConfig(hidden=(7,)), optimizer=OPTIMIZERS[optimizer], train=TrainConfig(batch_size=5))
    diverge(config, 17, (1, 5), GPU)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 1001, 3699, 3700])
def test_what_is_not_finite_is_found_once_and_for_all(place: int, bad: float) -> None:
    find(place, bad, GPU)


def test_tasks_of_a_stage_are_joined_before_the_next_stage() -> None:
    parts = torch.zeros(20, 1 << 16, device=GPU)
    total = torch.zeros(1 << 16, device=GPU)
    run = recorded([[partial(part.add_, 1.0) for part in parts], [lambda: torch.sum(parts, 0, out=total)]], GPU)
    parts.zero_()
    for number in range(1, 30):
        run()
        assert (total == 20 * number).all()


def test_an_upload_is_not_overwritten_before_it_is_copied() -> None:
    target, sums = torch.zeros(1 << 20, device=GPU), torch.zeros(1 << 20, device=GPU)
    upload = Upload([target])
    for value in range(20 * SLOTS):
        upload.fill()[0].fill_(value)
        upload.send()
        for _ in range(20):
            sums.add_(target)
    assert (sums == 20 * sum(range(20 * SLOTS))).all()
