"""Steps on one rank: threads, groups of shards, stopping, clipping, divergence. Several ranks: tests/verbs."""

import contextlib

import numpy as np
import pytest
import torch

import ptrain.steps.step as step_module
from ptrain import native
from ptrain.comm.base import RankInfo
from ptrain.comm.single import SingleCommunicator
from ptrain.config import Config, ModelConfig, OptimizerConfig, TrainConfig
from ptrain.data.loader import Normalization, ShardLoader
from ptrain.data.plan import BatchPlan
from ptrain.data.samples import Samples, Split
from ptrain.errors import DivergedError
from ptrain.models.block import DropoutKey
from ptrain.models.mlp import initialise, layout_of, parameters_sha256
from ptrain.steps import slices
from ptrain.steps.state import State, new_state
from ptrain.steps.step import TrainingStep

CPU = torch.device("cpu")
ONE = RankInfo(rank=0, size=1, local_rank=0, local_size=1, host="here", launcher="none", job_id="")


def samples(num_samples: int, features: int = 9, classes: int = 3) -> Split:
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, num_samples)
    values = random.normal(size=(num_samples, features)).astype(np.float32) + labels[:, None].astype(np.float32)
    return Split(Samples(values, labels), 0, num_samples)


def training(
    config: Config,
    num_samples: int = 50,
    threads: int = 1,
    *,
    look_every: int | None = None,
    bad: int | None = None,
    device: torch.device = CPU,
) -> tuple[TrainingStep, State, BatchPlan]:
    """Return a step, its state and its plan; sample ``bad`` has a feature that is infinite."""
    split = samples(num_samples)
    if bad is not None:
        split.samples.features[bad, 0] = np.inf
    batch = num_samples if config.train.batch_size == "all" else config.train.batch_size
    plan = BatchPlan(num_samples=num_samples, batch_size=batch, shards=config.train.shards)
    layout = layout_of(config.model, 9, 3)
    parameters = initialise(layout, config.model, 0).to(device)
    state = new_state(parameters, config.optimizer.optimizer, config.train.shards, plan.rows)
    step = TrainingStep(
        config=config,
        layout=layout,
        state=state,
        comm=SingleCommunicator(ONE),
        owners=[range(config.train.shards)],
        rows=plan.rows,
        steps_per_epoch=plan.steps_per_epoch,
        make_loader=lambda shards: ShardLoader(split, plan, shards, 0, Normalization.identity(), device),
        class_weights=None,
        threads=threads,
        device=device,
        look_every=look_every,
    )
    return step, state, plan


def train(config: Config, threads: int = 1, epochs: int = 3) -> tuple[str, torch.Tensor, torch.Tensor]:
    """Return the hash of the parameters, and the losses and hits of the last epoch by row."""
    step, state, plan = training(config, threads=threads)
    for epoch in range(epochs):
        state.start_epoch()
        for index in range(plan.steps_per_epoch):
            assert step.run(epoch, index, plan.valid_rows(index)) is False
    step.close()
    return parameters_sha256(step.layout, state.parameters), state.row_losses, state.row_hits


CONFIGS = {
    "plain": Config(model=ModelConfig(hidden=(7,)), train=TrainConfig(batch_size=16)),
    "uneven": Config(model=ModelConfig(hidden=(5, 6), dropout=0.2), train=TrainConfig(batch_size=13, shards=6)),
    "stochastic": Config(model=ModelConfig(hidden=()), train=TrainConfig(batch_size=1, shards=3)),
    "batch": Config(model=ModelConfig(hidden=(4,), activation="gelu"), train=TrainConfig(batch_size="all", shards=5)),
    "bf16": Config(
        model=ModelConfig(hidden=(8,), activation="sigmoid"),
        optimizer=OptimizerConfig(optimizer="adam", clip_norm=0.1),
        train=TrainConfig(batch_size=20, precision="bf16"),
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_threads_and_groups_do_not_change_a_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIGS[name]
    sha256, losses, hits = train(config)
    for threads in (2, 3):
        other = train(config, threads)
        assert other[0] == sha256
        assert torch.equal(other[1], losses)
        assert torch.equal(other[2], hits)
    monkeypatch.setattr(step_module, "WORKSPACE_LIMIT", 0)
    assert train(config, threads=1)[0] == sha256
    assert train(config, threads=2)[0] == sha256


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adamw"])
def test_slices_have_the_bits_of_exchanged_gradients(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = OptimizerConfig(optimizer=optimizer, weight_decay=0.1, clip_norm=0.3)  # type: ignore[arg-type]
    config = Config(model=ModelConfig(hidden=(13, 6), dropout=0.1), optimizer=rules, train=TrainConfig(batch_size=16))
    results = {}
    for sliced in (False, True):
        monkeypatch.setattr(slices, "pays", lambda layout, rows, places, sliced=sliced: sliced)
        for threads in (1, 2, 5):
            step, *_ = training(config, threads=threads)
            assert (step.slices is not None) is sliced
            step.close()
            results[sliced, threads] = train(config, threads)
    sha256, losses, hits = results[False, 1]
    for other in results.values():
        assert other[0] == sha256
        assert torch.equal(other[1], losses)
        assert torch.equal(other[2], hits)


@pytest.mark.parametrize("failing", range(3))
def test_an_error_in_any_thread_ends_the_step(failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others, who wait for it at a barrier, do not wait for ever."""
    monkeypatch.setattr(slices, "pays", lambda layout, rows, places: True)
    model = ModelConfig(hidden=(7,), dropout=0.5)
    step, *_ = training(Config(model=model, train=TrainConfig(batch_size=16)), threads=3)
    step.run(0, 0, 16)
    assert step.slices is not None
    first, _ = step.slices._blocks[failing]
    fill = DropoutKey.fill

    def fails(self: DropoutKey, mask: torch.Tensor, layer: int, probability: float) -> None:
        if self.shards == first:
            raise OSError("no masks")
        fill(self, mask, layer, probability)

    monkeypatch.setattr(DropoutKey, "fill", fails)
    with pytest.raises(OSError if failing == 0 else native.GivenUpError):
        step.run(0, 1, 16)
    with pytest.raises(OSError, match="no masks") if failing else contextlib.nullcontext():
        step.close()


@pytest.mark.parametrize("batch_size", [1, 10, "all"])
def test_pattern_mini_batch_and_batch_training_each_lower_the_loss(batch_size: int) -> None:
    config = Config(
        model=ModelConfig(hidden=(8,)), optimizer=OptimizerConfig(lr=0.05), train=TrainConfig(batch_size=batch_size)
    )
    first = train(config, epochs=1)[1].sum()
    later = train(config, epochs=30)[1].sum()
    assert later < 0.7 * first


def test_the_gradient_is_the_mean_over_the_global_batch() -> None:
    """One batch step of plain gradient descent against autograd on all samples at once."""
    config = Config(model=ModelConfig(hidden=(6,)), train=TrainConfig(batch_size="all", shards=7))
    step, state, _ = training(config)
    layout = step.layout
    leaf = state.parameters.clone().requires_grad_()
    views = layout.views(leaf)
    split = samples(50)
    x = torch.from_numpy(np.asarray(split.samples.features, dtype=np.float32))
    hidden = torch.relu(x @ views["layers.0.weight"] + views["layers.0.bias"])
    outputs = hidden @ views["layers.1.weight"] + views["layers.1.bias"]
    labels = torch.from_numpy(split.samples.labels.astype(np.int64))
    torch.nn.functional.cross_entropy(outputs, labels).backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    expected = (leaf - 0.1 * leaf.grad).detach()
    step.run(0, 0, 50)
    torch.testing.assert_close(state.parameters, expected, rtol=1e-5, atol=1e-6)


def test_clipping_limits_the_length_of_the_update() -> None:
    config = Config(
        model=ModelConfig(hidden=(6,)),
        optimizer=OptimizerConfig(lr=1.0, clip_norm=0.01),
        train=TrainConfig(batch_size="all"),
    )
    step, state, _ = training(config)
    before = state.parameters.clone()
    step.run(0, 0, 50)
    assert (state.parameters - before).norm().item() == pytest.approx(0.01, rel=1e-4)


def test_a_request_to_stop_is_seen_after_the_step() -> None:
    step, state, _ = training(CONFIGS["plain"])
    assert step.run(0, 0, 16, stop=True) is True
    assert state.step == 1
    assert step.run(0, 1, 16, stop=False) is False


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_divergence_names_step_and_shard_and_keeps_the_parameters(where: str) -> None:
    step, state, plan = training(CONFIGS["plain"])
    step.run(0, 0, 16)
    if where == "loss":
        state.parameters.fill_(float("inf"))
    else:
        # finite outputs, but a product in the backward pass overflows
        views = step.layout.views(state.parameters)
        views["layers.0.weight"].fill_(1e30)
        views["layers.1.weight"].fill_(1e10)
    before = state.parameters.clone()
    with pytest.raises(DivergedError, match=r"step 1 \(epoch 1\), shard \d: its (loss|gradient) is not finite"):
        step.run(0, 1, plan.valid_rows(1))
    assert torch.equal(state.parameters, before)
    assert state.step == 1
