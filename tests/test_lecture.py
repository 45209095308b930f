"""The lecture that ptrain grew from, as tests."""

import json
from pathlib import Path

import pytest
import torch

from ptrain.config import build
from ptrain.models.losses import squared_error_
from ptrain.optimizers.base import Vectors
from ptrain.optimizers.rules import update_
from ptrain.run.train import train


def test_backpropagation_by_hand() -> None:
    """y = w x with x = 1.5, target 0.5, squared error and rate 0.1: w goes from 0.8 to 1/3."""
    config = build({"optimizer": "sgd", "lr": 0.1}).optimizer
    w, x, target = torch.tensor([0.8]), 1.5, 0.5
    scratch, row_losses = torch.zeros(1), torch.zeros(1, 1)

    def step(number: int) -> None:
        difference = (w * x - target).view(1, 1, 1)
        squared_error_(difference, torch.ones(1, 1), row_losses)
        gradient = difference.view(1) * x
        update_(config, 0.1, number, Vectors(parameters=w, gradient=gradient, decay=None, scratch=scratch))

    for number, expected in enumerate([0.59, 0.4745, 0.410975, 0.37603625, 0.3568199375]):
        step(number)
        assert w.item() == pytest.approx(expected, abs=1e-6)
    for number in range(5, 60):
        step(number)
    assert w.item() == pytest.approx(1 / 3, abs=1e-6)


def accuracy(folder: Path, **values: object) -> float:
    run_dir = folder / "run"
    settings = {"optimizer": "sgd", "threads": 1, "shards": 1, "batch_size": "all", "report": False}
    train(build({"run_dir": str(run_dir), **settings, **values}))
    return float(json.loads((run_dir / "evaluation.json").read_text())["overall_accuracy"])


def test_a_perceptron_learns_or(tmp_path: Path) -> None:
    assert accuracy(tmp_path, data="or", hidden=[], lr=1.0, epochs=100) == 1.0


@pytest.mark.parametrize("activation", ["identity", "sigmoid", "tanh", "relu", "softplus", "leaky_relu", "elu", "gelu"])
def test_a_perceptron_cannot_learn_xor_whatever_its_activation(tmp_path: Path, activation: str) -> None:
    values = {"hidden": [], "loss": "mse", "output_activation": activation, "lr": 0.3, "epochs": 300}
    assert accuracy(tmp_path, data="xor", **values) <= 0.75


@pytest.mark.parametrize(("loss", "lr"), [("cross_entropy", 0.5), ("mse", 0.1)])
def test_a_hidden_layer_learns_xor(tmp_path: Path, loss: str, lr: float) -> None:
    values = {"hidden": [8], "activation": "tanh", "loss": loss, "lr": lr, "epochs": 300}
    assert accuracy(tmp_path, data="xor", **values) == 1.0
