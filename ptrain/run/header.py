"""The lines at the start of a training run: what runs where, on which data, with which configuration."""

from pathlib import Path
from typing import Any

from ptrain import config as configuration
from ptrain.config import Config
from ptrain.console import Console
from ptrain.data.plan import BatchPlan
from ptrain.data.samples import DataSet
from ptrain.models.base import Model


def print_header(
    console: Console,
    config: Config,
    dataset: DataSet,
    model: Model,
    plan: BatchPlan,
    environment: dict[str, Any],
    folder: Path,
) -> None:
    """Print the configuration, defaults included, and what follows from it."""
    hosts = len({process["host"] for process in environment["processes"]})
    splits = ", ".join(f"{split.size:,} {name}" for name, split in dataset.splits.items())
    instructions = environment["instruction_set"]
    lines = {
        "ptrain": f"{environment['ptrain']} on torch {environment['torch']}",
        "ranks": f"{environment['world_size']} on {hosts} host{'s' if hosts > 1 else ''}, "
        f"backend {environment['backend']}, device {environment['device']}, "
        f"{environment['threads']} thread{'s' if environment['threads'] > 1 else ''} a rank",
        "samples": f"{dataset.name}: {splits}; {dataset.num_features} features, {dataset.num_classes} classes",
        "network": f"{model.title}, {model.layout.num_parameters:,} parameters",
        "steps": f"{plan.steps_per_epoch:,} an epoch, global batch {plan.batch_size:,} in {plan.shards} shards of "
        f"{plan.rows} rows",
        "kernels": f"{config.train.kernels}{f' ({instructions})' if instructions else ''}, {config.train.precision}",
        "directory": str(folder),
    }
    for name, text in lines.items():
        console.say(f"{name:<12} {text}")
    for name, section in configuration.to_dict(config).items():
        shown = ", ".join(f"{key}={_short(value)}" for key, value in section.items())
        console.say(f"{f'[{name}]':<12} {shown}")


def _short(value: Any) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
