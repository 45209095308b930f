"""Warnings about settings that cannot work or have no effect, and silence about defaults."""

import json
from pathlib import Path
from typing import Any

import pytest

from ptrain.cli import main
from ptrain.config import FIELDS, OptimizerConfig, build
from ptrain.config.advice import Circumstances, warnings


def said(values: dict[str, Any], given: tuple[str, ...] = (), num_samples: int = 1000, **about: Any) -> list[str]:
    known = {"ranks": 1, "has_own_test": False, "is_scene": False, **about}
    return list(warnings(Circumstances(config=build(values), given=given, num_samples=num_samples, **known)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"warmup_epochs": 5, "epochs": 2, "lr": 0.1},
            "--warmup-epochs 5.0 with --epochs 2: the training ends in its warm-up, at 0.04 of --lr 0.1; give more "
            "epochs, or a shorter warm-up",
        ),
        (
            {"optimizer": "adamw"},
            "--optimizer adamw with --weight-decay 0 is adam: they differ in how weights decay; give --weight-decay "
            "0.01, say, or take adam",
        ),
        ({"optimizer": "nesterov", "momentum": 0.0}, "--optimizer nesterov with --momentum 0 is sgd"),
        (
            {"optimizer": "sgd", "momentum": 0.5},
            "--momentum 0.5 has no effect with --optimizer sgd; it is for momentum and nesterov",
        ),
        (
            {"optimizer": "sgd", "beta1": 0.5},
            "--beta1 0.5 has no effect with --optimizer sgd; it is for adam and adamw",
        ),
        (
            {"optimizer": "sgd", "epsilon": 0.1},
            "--epsilon 0.1 has no effect with --optimizer sgd; it is for adam and adamw",
        ),
        ({"step_factor": 0.5}, "--step-factor 0.5 has no effect with --schedule constant; it is for step"),
        ({"block_size": 16}, "--block-size 16 has no effect with --split random; it is for blocks"),
        ({"init_sigma": 0.5}, "--init-sigma 0.5 has no effect with --init auto; it is for normal"),
        ({"schedule": "step", "step_factor": 1.0, "epochs": 50}, "--schedule step with --step-factor 1 is constant"),
        (
            {"schedule": "step", "step_epochs": 10, "epochs": 10},
            "--schedule step with --step-epochs 10 and --epochs 10: the learning rate is never reduced; give fewer "
            "--step-epochs",
        ),
        (
            {"hidden": [], "dropout": 0.5},
            "--dropout 0.5 has no effect with --hidden none: there is no hidden layer",
        ),
        (
            {"hidden": [], "activation": "tanh"},
            "--activation tanh has no effect with --hidden none: there is no hidden layer",
        ),
        (
            {"early_stopping": 20, "epochs": 20, "validation": 0.1},
            "--early-stopping 20 with --epochs 20 never stops early; the model of the best epoch is taken all the same",
        ),
        (
            {"batch_size": 2000},
            "--batch-size 2000 with 1,000 training samples: every step takes all of them, as with --batch-size all",
        ),
        (
            {"shards": 64, "batch_size": 40},
            "--shards 64 with a global batch of 40: 24 of them stay empty, and no more than 40 ranks have something "
            "to do; --shards 40 is enough",
        ),
        (
            {"optimizer": "adamw", "lr": 0.5, "weight_decay": 4.0},
            "--weight-decay 4.0 with --lr 0.5 takes 2 times each weight away at every step: their product must be "
            "well below 1",
        ),
    ],
)
def test_one_line_for_one_setting(values: dict[str, Any], expected: str) -> None:
    assert said(values) == [expected]


def test_what_depends_on_the_data_and_the_ranks() -> None:
    assert said({"test_fraction": 0.3}, has_own_test=True) == [
        "--test-fraction 0.3 has no effect: the data have their own test split"
    ]
    assert said({"test_fraction": 0.3}) == []
    assert said({"neighborhood": 3}) == ["--neighborhood 3 has no effect: the data are no scene"]
    assert said({"unlabelled": [0]}) == ["--unlabelled 0 has no effect: the data are no scene"]
    assert said({"neighborhood": 3, "unlabelled": [0]}, is_scene=True) == []
    (text,) = said({"batch_size": 4}, ranks=6)
    assert text.startswith("--shards 8 with a global batch of 4: 4 of them stay empty")
    assert said({"batch_size": 4}, ranks=4) == []


def test_the_default_batch_of_small_data_is_nobodys_choice() -> None:
    """Also where a run is continued, whose file has it as a number."""
    sgd: dict[str, Any] = {"optimizer": "sgd", "batch_size": OptimizerConfig(optimizer="sgd").default_batch(100)}
    assert said(sgd, num_samples=100) == []
    assert len(said(sgd, num_samples=100, given=("batch_size",))) == 1


def test_a_default_that_was_given_was_meant() -> None:
    sgd = {"optimizer": "sgd"}
    assert said(sgd) == []
    assert said(sgd, given=("momentum",)) == [
        "--momentum 0.9 has no effect with --optimizer sgd; it is for momentum and nesterov"
    ]
    assert said({}, given=tuple(FIELDS), num_samples=4)


@pytest.mark.parametrize("num_samples", [4, 100, 10**6])
@pytest.mark.parametrize(
    "values",
    [
        {}, {"optimizer": "sgd"}, {"optimizer": "adam"}, {"optimizer": "momentum"},
        {"optimizer": "adamw", "weight_decay": 0.01},
        {"schedule": "step"}, {"schedule": "cosine", "warmup_epochs": 1}, {"hidden": []}, {"batch_size": "all"},
        {"validation": 0.1, "early_stopping": 3}, {"init": "normal"}, {"init": "normal", "init_sigma": 0.1},
        {"hidden": [], "output_activation": "elu", "loss": "mse", "activation_alpha": 0.5},
    ],
)  # fmt: skip
def test_no_false_alarm(values: dict[str, Any], num_samples: int) -> None:
    assert said(values, num_samples=num_samples) == []


def test_the_command_line_warns_once_and_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--data", "xor", "--hidden", "none", "--optimizer", "sgd", "--momentum", "0.9", "--epochs", "1"]
    assert main(["train", *flags, "--no-report", "--run-dir", str(tmp_path / "run")]) == 0
    error = capsys.readouterr().err
    assert error == "warning: --momentum 0.9 has no effect with --optimizer sgd; it is for momentum and nesterov\n"
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert main(["train", *flags[:4], "--epochs", "1", "--no-report", "--run-dir", str(tmp_path / "other")]) == 0
    assert capsys.readouterr().err == ""
