"""Warnings about settings that are valid, but cannot work or have no effect: a line each."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from typing import Any

from ptrain.config.sections import WITH_ALPHA, Config
from ptrain.config.values import given

OWN = {
    "momentum": ("optimizer", ("momentum", "nesterov")),
    "beta1": ("optimizer", ("adam", "adamw")),
    "beta2": ("optimizer", ("adam", "adamw")),
    "epsilon": ("optimizer", ("adam", "adamw")),
    "step_epochs": ("schedule", ("step",)),
    "step_factor": ("schedule", ("step",)),
    "init_sigma": ("init", ("normal",)),
    "block_size": ("split", ("blocks",)),
}
"""Fields that only some choices of another field have a use for."""
OF_HIDDEN_LAYERS = ("dropout", "activation")
"""Fields of hidden layers."""


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What a configuration is used on."""

    config: Config
    """With the learning rate that is used, and the batch size that was asked for."""
    given: Collection[str]
    """Fields that were given on the command line: to give what is the default anyway means something there."""
    num_samples: int
    """Of the training split."""
    ranks: int
    has_own_test: bool
    """Whether the test split was not drawn from the training samples."""
    is_scene: bool

    def value(self, name: str) -> Any:
        """The value of a field of any section."""
        return next(getattr(one, name) for one in self._sections if hasattr(one, name))

    def is_chosen(self, name: str) -> bool:
        """Whether somebody chose the value of a field: it was given, or is not the default."""
        default = next(one.default for part in self._sections for one in fields(part) if one.name == name)
        return name in self.given or self.value(name) != default

    @property
    def _sections(self) -> tuple[Any, ...]:
        config = self.config
        return config.data, config.model, config.optimizer, config.train, config.run


def warnings(job: Circumstances) -> Iterator[str]:
    """Yield a line for every setting that cannot work or has no effect; none for defaults."""
    for name, (chooser, choices) in OWN.items():
        if job.is_chosen(name) and job.value(chooser) not in choices:
            no_use = f"has no effect with {given(chooser, job.value(chooser))}"
            yield f"{given(name, job.value(name))} {no_use}; it is for {' and '.join(choices)}"
    if not job.config.model.hidden:
        for name in OF_HIDDEN_LAYERS:
            if job.is_chosen(name) and job.value(name):
                yield f"{given(name, job.value(name))} has no effect with --hidden none: there is no hidden layer"
        model = job.config.model
        if model.activation_alpha is not None and model.output_activation not in WITH_ALPHA:
            yield f"{given('activation_alpha', model.activation_alpha)} has no effect with --hidden none"
    if job.has_own_test and job.is_chosen("test_fraction"):
        yield f"{given('test_fraction', job.value('test_fraction'))} has no effect: the data have their own test split"
    for name in ("neighborhood", "unlabelled"):
        if not job.is_scene and job.is_chosen(name):
            yield f"{given(name, job.value(name))} has no effect: the data are no scene"
    yield from _of_update(job)
    yield from _of_time(job)
    yield from _of_batch(job)


def _of_update(job: Circumstances) -> Iterator[str]:
    """Yield what is wrong with the optimizer's numbers."""
    optimizer = job.config.optimizer
    if optimizer.optimizer == "adamw" and optimizer.weight_decay == 0:
        yield (
            "--optimizer adamw with --weight-decay 0 is adam: they differ in how weights decay; "
            "give --weight-decay 0.01, say, or take adam"
        )
    if optimizer.optimizer in ("momentum", "nesterov") and optimizer.momentum == 0:
        yield f"--optimizer {optimizer.optimizer} with --momentum 0 is sgd"
    if (product := optimizer.learning_rate * optimizer.weight_decay) >= 1 and optimizer.optimizer != "adam":
        yield (
            f"{given('weight_decay', optimizer.weight_decay)} with --lr {optimizer.learning_rate:g} takes {product:g} "
            "times each weight away at every step: their product must be well below 1"
        )


def _of_time(job: Circumstances) -> Iterator[str]:
    """Yield what does not fit into the epochs."""
    optimizer, train = job.config.optimizer, job.config.train
    if optimizer.warmup_epochs >= train.epochs:
        reached = optimizer.learning_rate * train.epochs / optimizer.warmup_epochs
        yield (
            f"{given('warmup_epochs', optimizer.warmup_epochs)} with --epochs {train.epochs}: the training ends in its "
            f"warm-up, at {reached:.3g} of --lr {optimizer.learning_rate:g}; give more epochs, or a shorter warm-up"
        )
    if optimizer.schedule == "step":
        if optimizer.step_factor == 1:
            yield "--schedule step with --step-factor 1 is constant"
        elif optimizer.step_epochs >= train.epochs:
            yield (
                f"--schedule step with --step-epochs {optimizer.step_epochs} and --epochs {train.epochs}: the learning "
                "rate is never reduced; give fewer --step-epochs"
            )
    if train.early_stopping is not None and train.early_stopping >= train.epochs:
        yield (
            f"{given('early_stopping', train.early_stopping)} with --epochs {train.epochs} never stops early; "
            "the model of the best epoch is taken all the same"
        )


def _of_batch(job: Circumstances) -> Iterator[str]:
    """Yield what does not fit the number of samples."""
    train = job.config.train
    default = job.config.optimizer.default_batch(job.num_samples)
    asked = train.batch_size or default
    batch = job.num_samples if asked == "all" else asked
    # The default becomes a number before the first step, and is one in the file of a run that is continued.
    if batch > job.num_samples and ("batch_size" in job.given or batch != default):
        yield (
            f"--batch-size {batch} with {job.num_samples:,} training samples: every step takes all of them, "
            "as with --batch-size all"
        )
    rows = min(batch, job.num_samples)
    if train.shards > rows and (job.is_chosen("shards") or job.ranks > rows):
        yield (
            f"--shards {train.shards} with a global batch of {rows}: {train.shards - rows} of them stay empty, and no "
            f"more than {rows} ranks have something to do; --shards {rows} is enough"
        )
