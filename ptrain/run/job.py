"""A training job before its first step: data, plan, run directory, network, checkpoints."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ptrain import config as configuration
from ptrain.config import Config
from ptrain.config.advice import Circumstances, warnings
from ptrain.data.checks import class_counts
from ptrain.data.loader import Normalization, ShardLoader, fit_normalization
from ptrain.data.plan import BatchPlan, owned_shards
from ptrain.data.samples import DataSet
from ptrain.data.scale_warnings import far_from_unit
from ptrain.errors import ConfigError
from ptrain.models.base import Model
from ptrain.models.table import make_model
from ptrain.native.choice import instruction_set, resolve
from ptrain.run import directory as files
from ptrain.run.session import Session, load_data
from ptrain.steps.base import Work
from ptrain.steps.choose import ChosenStep, choose
from ptrain.steps.state import State, new_state


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one rank needs to train, the same on every rank but for the session."""

    session: Session
    config: Config
    """With the resolved run directory."""
    folder: Path
    """The run directory; the current one for a job without."""
    dataset: DataSet
    data_sha256: str
    plan: BatchPlan
    normalization: Normalization
    model: Model
    environment: dict[str, Any]
    """What environment.json says, without the hashes."""

    @property
    def description(self) -> dict[str, Any]:
        """What is needed besides the parameters to use the network."""
        return self.model.description | {
            "class_names": self.dataset.class_names,
            "normalization": self.normalization.to_dict(),
            "schema": self.dataset.schema,
            "image_shape": self.dataset.image_shape,
            "feature_names": self.dataset.feature_names,
        }

    @property
    def hashes(self) -> dict[str, str]:
        """Hashes of data and configuration."""
        return {"data_sha256": self.data_sha256, "config_sha256": configuration.sha256(self.config)}

    @property
    def owners(self) -> list[range]:
        """The gradient shards of every rank, in rank order."""
        size = self.session.comm.info.size
        return [owned_shards(self.config.train.shards, size, rank) for rank in range(size)]

    @property
    def shards(self) -> range:
        """The gradient shards of this rank."""
        return self.owners[self.session.comm.info.rank]


def prepare(session: Session, config: Config, *, resume: bool, given: Collection[str] = ()) -> Job:
    """Load the data, claim the run directory, print the configuration with what is odd about it, and return the job.

    ``given``: fields that were given on the command line.

    Raises InputError where the configuration, the data or the run directory is at fault; on every rank alike.
    """
    job = load_job(session, config)
    folder: Path = session.from_root(lambda: files.claim(job.config, resume=resume))
    job = replace(job, folder=folder, config=replace(job.config, run=replace(job.config.run, run_dir=str(folder))))
    _print_header(job, config.train.batch_size is None)
    _warn_of_scale(job)
    test = job.dataset.test
    circumstances = Circumstances(
        config=replace(config, optimizer=job.config.optimizer),
        given=given,
        num_samples=job.dataset.train.size,
        ranks=session.comm.info.size,
        has_own_test=test is not None and test.samples is not job.dataset.train.samples,
        is_scene=(job.dataset.schema or {}).get("kind") == "scene",
    )
    for text in warnings(circumstances):
        session.console.warn(text)
    return job


def _print_header(job: Job, chosen: bool) -> None:
    """Print what runs where and on which data, and the configuration, defaults included."""
    config, dataset, plan, environment = job.config, job.dataset, job.plan, job.environment
    console = job.session.console
    hosts = len({process["host"] for process in environment["processes"]})
    splits = ", ".join(f"{split.size:,} {name}" for name, split in dataset.splits.items())
    instructions = environment["instruction_set"]
    why = f" (for {config.optimizer.optimizer} and {plan.num_samples:,} samples)" if chosen else ""
    lines = {
        "ptrain": f"{environment['ptrain']} on torch {environment['torch']}",
        "ranks": f"{environment['world_size']} on {hosts} host{'s' if hosts > 1 else ''}, "
        f"backend {environment['backend']}, device {environment['device']}, "
        f"{environment['threads']} thread{'s' if environment['threads'] > 1 else ''} a rank",
        "samples": f"{dataset.name}: {splits}; {dataset.num_features} features, {dataset.num_classes} classes",
        "normalize": job.normalization.rule,
        "network": f"{job.model.title}, {job.model.layout.num_parameters:,} parameters",
        "steps": f"{plan.steps_per_epoch:,} an epoch, global batch {plan.batch_size:,}{why} in {plan.shards} shards of "
        f"{plan.rows} row{'s' if plan.rows > 1 else ''}",
        "kernels": f"{config.train.kernels}{f' ({instructions})' if instructions else ''}, {config.train.precision}",
        "directory": str(job.folder),
    }
    for name, text in lines.items():
        console.say(f"{name:<12} {text}")
    for name, section in configuration.to_dict(config).items():
        shown = ", ".join(f"{key}={_short(value)}" for key, value in section.items())
        console.say(f"{f'[{name}]':<12} {shown}")


def _warn_of_scale(job: Job) -> None:
    """Warn of inputs far from unit size, and of test samples of their own on another scale."""
    session, dataset, fitted = job.session, job.dataset, job.normalization
    text = far_from_unit(fitted, dataset.feature_names)
    if text is not None:
        session.console.warn(text)
    if dataset.test is not None and dataset.test.samples is not dataset.train.samples:
        test = dataset.test
        session.warn_if_foreign(test.samples.origin, session.look_at(test), fitted.seen, dataset.feature_names)


def _short(value: Any) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def load_job(session: Session, config: Config) -> Job:
    """Load the data and return the job, as yet without a run directory.

    Raises InputError where the configuration or the data is at fault; on every rank alike.
    """
    size = session.comm.info.size
    if size > config.train.shards:
        raise ConfigError(
            f"{size} ranks with --shards {config.train.shards}: expected at most one rank a gradient shard; "
            f"use --shards {size} or more, or fewer ranks",
            agreed=True,
        )
    dataset, data_sha256 = load_data(session, config.data, config.train.seed)
    session.agreed(lambda: check_class_weights(config, dataset))
    session.agreed(lambda: check_validation(config, dataset))
    train = config.train
    kernels = session.agreed(lambda: resolve(train.kernels, train.precision, session.device))
    optimizer, num_samples = config.optimizer, dataset.train.size
    asked = optimizer.default_batch(num_samples) if train.batch_size is None else train.batch_size
    batch = num_samples if asked == "all" else min(asked, num_samples)
    plan = BatchPlan(num_samples=num_samples, batch_size=batch, shards=train.shards)
    optimizer = replace(optimizer, lr=optimizer.rate_for(plan.steps_per_epoch, dataset.num_features))
    config = replace(config, optimizer=optimizer, train=replace(train, kernels=kernels, batch_size=asked))
    return Job(
        session=session,
        config=config,
        folder=Path(),
        dataset=dataset,
        data_sha256=data_sha256,
        plan=plan,
        normalization=fit_normalization(
            config.data.normalize, dataset, session.comm.all_gather_object, session.comm.info.rank, size
        ),
        model=make_model(config.model, dataset.num_features, dataset.num_classes),
        environment=files.environment(session)
        | {"split_sha256": dataset.split_sha256}
        | {"instruction_set": instruction_set() if kernels == "native" else None},
    )


def start_state(job: Job) -> State:
    """The state before the first step, on this rank's device."""
    parameters = job.model.initial(job.config.train.seed).to(job.session.device)
    return new_state(parameters, job.config.optimizer.optimizer, len(job.shards), job.plan.rows)


def training_step(job: Job, state: State) -> ChosenStep:
    """Make the step of the job with all its buffers. Every rank calls it.

    Raises ConfigError where the strategy that --step names cannot be had; on every rank alike.
    """
    session, config = job.session, job.config

    def loader(shards: range) -> ShardLoader:
        return ShardLoader(job.dataset.train, job.plan, shards, config.train.seed, job.normalization, session.device)

    work = Work(
        config=config,
        model=job.model,
        kernels=resolve(config.train.kernels, config.train.precision, session.device),
        state=state,
        comm=session.comm,
        owners=job.owners,
        rows=job.plan.rows,
        steps_per_epoch=job.plan.steps_per_epoch,
        make_loader=loader,
        class_weights=class_weights(session, config, job.dataset),
        threads=session.comm.all_gather_object(session.threads),
        device=session.device,
    )
    return choose(work)


def check_class_weights(config: Config, dataset: DataSet) -> None:
    """Raise ConfigError where another number of class weights is given than there are classes."""
    choice = config.model.class_weights
    if not isinstance(choice, str) and len(choice) != dataset.num_classes:
        raise ConfigError(
            f"--class-weights with {len(choice)} numbers: expected {dataset.num_classes}, one a class of the data"
        )


def check_validation(config: Config, dataset: DataSet) -> None:
    """Raise ConfigError where training is to stop by a validation split that there is none of."""
    if config.train.early_stopping is not None and dataset.validation is None:
        raise ConfigError(
            f"--early-stopping {config.train.early_stopping} without a validation split: add --validation 0.1"
        )


def class_weights(session: Session, config: Config, dataset: DataSet) -> torch.Tensor | None:
    """The weight of each class in the loss: (classes,), counted over all ranks where balanced, or None."""
    choice = config.model.class_weights
    if choice == "none":
        return None
    if choice == "balanced":
        info, num_classes = session.comm.info, dataset.num_classes
        counts = torch.from_numpy(class_counts(dataset.train, num_classes, info.rank, info.size)).to(session.device)
        session.comm.all_reduce_(counts)
        # A class without training samples has no rows that a weight could matter for, and is none of those that share.
        present = int((counts > 0).sum())
        return (dataset.train.size / (present * counts.clamp_min(1).double())).float()
    return torch.tensor(choice, dtype=torch.float32, device=session.device)
