"""What docs/training.md says of a training, as a reference in float64 that shares no code with the steps.

The order of samples and the dropout masks are ptrain's own; everything else is written down again from the formulas.
"""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from ptrain.config import Config, ModelConfig, OptimizerConfig, TrainConfig
from ptrain.models.buffers import ShardBuffer
from ptrain.models.dropout import Dropout
from ptrain.steps.base import Work
from tests.steps.work import CPU, step_of, train, with_kernels, work_of

EPOCHS = 3
Views = dict[str, torch.Tensor]


def activation(name: str, z: torch.Tensor, alpha: float | None) -> torch.Tensor:
    below = {"leaky_relu": 0.01, "elu": 1.0}.get(name, 0.0) if alpha is None else alpha
    return {
        "identity": lambda: z,
        "sigmoid": lambda: 1 / (1 + torch.exp(-z)),
        "tanh": lambda: (torch.exp(z) - torch.exp(-z)) / (torch.exp(z) + torch.exp(-z)),
        "relu": lambda: torch.where(z > 0, z, 0.0),
        "softplus": lambda: torch.log1p(torch.exp(z)),
        "leaky_relu": lambda: torch.where(z > 0, z, below * z),
        "elu": lambda: torch.where(z > 0, z, below * (torch.exp(z) - 1)),
        "gelu": lambda: z * 0.5 * (1 + torch.erf(z / math.sqrt(2))),
    }[name]()


def row_losses(model: ModelConfig, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """A loss a row, times the weight of its class."""
    if model.loss == "cross_entropy":
        losses = torch.log(torch.exp(outputs).sum(1)) - outputs[torch.arange(len(labels)), labels]
    else:
        losses = (outputs - torch.eye(outputs.shape[1], dtype=torch.float64)[labels]).square().sum(1)
    if isinstance(model.class_weights, str):
        return losses
    return losses * torch.tensor(model.class_weights, dtype=torch.float64)[labels]


def rate(optimizer: OptimizerConfig, step: int, steps: int, total: int) -> float:
    """The learning rate of the step that ``step`` others come before."""
    warmup = round(optimizer.warmup_epochs * steps)
    share = 1.0
    if optimizer.schedule == "step":
        share = optimizer.step_factor ** math.floor(step / (optimizer.step_epochs * steps))
    elif optimizer.schedule == "cosine" and step >= warmup:
        share = (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
    assert optimizer.lr is not None
    return optimizer.lr * share * min(1.0, (step + 1) / max(1, warmup))


def update(optimizer: OptimizerConfig, eta: float, t: int, p: Views, grads: Views, state: dict[str, Views]) -> None:
    """Do update ``t``, from 1, in place."""
    norm = math.sqrt(sum(float(g.square().sum()) for g in grads.values()))
    scale = 1.0 if optimizer.clip_norm is None else min(1.0, optimizer.clip_norm / norm)
    for name, value in p.items():
        g = scale * grads[name]
        decay = optimizer.weight_decay if name.endswith("weight") else 0.0
        if optimizer.optimizer == "adamw":
            value -= eta * decay * value
        else:
            g = g + decay * value
        v, s = (state.setdefault(one, {}).setdefault(name, torch.zeros_like(value)) for one in ("v", "s"))
        if optimizer.optimizer == "sgd":
            value -= eta * g
        elif optimizer.optimizer in ("momentum", "nesterov"):
            v.copy_(optimizer.momentum * v + g)
            value -= eta * (v if optimizer.optimizer == "momentum" else g + optimizer.momentum * v)
        else:
            v.copy_(optimizer.beta1 * v + (1 - optimizer.beta1) * g)
            s.copy_(optimizer.beta2 * s + (1 - optimizer.beta2) * g * g)
            first, second = v / (1 - optimizer.beta1**t), s / (1 - optimizer.beta2**t)
            value -= eta * first / (second.sqrt() + optimizer.epsilon)


def reference(config: Config, work: Work) -> Views:
    """Train in float64 and return the parameters."""
    model, shards = config.model, range(config.train.shards)
    p = {name: view.double() for name, view in work.model.layout.views(work.state.parameters.clone()).items()}
    state: dict[str, Views] = {}
    loader, rows, steps = work.make_loader(shards), work.rows, work.steps_per_epoch
    x, labels, valid = torch.zeros(len(shards), rows, 9), torch.zeros(len(shards), rows, dtype=torch.int64), None
    valid = torch.zeros(len(shards), rows)
    fill = loader.bind(shards, x, labels, valid)
    masks = Dropout(model.dropout, 0, shards, [ShardBuffer(len(shards), rows, 1, CPU)])
    for t in range(EPOCHS * steps):
        loader.select(t // steps, t % steps)
        fill()
        masks.step = t
        leaves = {name: value.clone().requires_grad_() for name, value in p.items()}
        total = torch.zeros((), dtype=torch.float64)
        for shard in shards:
            h = x[shard].double()
            for layer in range(len(model.hidden) + 1):
                h = h @ leaves[f"layers.{layer}.weight"]
                if model.bias:
                    h = h + leaves[f"layers.{layer}.bias"]
                last = layer == len(model.hidden)
                h = activation(model.output_activation if last else model.activation, h, model.activation_alpha)
                if model.dropout and not last:
                    h = h * masks.mask(shard, layer, h.shape).double()
            kept = valid[shard] > 0
            total = total + row_losses(model, h[kept], labels[shard][kept]).sum()
        # Divided by the samples of the batch, whatever their weights.
        (total / int(valid.sum())).backward()  # type: ignore[no-untyped-call]
        grads = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
        update(config.optimizer, rate(config.optimizer, t, steps, EPOCHS * steps), t + 1, p, grads, state)
    return p


def configuration(model: dict[str, Any] | None = None, **optimizer: Any) -> Config:
    return Config(
        model=ModelConfig(**{"hidden": (6,), **(model or {})}),
        optimizer=OptimizerConfig(**{"optimizer": "sgd", "lr": 0.1, **optimizer}),
        train=TrainConfig(batch_size=16, shards=5, epochs=EPOCHS),
    )


WEIGHTS = (0.25, 1.0, 3.0)
CASES = {
    "plain": configuration(),
    "class weights": configuration({"class_weights": WEIGHTS}),
    "class weights, mse": configuration({"class_weights": WEIGHTS, "loss": "mse"}, lr=0.02),
    "mse": configuration({"loss": "mse", "output_activation": "sigmoid"}),
    "no bias": configuration({"bias": False}),
    "dropout": configuration({"dropout": 0.4, "hidden": (9, 6)}),
    "decay": configuration(weight_decay=0.3),
    "clipping before decay": configuration(weight_decay=0.3, clip_norm=0.2),
    "momentum with a rate that changes": configuration(
        optimizer="momentum", momentum=0.7, weight_decay=0.1, schedule="step", step_epochs=1, step_factor=0.3
    ),
    "nesterov": configuration(optimizer="nesterov", momentum=0.7, schedule="cosine", warmup_epochs=1),
    "adam": configuration(optimizer="adam", lr=0.02, beta1=0.8, beta2=0.95, epsilon=0.01, weight_decay=0.1),
    "adamw": configuration(
        optimizer="adamw", lr=0.02, epsilon=0.01, weight_decay=0.5, schedule="cosine", warmup_epochs=0.5, clip_norm=0.5
    ),
    "alpha of leaky_relu": configuration({"activation": "leaky_relu", "activation_alpha": 0.3}),
    "alpha of elu": configuration({"activation": "elu", "activation_alpha": 1.7}),
    "alpha of the output": configuration(
        {"hidden": (), "loss": "mse", "output_activation": "elu", "activation_alpha": 0.4}
    ),
    **{
        name: configuration({"activation": name})
        for name in ("identity", "sigmoid", "tanh", "softplus", "leaky_relu", "elu", "gelu")
    },
}


@pytest.mark.parametrize("kernels", ["native", "torch"])
@pytest.mark.parametrize("name", CASES)
def test_three_epochs_are_those_of_the_formulas(name: str, kernels: str) -> None:
    config = with_kernels(CASES[name], kernels)
    work = work_of(config)
    expected = reference(config, work)
    train(step_of(work), work, EPOCHS)
    for slot, view in work.model.layout.views(work.state.parameters).items():
        torch.testing.assert_close(view.double(), expected[slot], rtol=2e-4, atol=2e-5)


def test_what_the_formulas_are_not() -> None:
    """The reference is sharp enough to tell them from what other libraries do by default."""
    weighted, adam, leaky = CASES["class weights"], CASES["adam"], CASES["leaky_relu"]
    others = {
        "torch's weighted mean": (
            weighted,
            replace(weighted, model=replace(weighted.model, class_weights=(0.2, 0.8, 2.4))),
        ),
        "epsilon": (adam, replace(adam, optimizer=replace(adam.optimizer, epsilon=0.01 / math.sqrt(1 - 0.95)))),
        "Keras' leaky_relu": (leaky, replace(leaky, model=replace(leaky.model, activation_alpha=0.3))),
    }
    for name, (one, other) in others.items():
        ours, theirs = (reference(config, work_of(config)) for config in (one, other))
        assert any(not torch.allclose(ours[slot], theirs[slot], rtol=2e-4, atol=2e-5) for slot in ours), name
