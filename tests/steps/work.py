"""Small jobs for tests of steps: configurations, samples, and the work that a step is made of."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from ptrain.comm.base import Communicator, RankInfo
from ptrain.comm.single import SingleCommunicator
from ptrain.config import Config, ModelConfig, OptimizerConfig, TrainConfig
from ptrain.data.loader import Normalization, ShardLoader
from ptrain.data.plan import BatchPlan, owned_shards
from ptrain.data.samples import Samples, Split
from ptrain.models.base import Loader
from ptrain.models.table import make_model
from ptrain.native.choice import resolve
from ptrain.steps.base import Step, Work
from ptrain.steps.choose import choose
from ptrain.steps.state import State, new_state

CPU = torch.device("cpu")
ONE = SingleCommunicator(RankInfo(rank=0, size=1, local_rank=0, local_size=1, host="here", launcher="none", job_id=""))
NUM_SAMPLES = 50
OPTIMIZERS = {
    "sgd": OptimizerConfig(optimizer="sgd", weight_decay=0.01),
    "momentum": OptimizerConfig(optimizer="momentum", weight_decay=0.1, clip_norm=0.3),
    "nesterov": OptimizerConfig(optimizer="nesterov", clip_norm=0.2),
    "adam": OptimizerConfig(optimizer="adam", clip_norm=0.2, schedule="cosine"),
    "adamw": OptimizerConfig(optimizer="adamw", weight_decay=0.01),
}
SGD = OptimizerConfig(optimizer="sgd")
CONFIGS = {
    "plain": Config(model=ModelConfig(hidden=(7,)), optimizer=SGD, train=TrainConfig(batch_size=16)),
    "uneven": Config(
        model=ModelConfig(hidden=(5, 6), dropout=0.2), optimizer=SGD, train=TrainConfig(batch_size=13, shards=6)
    ),
    "stochastic": Config(model=ModelConfig(hidden=()), optimizer=SGD, train=TrainConfig(batch_size=1, shards=3)),
    "batch": Config(
        model=ModelConfig(hidden=(4,), activation="gelu"),
        optimizer=SGD,
        train=TrainConfig(batch_size="all", shards=5),
    ),
    "bf16": Config(
        model=ModelConfig(hidden=(8,), activation="sigmoid"),
        optimizer=OptimizerConfig(optimizer="adam", clip_norm=0.1),
        train=TrainConfig(batch_size=20, precision="bf16"),
    ),
    "weighted": Config(
        model=ModelConfig(hidden=(13,), loss="mse", class_weights=(1.0, 0.5, 2.0)),
        optimizer=SGD,
        train=TrainConfig(batch_size=16),
    ),
    **{
        name: Config(model=ModelConfig(hidden=(13, 6), dropout=0.1), optimizer=rule, train=TrainConfig(batch_size=16))
        for name, rule in OPTIMIZERS.items()
    },
}


def with_kernels(config: Config, kernels: str) -> Config:
    return replace(config, train=replace(config.train, kernels=kernels))  # type: ignore[arg-type]


def with_step(config: Config, step: str, every: int | None = None) -> Config:
    return replace(config, run=replace(config.run, step=step, synchronise_every=every))  # type: ignore[arg-type]


def samples(bad: int | None = None) -> Split:
    """Return 50 samples of 9 features and 3 classes; ``bad`` has a feature that is infinite."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, NUM_SAMPLES)
    values = random.normal(size=(NUM_SAMPLES, 9)).astype(np.float32) + labels[:, None].astype(np.float32)
    if bad is not None:
        values[bad, 0] = np.inf
    return Split(Samples(values, labels), 0, NUM_SAMPLES)


def plan_of(config: Config) -> BatchPlan:
    asked = config.train.batch_size
    batch = asked if isinstance(asked, int) else NUM_SAMPLES
    return BatchPlan(num_samples=NUM_SAMPLES, batch_size=batch, shards=config.train.shards)


def work_of(
    config: Config,
    *,
    comm: Communicator = ONE,
    threads: int = 1,
    bad: int | None = None,
    device: torch.device = CPU,
    workspace_limit: int = 2**30,
    wrap: Callable[[range, Loader], Loader] = lambda shards, loader: loader,
) -> Work:
    """Return the work of a rank before its first step; ``wrap`` may replace loaders."""
    split, plan, model = samples(bad), plan_of(config), make_model(config.model, 9, 3)
    size, rank = comm.info.size, comm.info.rank
    owners = [owned_shards(config.train.shards, size, owner) for owner in range(size)]
    weights = config.model.class_weights
    return Work(
        config=config,
        model=model,
        kernels=resolve(config.train.kernels, config.train.precision, device),
        state=new_state(model.initial(0).to(device), config.optimizer.optimizer, len(owners[rank]), plan.rows),
        comm=comm,
        owners=owners,
        rows=plan.rows,
        steps_per_epoch=plan.steps_per_epoch,
        make_loader=lambda shards: wrap(shards, ShardLoader(split, plan, shards, 0, Normalization.identity(), device)),
        class_weights=None if isinstance(weights, str) else torch.tensor(weights, device=device),
        threads=[threads] * size,
        device=device,
        workspace_limit=workspace_limit,
    )


def step_of(work: Work) -> Step:
    return choose(work).step


def train(step: Step, work: Work, epochs: int = 3) -> State:
    """Train for some epochs and end the step; nobody asks to stop."""
    plan = plan_of(work.config)
    for epoch in range(epochs):
        work.state.start_epoch()
        for index in range(plan.steps_per_epoch):
            assert step.run(epoch, index, plan.valid_rows(index)) is False
        assert step.synchronise() is False
    step.close()
    return work.state
