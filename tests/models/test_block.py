"""The written-out backward pass against torch's autograd."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ptrain.config import ModelConfig
from ptrain.models.base import Kernels, Parameters, Training
from ptrain.models.buffers import ShardBuffer
from ptrain.models.dropout import Dropout
from ptrain.models.mlp import MLP

ACTIVATIONS = {
    "identity": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softplus": torch.nn.functional.softplus,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "elu": torch.nn.functional.elu,
    "gelu": torch.nn.functional.gelu,
}


KERNELS = ["native", "torch"]
CPU = torch.device("cpu")
BEHIND = 64
"""Elements behind a gradient, the first of them the loss."""


def training(gradients: torch.Tensor, rows: int, kernels: str) -> Training:
    """Return a Training with a row of ``gradients`` a shard."""
    shards = len(gradients)
    return Training(
        seed=0,
        gradients=gradients,
        merges=[0] * shards if kernels == "native" else None,
        class_weights=None,
        epoch_losses=torch.zeros(shards, rows, dtype=torch.float64),
        epoch_hits=torch.zeros(shards, rows, dtype=torch.int64),
    )


def gradients(
    model: ModelConfig,
    shards: int,
    rows: int,
    precision: str = "fp32",
    features: int = 5,
    classes: int = 3,
    kernels: Kernels = "torch",
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (ours, autograd's): gradients (shards, length) and row losses (shards, rows) of random data."""
    network = MLP.on(model, features, classes)
    layout, flat = network.layout, network.initial(3)
    flat.add_(0.01)
    ours = torch.zeros(shards, layout.length + BEHIND)
    results = training(ours, rows, kernels)
    block = network.program(Parameters(flat, precision), kernels, range(shards), rows, results)
    generator = torch.Generator().manual_seed(1)
    block.features.copy_(torch.randn(shards, rows, features, generator=generator))
    block.labels.copy_(torch.randint(0, classes, (shards, rows), generator=generator))
    block.weights.copy_(torch.rand(shards, rows, generator=generator).round(decimals=1))
    block.begin(4)
    block.run()
    dropout = Dropout(model.dropout, 0, range(shards), [ShardBuffer(shards, rows, 1, CPU)])
    dropout.step = 4

    theirs = torch.zeros(shards, layout.length)
    losses = torch.zeros(shards, rows)
    for shard in range(shards):
        leaf = flat.clone().requires_grad_()
        views = layout.views(leaf)
        h = block.features[shard].clone()
        num_layers = len(network.widths) - 1
        for layer in range(num_layers):
            last = layer == num_layers - 1
            h = h @ views[f"layers.{layer}.weight"]
            if model.bias:
                h = h + views[f"layers.{layer}.bias"]
            h = ACTIVATIONS[model.output_activation if last else model.activation](h)
            if model.dropout and not last:
                h = h * dropout.mask(shard, layer, h.shape)
        if model.loss == "cross_entropy":
            row_losses = torch.nn.functional.cross_entropy(h, block.labels[shard], reduction="none")
        else:
            row_losses = (h - torch.nn.functional.one_hot(block.labels[shard], classes)).square().sum(-1)
        losses[shard] = (row_losses * block.weights[shard]).detach()
        (row_losses * block.weights[shard]).sum().backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        theirs[shard] = leaf.grad
    assert torch.allclose(ours[:, layout.length], block.row_losses.sum(1))
    return ours[:, : layout.length], theirs, block.row_losses.clone(), losses


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("kernels", KERNELS)
def test_gradients_are_autograds(activation: str, loss: str, kernels: Kernels) -> None:
    model = ModelConfig(hidden=(16, 7), activation=activation, loss=loss, dropout=0.3)  # type: ignore[arg-type]
    ours, theirs, losses, expected = gradients(model, shards=3, rows=4, kernels=kernels)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kernels", KERNELS)
def test_the_output_may_have_an_activation_under_mse(activation: str, kernels: Kernels) -> None:
    model = ModelConfig(hidden=(), loss="mse", output_activation=activation, bias=False)  # type: ignore[arg-type]
    ours, theirs, *_ = gradients(model, shards=2, rows=5, kernels=kernels)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_bf16_products_stay_near_fp32() -> None:
    model = ModelConfig(hidden=(32,), activation="tanh")
    ours, theirs, *_ = gradients(model, shards=2, rows=8, precision="bf16", features=20)
    assert (ours - theirs).norm() < 0.02 * theirs.norm()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 40), max_size=3).map(tuple),
    st.sampled_from(sorted(ACTIVATIONS)),
    st.sampled_from(["cross_entropy", "mse"]),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([("fp32", "native"), ("fp32", "torch"), ("bf16", "torch")]),
    st.integers(1, 20),
    st.integers(1, 70),
    st.integers(2, 12),
)
def test_a_shard_has_the_same_bits_in_any_block(
    hidden: tuple[int, ...],
    activation: str,
    loss: str,
    dropout: float,
    arithmetic: tuple[str, Kernels],
    rows: int,
    features: int,
    classes: int,
) -> None:
    precision, kernels = arithmetic
    model = ModelConfig(hidden=hidden, activation=activation, loss=loss, dropout=dropout)  # type: ignore[arg-type]
    network = MLP.on(model, features, classes)
    parameters = Parameters(network.initial(1), precision)
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(8, rows, features, generator=generator)
    labels = torch.randint(0, classes, (8, rows), generator=generator)
    results = []
    for size in (8, 1, 2, 3):
        parts = []
        for start in range(0, 8, size):
            shards = range(start, min(start + size, 8))
            gradient = torch.zeros(len(shards), network.layout.length + BEHIND)
            block = network.program(parameters, kernels, shards, rows, training(gradient, rows, kernels))
            block.features.copy_(data[start : shards.stop])
            block.labels.copy_(labels[start : shards.stop])
            block.weights.fill_(1.0)
            block.begin(7)
            block.run()
            parts.append(torch.cat([gradient, block.row_losses, block.outputs.flatten(1)], dim=1))
        results.append(torch.cat(parts))
    for other in results[1:]:
        assert torch.equal(results[0], other)
