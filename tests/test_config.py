"""The configuration: TOML there and back, the hash, and every message of its validation."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptrain import config
from ptrain.config import Config
from ptrain.errors import ConfigError

VALID: dict[str, st.SearchStrategy[Any]] = {
    "test_fraction": st.floats(0.0, 1.0, exclude_max=True),
    "validation": st.floats(0.01, 1.0, exclude_max=True),
    "hidden": st.lists(st.integers(1, 10_000), max_size=5),
    "init_sigma": st.floats(1e-300, 1e300),
    "dropout": st.floats(0.0, 1.0, exclude_max=True),
    "class_weights": st.sampled_from(["none", "balanced"]) | st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=5),
    "loss": st.just("mse"),
    "momentum": st.floats(0.0, 1.0, exclude_max=True),
    "beta1": st.floats(0.0, 1.0, exclude_max=True),
    "beta2": st.floats(0.0, 1.0, exclude_max=True),
    "step_factor": st.floats(1e-9, 1.0),
    "shards": st.integers(64, 128),
    "ranks": st.none() | st.integers(1, 64),
    "backend": st.sampled_from(["auto", "mpi", "horovod", "torch"]),
    "seed": st.integers(0, 2**63 - 1),
    "unlabelled": st.sampled_from(["auto", "none"]) | st.lists(st.integers(-9999, 2**32), min_size=1, max_size=5),
    "neighborhood": st.integers(0, 50).map(lambda half: 2 * half + 1),
}
"""Values of fields that have bounds or needs of their own; the others follow from their types."""


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return st.one_of([values_of(option) for option in typing.get_args(annotation)])
    if typing.get_origin(annotation) is Literal:
        return st.sampled_from(typing.get_args(annotation))
    texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
    return {
        int: st.integers(1, 2**40),
        float: st.floats(1e-300, 1e300),
        bool: st.booleans(),
        str: texts.filter(lambda text: bool(text.strip())),
        type(None): st.none(),
    }[annotation]


@st.composite
def values(draw: st.DrawFn) -> dict[str, Any]:
    chosen = {}
    for section in config.SECTIONS.values():
        for name, annotation in typing.get_type_hints(section).items():
            if draw(st.booleans()):
                chosen[name] = draw(VALID[name] if name in VALID else values_of(annotation))
    chosen.setdefault("validation", 0.1)
    chosen.setdefault("shards", 64)
    chosen.setdefault("loss", "mse")
    if chosen.get("test_labels") is not None:
        chosen["test_data"] = "features.npy"
    if chosen.get("features") is not None:
        chosen["drop"] = None
    if chosen.get("activation_alpha") is not None:
        chosen["activation"] = "leaky_relu"
    if chosen.get("group") is not None:
        chosen["split"] = "groups"
    return chosen


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given=values())
def test_toml_there_and_back(tmp_path: Path, given: dict[str, Any]) -> None:
    built = config.build(given)
    config.write_toml(built, tmp_path / "config.toml")
    again = config.build(config.read_toml(tmp_path / "config.toml"))
    assert again == built
    assert config.sha256(again) == config.sha256(built)
    assert config.differences(built, again) == []


def test_the_hash_ignores_run_and_nothing_else() -> None:
    default = config.sha256(Config())
    in_run = {
        "run_dir": "x",
        "ranks": 2,
        "backend": "mpi",
        "step": "messages",
        "synchronise_every": 4,
        "device": "cpu",
        "threads": 3,
        "checkpoint_every": 4,
        "keep": 1,
        "report": False,
        "log": "tensorboard",
        "max_steps": 5,
        "step_timeout": 9.5,
        "restarts": 2,
        "trace": True,
    }
    assert set(in_run) == {field.name for field in dataclasses.fields(config.RunConfig)}
    for name, value in in_run.items():
        assert config.sha256(config.build({name: value})) == default, name
    others: dict[str, Any] = {
        "data": "xor", "labels": "l.npy", "test_data": "t.npz", "test_labels": "t.npy", "test_fraction": 0.3,
        "validation": 0.1, "normalize": "unit", "split": "groups", "group": "scene", "block_size": 64,
        "unlabelled": [255], "neighborhood": 3, "target": "species", "features": "a,b", "drop": "c", "missing": "mean",
        "categories": "d", "missing_values": "-999",
        "hidden": [3], "activation": "tanh", "output_activation": "tanh",
        "activation_alpha": 0.2,
        "bias": False, "init": "he", "init_sigma": 0.5, "dropout": 0.5, "loss": "mse", "class_weights": "balanced",
        "optimizer": "sgd", "lr": 0.5, "momentum": 0.5, "beta1": 0.5, "beta2": 0.5, "epsilon": 0.5,
        "weight_decay": 0.5, "schedule": "step", "step_epochs": 3, "step_factor": 0.5, "warmup_epochs": 1.0,
        "clip_norm": 1.0, "epochs": 3, "batch_size": "all", "shards": 4, "seed": 1, "precision": "bf16",
        "reduction": "allreduce", "early_stopping": 3, "kernels": "torch",
    }  # fmt: skip
    assert {*others, *in_run} == set(config.FIELDS)
    needs: dict[str, dict[str, Any]] = {
        "test_labels": {"test_data": "t.npy"},
        "group": {"split": "groups"},
        "output_activation": {"loss": "mse"},
        "activation_alpha": {"activation": "elu"},
    }
    for name, value in others.items():
        more = needs.get(name, {})
        assert config.sha256(config.build({name: value, **more})) != config.sha256(config.build(more)), name


def test_files_of_former_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[run]\nexchange = "messages"\n')
    assert config.build(config.read_toml(path)).run.step == "messages"
    assert config.build({"exchange": "auto"}) == Config()


def test_differences_are_named_field_by_field_and_without_run() -> None:
    old, new = Config(), config.build({"lr": 0.5, "hidden": [64], "keep": 9})
    assert config.differences(old, new) == ["hidden: (128, 128) -> (64,)", "lr: None -> 0.5"]


def test_whole_numbers_are_accepted_where_numbers_are_expected() -> None:
    assert config.build({"lr": 1, "class_weights": [1, 2]}).model.class_weights == (1.0, 2.0)
    assert type(config.build({"lr": 1}).optimizer.lr) is float


@pytest.mark.parametrize(
    ("optimizer", "rate"), [("sgd", 0.1), ("momentum", 0.01), ("nesterov", 0.01), ("adam", 0.001), ("adamw", 0.001)]
)
def test_the_default_learning_rate_is_the_optimizers(optimizer: str, rate: float) -> None:
    assert config.build({"optimizer": optimizer}).optimizer.learning_rate == rate
    assert config.build({"optimizer": optimizer, "lr": 0.5}).optimizer.learning_rate == 0.5


@pytest.mark.parametrize(
    ("steps", "features", "rate"),
    [
        *[(1, 4, 0.02), (11, 64, 0.02), (12, 4, 0.004), (49, 64, 0.004), (50, 4, 0.001), (900, 4, 0.001)],
        *[(1, 784, 0.004), (1, 3072, 0.001), (20, 784, 0.004), (20, 10**6, 0.001)],
    ],
)
def test_adams_default_rate_is_larger_where_an_epoch_has_few_steps(steps: int, features: int, rate: float) -> None:
    assert config.build({}).optimizer.rate_for(steps, features) == rate
    assert config.build({"lr": 0.001}).optimizer.rate_for(steps, features) == 0.001
    assert config.build({"optimizer": "sgd"}).optimizer.rate_for(steps, features) == 0.1


@pytest.mark.parametrize(
    ("samples", "batch"),
    [(2, 8), (120, 8), (799, 8), (800, 16), (1438, 16), (3199, 32), (3200, 64), (6399, 64), (6400, 128), (10**9, 128)],
)
def test_the_default_batch_grows_with_the_samples_for_adam_and_is_128_for_sgd(samples: int, batch: int) -> None:
    assert config.build({}).optimizer.default_batch(samples) == batch
    assert config.build({"optimizer": "adamw"}).optimizer.default_batch(samples) == batch
    for optimizer in ("sgd", "momentum", "nesterov"):
        assert config.build({"optimizer": optimizer}).optimizer.default_batch(samples) == 128


MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"test_fraction": 1.0}, "--test-fraction 1.0: expected a number from 0 to below 1"),
    ({"validation": -0.1}, "--validation -0.1: expected a number from 0 to below 1"),
    ({"test_labels": "t.npy"}, "--test-labels t.npy without --test-data: give the test features as well"),
    ({"hidden": [128, 0]}, "--hidden 128 0: expected widths of 1 or more"),
    ({"dropout": 1}, "--dropout 1.0: expected a probability from 0 to below 1"),
    ({"init_sigma": 0}, "--init-sigma 0.0: expected above 0"),
    ({"activation": "elu", "activation_alpha": 0}, "--activation-alpha 0.0: expected a number above 0"),
    (
        {"activation_alpha": 0.2},
        "--activation-alpha 0.2 with --activation relu, which has none: expected --activation leaky_relu or elu",
    ),
    (
        {"class_weights": [1, 0]},
        "--class-weights 1.0 0.0: expected finite numbers above 0, one a class, or none, or balanced",
    ),
    ({"class_weights": []}, "--class-weights '': expected finite numbers above 0, one a class, or none, or balanced"),
    (
        {"output_activation": "tanh"},
        "--output-activation tanh with --loss cross_entropy, which contains the softmax: "
        "expected identity, or --loss mse",
    ),
    ({"lr": 0}, "--lr 0.0: expected a number above 0"),
    ({"momentum": 1}, "--momentum 1.0: expected a number from 0 to below 1"),
    ({"beta1": -1}, "--beta1 -1.0: expected a number from 0 to below 1"),
    ({"beta2": 2}, "--beta2 2.0: expected a number from 0 to below 1"),
    ({"epsilon": 0}, "--epsilon 0.0: expected a number above 0"),
    ({"weight_decay": -1}, "--weight-decay -1.0: expected 0 or more"),
    ({"step_epochs": 0}, "--step-epochs 0: expected 1 or more"),
    ({"step_factor": 0}, "--step-factor 0.0: expected a number above 0 and at most 1"),
    ({"warmup_epochs": -1}, "--warmup-epochs -1.0: expected 0 or more"),
    ({"clip_norm": 0}, "--clip-norm 0.0: expected a number above 0"),
    ({"epochs": 0}, "--epochs 0: expected 1 or more"),
    ({"batch_size": 0}, "--batch-size 0: expected 1 or more, or all"),
    ({"shards": 0}, "--shards 0: expected 1 or more"),
    ({"seed": -1}, "--seed -1: expected 0 to 2^63 - 1"),
    ({"seed": 2**63}, "--seed 9223372036854775808: expected 0 to 2^63 - 1"),
    ({"early_stopping": 0}, "--early-stopping 0: expected 1 or more epochs"),
    ({"ranks": 0}, "--ranks 0: expected 1 or more"),
    ({"threads": 0}, "--threads 0: expected 1 or more"),
    ({"checkpoint_every": 0}, "--checkpoint-every 0: expected 1 or more"),
    ({"keep": 0}, "--keep 0: expected 1 or more"),
    (
        {"ranks": 9},
        "--ranks 9 with --shards 8: expected at most one rank a gradient shard; use --shards 9 or more, or fewer ranks",
    ),
    (
        {"ranks": 2, "backend": "single"},
        "--ranks 2 with --backend single, which is for one rank: expected another backend",
    ),
    ({"lr": "x"}, "--lr x: expected a number"),
    ({"lr": float("inf")}, "--lr inf: expected a number"),
    ({"dropout": float("nan")}, "--dropout nan: expected a number"),
    ({"lr": True}, "--lr True: expected a number"),
    ({"epochs": 1.5}, "--epochs 1.5: expected a whole number"),
    ({"epochs": True}, "--epochs True: expected a whole number"),
    ({"bias": 1}, "--bias 1: expected true or false"),
    ({"data": 3}, "--data 3: expected text that is not empty"),
    ({"data": " "}, "--data  : expected text that is not empty"),
    ({"data": "a\0b"}, r"--data a\x00b: expected text that is not empty"),
    ({"hidden": 3}, "--hidden 3: expected a list of whole numbers"),
    ({"hidden": ["x"]}, "--hidden x: expected a whole number"),
    ({"batch_size": "al"}, "--batch-size al: expected a whole number or all"),
    ({"class_weights": "balancd"}, "--class-weights balancd: expected none, balanced or a list of numbers"),
    ({"optimizer": "admw"}, "--optimizer admw: did you mean adamw? (sgd, momentum, nesterov, adam, adamw)"),
    ({"precision": 16}, "--precision 16: expected fp32, bf16"),
    ({"lrr": 1}, "unknown configuration key lrr: did you mean lr?"),
]


@pytest.mark.parametrize(("given", "message"), MESSAGES, ids=[message.split(":")[0] for _, message in MESSAGES])
def test_messages(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.build(given)
    assert str(caught.value) == message


def test_a_number_too_large_for_a_float_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"^--lr 1000+: expected a number$"):
        config.build({"lr": 10**400})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[optimizer]\nlrr = 1\n", "{path}: unknown key lrr in [optimizer]: did you mean lr?"),
        (b"[train]\nlr = 1\n", "{path}: unknown key lr in [train]: it belongs in [optimizer]"),
        (b"[optimiser]\nlr = 1\n", "{path}: unknown section [optimiser]: did you mean optimizer?"),
        (b"lr = 1\n", "{path}: lr outside of a section: it belongs in [optimizer]"),
        (b"train = 1\n", "{path}: train is not a section: expected [train] and its keys below it"),
        (
            b"[train\n",
            "--config {path}: not a TOML file (Expected ']' at the end of a table declaration (at line 1, column 7))",
        ),
        (b"\xff\xfe", "--config {path}: not a TOML file ("),
    ],
)
def test_messages_of_toml_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "job.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        config.read_toml(path)
    assert str(caught.value).startswith(message.format(path=path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.toml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError) as caught:
            config.read_toml(path)
        assert str(caught.value) == f"--config {path}: cannot be read ({reason}); expected a TOML file"


def test_nearest_names_one_or_lists_all() -> None:
    assert config.nearest("hiden", ["hidden", "lr"]) == "did you mean hidden?"
    assert config.nearest("zzz", ["hidden", "lr"]) == "expected one of hidden, lr"
