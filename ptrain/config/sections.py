"""The configuration of a run: frozen dataclasses, one a TOML section, each of which checks its own values.

Field names are unique over all sections: a field is at once a TOML key and a flag (``batch_size``, ``--batch-size``),
and the docstring under it is the flag's help.
"""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from ptrain.comm.table import BACKENDS
from ptrain.config.values import OneOf, annotations, require
from ptrain.errors import ConfigError

Activation = Literal["identity", "sigmoid", "tanh", "relu", "softplus", "leaky_relu", "elu", "gelu"]
WITH_ALPHA = ("leaky_relu", "elu")
"""Activations with a parameter, --activation-alpha."""


def _is_positive(number: float) -> bool:
    return 0 < number < math.inf


def _is_share(number: float) -> bool:
    return 0.0 <= number < 1.0


def _is_counted(number: float) -> bool:
    return number >= 1


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What to train and to evaluate on."""

    data: str = "digits"
    """Source of the data (see ptrain.data.sources.table, from which the help is made)."""
    labels: str | None = None
    """Labels of FEATURES.npy, as FILE.npy or FILE:NAME of arrays that are named so, or the reference of a scene."""
    test_data: str | None = None
    """Test samples of the same format as --data, where the source has no test split of its own."""
    test_labels: str | None = None
    """File of labels for --test-data."""
    test_fraction: float = 0.2
    """Share of the samples held out for the test, where the source has no test split of its own and none is given."""
    validation: float = 0.0
    """Share of the training samples held out for validation, where the source has no validation split of its own."""
    split: Literal["random", "stratified", "groups", "blocks"] = "random"
    """How samples are held out: random; stratified, the same share of every class; groups, whole groups of --group; or
    blocks, whole squares of a scene."""
    group: str | None = None
    """Column of a table whose equal values belong together: --split groups keeps them on one side."""
    block_size: int | None = None
    """Pixels on a side of the squares of --split blocks; by default a twentieth of the scene's longer side, at least 16
    and at least 4 neighborhoods."""
    unlabelled: Literal["auto", "none"] | tuple[int, ...] = "auto"
    """Values of a scene's reference that mean no class, besides its nodata value and mask: none, or numbers; auto is 0
    unless the file says otherwise (see docs/scenes.md)."""
    neighborhood: int = 1
    """Pixels on a side of the square around a pixel of a scene whose values are its features; odd."""
    target: str | None = None
    """Column of a table that holds the classes."""
    features: str | None = None
    """Columns of a table to learn from, separated by commas; by default all but the target and the group."""
    drop: str | None = None
    """Columns of a table to leave out, separated by commas."""
    categories: str | None = None
    """Columns of a table whose values are names even where they look like numbers, separated by commas."""
    missing: Literal["error", "mean", "drop"] = "error"
    """Missing values of a table or of arrays: an error, the mean of the feature over the training split, or drop the
    sample."""
    missing_values: str | None = None
    """What stands for a missing value of a table, such as -999,NA, instead of NA, NaN, null, None and ?; empty: only
    what is empty does."""
    normalize: Literal["auto", "none", "unit", "standard"] = "auto"
    """How features are scaled: unit maps one range, that of the training split or of the type, to 0..1; standard gives
    each feature mean 0 and deviation 1 over the training split; auto is unit for pixels and else standard."""

    def __post_init__(self) -> None:
        require(self, ("test_fraction", "validation"), _is_share, "a number from 0 to below 1")
        if self.test_labels is not None and self.test_data is None:
            raise ConfigError(f"--test-labels {self.test_labels} without --test-data: give the test features as well")
        if self.features is not None and self.drop is not None:
            raise ConfigError(f"--features {self.features} with --drop {self.drop}: expected one of the two")
        if self.group is not None and self.split != "groups":
            raise ConfigError(f"--group {self.group} with --split {self.split}: add --split groups, or leave it out")
        require(self, ("neighborhood",), lambda side: side >= 1 and side % 2 == 1, "1, 3, 5, ...")
        require(self, ("block_size",), _is_counted, "1 or more pixels")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network and its loss."""

    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers; none makes a multi-output perceptron (--hidden none)."""
    activation: Activation = "relu"
    """Activation of the hidden layers."""
    output_activation: Activation = "identity"
    """Activation of the output layer; cross_entropy wants identity, since it contains the softmax."""
    activation_alpha: float | None = None
    """Alpha of leaky_relu and elu: alpha z, and alpha (exp(z) - 1), below 0; by default 0.01, and 1 for elu."""
    bias: bool = True
    """Whether the layers have a bias."""
    init: Literal["auto", "normal", "glorot", "he"] = "auto"
    """Initial weights: normal with --init-sigma, glorot (uniform), he (normal); auto is he for relu, leaky_relu, elu,
    gelu and softplus, and glorot for the others."""
    init_sigma: float = 0.01
    """Standard deviation of --init normal."""
    dropout: float = 0.0
    """Probability that an output of a hidden layer is dropped during training."""
    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    """cross_entropy, or mse: the mean over samples of the sum of squares on one-hot targets."""
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"
    """Weight of each class in the loss: none, balanced (N / (classes * count of the class)), or a number a class."""

    def __post_init__(self) -> None:
        require(self, ("hidden",), lambda widths: all(map(_is_counted, widths)), "widths of 1 or more")
        require(self, ("dropout",), _is_share, "a probability from 0 to below 1")
        require(self, ("init_sigma",), _is_positive, "above 0")
        require(self, ("activation_alpha",), _is_positive, "a number above 0")
        if self.activation_alpha is not None and not {self.activation, self.output_activation} & set(WITH_ALPHA):
            raise ConfigError(
                f"--activation-alpha {self.activation_alpha} with --activation {self.activation}, which has none: "
                f"expected --activation {' or '.join(WITH_ALPHA)}"
            )
        if not isinstance(self.class_weights, str):
            expected = "finite numbers above 0, one a class, or none, or balanced"
            require(self, ("class_weights",), lambda one: len(one) > 0 and all(map(_is_positive, one)), expected)
        if self.loss == "cross_entropy" and self.output_activation != "identity":
            raise ConfigError(
                f"--output-activation {self.output_activation} with --loss cross_entropy, which contains the softmax: "
                "expected identity, or --loss mse"
            )


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How the parameters follow the gradient."""

    optimizer: Literal["sgd", "momentum", "nesterov", "adam", "adamw"] = "adam"
    """The update rule; --optimizer sgd is that of the lecture, with a learning rate and a batch of its own."""
    lr: float | None = None
    """Learning rate; by default 0.1 for sgd, 0.01 for momentum and nesterov, for adam and adamw 0.001, or 0.004 with
    fewer than 50 steps an epoch and 0.02 with fewer than 12, but at most 3 / features. It is never scaled with the
    number of ranks."""
    momentum: float = 0.9
    """Momentum of momentum and nesterov."""
    beta1: float = 0.9
    """Decay of the first moment of adam and adamw."""
    beta2: float = 0.999
    """Decay of the second moment of adam and adamw."""
    epsilon: float = 1e-8
    """Added to the denominator of adam and adamw."""
    weight_decay: float = 0.0
    """L2 penalty on weights, not on biases (decoupled from the gradient for adamw)."""
    schedule: Literal["constant", "step", "cosine"] = "constant"
    """Course of the learning rate: constant, step (times --step-factor every --step-epochs), or cosine (falls to 0)."""
    step_epochs: int = 10
    """Epochs between two reductions of --schedule step."""
    step_factor: float = 0.1
    """Factor of --schedule step."""
    warmup_epochs: float = 0.0
    """Epochs over which the learning rate rises linearly from near 0 to --lr."""
    clip_norm: float | None = None
    """Largest Euclidean norm of the gradient; a longer one is scaled down to it."""

    def __post_init__(self) -> None:
        require(self, ("lr", "epsilon", "clip_norm"), _is_positive, "a number above 0")
        require(self, ("momentum", "beta1", "beta2"), _is_share, "a number from 0 to below 1")
        require(self, ("weight_decay", "warmup_epochs"), lambda number: 0 <= number < math.inf, "0 or more")
        require(self, ("step_epochs",), _is_counted, "1 or more")
        require(self, ("step_factor",), lambda factor: 0 < factor <= 1, "a number above 0 and at most 1")

    @property
    def learning_rate(self) -> float:
        """The base learning rate, with the optimizer's own default where none is given; see ``rate_for``."""
        rates = {"sgd": 0.1, "momentum": 0.01, "nesterov": 0.01, "adam": 0.001, "adamw": 0.001}
        return rates[self.optimizer] if self.lr is None else self.lr

    def rate_for(self, steps_per_epoch: int, num_features: int) -> float:
        """The base learning rate in a training: adam's default is larger where an epoch has few steps.

        An update by adam moves what a neuron sums up by about the rate times the number of features, hence the limit.
        """
        if self.lr is not None or self.optimizer not in ("adam", "adamw") or steps_per_epoch >= 50:
            return self.learning_rate
        rate, most = 0.02 if steps_per_epoch < 12 else 0.004, 3 / num_features
        return max(self.learning_rate, rate if rate <= most else float(f"{most:.1g}"))  # digits that people read

    def default_batch(self, num_samples: int) -> int:
        """The global batch where none is given: small data need small ones, to get enough steps out of an epoch."""
        if self.optimizer not in ("adam", "adamw"):
            return 128  # what the default learning rates are for
        return next((size for size in (128, 64, 32, 16) if num_samples >= 50 * size), 8)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, in which batches and in which arithmetic to train."""

    epochs: int = 20
    """Passes over the training split."""
    batch_size: int | Literal["all"] | None = None
    """Global batch: samples a step over all ranks together; 1 is stochastic, all is batch gradient descent. By default
    128 for sgd, momentum and nesterov; for adam and adamw the largest power of two with at least 50 steps an epoch,
    from 8 to 128. It never depends on the number of ranks."""
    shards: int = 8
    """Gradient shards a global batch is cut into: the largest useful number of ranks. Part of the arithmetic."""
    seed: int = 0
    """Seed of everything that is random: initial weights, order, dropout, splits."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the matrix products; parameters and sums are always fp32."""
    reduction: Literal["ordered", "allreduce"] = "ordered"
    """How gradients are summed: ordered gives the same bits on any number of ranks, allreduce is the backend's own."""
    kernels: Literal["auto", "native", "torch"] = "auto"
    """Who computes: native is ptrain's own compiled kernels (CPU, fp32), with the same bits on every processor; torch
    is torch's. Part of the arithmetic. auto takes native where it can."""
    early_stopping: int | None = None
    """Stop after this many epochs without a lower validation loss; needs --validation or a source with such a split."""

    def __post_init__(self) -> None:
        require(self, ("epochs", "shards"), _is_counted, "1 or more")
        require(self, ("batch_size",), lambda size: size == "all" or _is_counted(size), "1 or more, or all")
        require(self, ("seed",), lambda seed: 0 <= seed < 2**63, "0 to 2^63 - 1")
        require(self, ("early_stopping",), _is_counted, "1 or more epochs")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where and on what to run. Nothing here changes the result."""

    run_dir: str | None = None
    """Run directory; by default runs/NAME-TIME."""
    ranks: int | None = None
    """Start this many ranks on this machine with mpirun; not needed under srun, mpirun or torchrun."""
    backend: Annotated[str, OneOf("auto", *BACKENDS)] = "auto"
    """What carries the gradients between ranks."""
    step: Literal["auto", "slices", "device", "shared", "messages"] = "auto"
    """How a step is done: slices or sums of gradients (shared) in memory that the ranks of a machine share, device
    without waiting for it, messages through the backend; auto takes the first that can be had and pays."""
    synchronise_every: int | None = None
    """Steps after which the host waits for the device of --step device and learns how they went; by default 32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; with cuda each rank takes the GPU of its local rank."""
    threads: int | None = None
    """Threads a rank, at most its number of shards; by default the cores of the machine shared out over its ranks."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; by default one at the end of every epoch."""
    report: bool = True
    """Write report.html and plots/ when the run is finished; ptrain report does it later."""
    log: Literal["none", "tensorboard", "mlflow"] = "none"
    """Live view besides metrics.jsonl: tensorboard writes event files into RUN/tensorboard, mlflow into the store
    that MLFLOW_TRACKING_URI names or else into mlruns beside the run directory."""
    keep: int = 3
    """Newest checkpoints kept, besides the best one."""
    max_steps: int | None = None
    """Stop after this many steps in all, as if asked to: with a checkpoint and exit code 75."""
    step_timeout: float | None = None
    """Seconds without progress after which the rank that hangs is named and the job ends; by default 100 times the
    longest step so far, and at least 300."""
    restarts: int = 0
    """With --ranks: start again from the last checkpoint up to this many times after a crash of any rank."""
    trace: bool = False
    """Write the SHA-256 of every parameter after every step to trace.jsonl, to compare runs by; costs time."""

    def __post_init__(self) -> None:
        counts = ("ranks", "threads", "checkpoint_every", "keep", "max_steps", "synchronise_every")
        require(self, counts, _is_counted, "1 or more")
        require(self, ("step_timeout",), lambda seconds: seconds > 0, "seconds above 0")
        require(self, ("restarts",), lambda times: times >= 0, "0 or more")
        if self.ranks is not None and self.ranks > 1 and self.backend == "single":
            raise ConfigError(
                f"--ranks {self.ranks} with --backend single, which is for one rank: expected another backend"
            )


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that a training run is told, one field a TOML section."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        ranks = self.run.ranks
        if ranks is not None and ranks > self.train.shards:
            raise ConfigError(
                f"--ranks {ranks} with --shards {self.train.shards}: expected at most one rank a gradient shard; "
                f"use --shards {ranks} or more, or fewer ranks"
            )


SECTIONS: dict[str, type[Any]] = annotations(Config)
"""Name of each TOML section and its dataclass."""
RENAMED: dict[str, str] = {"exchange": "step"}
"""Fields under the names that they once had, which files and command lines may still use."""
