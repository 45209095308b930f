"""A trained network read back from a run directory."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ptrain import config as configuration
from ptrain.config import Config
from ptrain.data.normalization import Normalization
from ptrain.errors import ConfigError, RunDirectoryError
from ptrain.models.base import Model, parameters_sha256
from ptrain.models.inference import Inference
from ptrain.models.table import model_of
from ptrain.run import checkpoint as checkpoints
from ptrain.run import directory as files
from ptrain.run.session import Session


class ForeignModelError(RunDirectoryError):
    """The model in a run directory is not that of the run."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A network with everything that is needed to use it."""

    config: Config
    model: Model
    parameters: torch.Tensor
    """(length,) on the CPU."""
    normalization: Normalization
    class_names: tuple[str, ...]
    schema: dict[str, Any] | None
    """How a table becomes features, where the network was trained on one."""
    image_shape: tuple[int, ...] | None
    """Shape of a sample before it was flattened."""
    feature_names: tuple[str, ...] | None
    hashes: dict[str, str]
    """parameters_sha256, data_sha256 and config_sha256, as in evaluation.json."""

    def inference(self, session: Session) -> "closing[Inference]":
        """The network on the session's device, closed at the end of the block."""
        parameters = self.parameters.to(session.device)
        return closing(Inference(config=self.config, model=self.model, parameters=parameters, threads=session.threads))


def load_trained(session: Session, run_dir: Path, checkpoint: str) -> Trained:
    """The network of a run: ``last`` is its model or, before it is finished, its newest checkpoint.

    ``best`` is the checkpoint with the lowest validation loss; a name such as step-00000469 is that checkpoint.

    Raises RunDirectoryError where there is no such run or checkpoint, or it is damaged; on every rank alike.
    """
    return session.agreed(lambda: read_trained(run_dir, checkpoint, session.console.warn))


def read_trained(run_dir: Path, checkpoint: str, warn: Callable[[str], None]) -> Trained:
    """What ``load_trained`` gives, for one process."""
    try:
        config = configuration.build(configuration.read_toml(run_dir / files.CONFIG))
    except ConfigError as error:
        raise RunDirectoryError(f"{run_dir}: is not a run of ptrain train: {error}") from None
    origin = run_dir / files.MODEL
    is_model = checkpoint == "last" and origin.exists()
    if is_model:
        tensors, description = files.read_model(origin)
    else:
        found = _find(run_dir / files.CHECKPOINTS, checkpoint, warn)
        tensors = {name.removeprefix("model."): tensor for name, tensor in found.tensors.items()}
        description = found.record["model"] | {"data_sha256": found.record["data_sha256"]}
        # Its own network, whatever config.toml has become since.
        stored = configuration.from_dict(found.record["config"])
        origin, config = found.path, replace(config, model=stored.model, train=stored.train)
        description["config_sha256"] = configuration.content_sha256(found.record["config"])
    try:
        model = model_of(config.model, description)
        parameters = torch.zeros(model.layout.length)
        for name, view in model.layout.views(parameters).items():
            view.copy_(tensors[name])
        hashes = {
            "parameters_sha256": parameters_sha256(model.layout, parameters),
            "data_sha256": description["data_sha256"],
            "config_sha256": description.get("config_sha256") or configuration.sha256(config),
        }
        trained = Trained(
            config=config,
            model=model,
            parameters=parameters,
            normalization=Normalization.from_dict(description["normalization"]),
            class_names=tuple(description["class_names"]),
            schema=description.get("schema"),
            image_shape=tuple(description.get("image_shape") or ()) or None,
            feature_names=None if (names := description.get("feature_names")) is None else tuple(names),
            hashes=hashes,
        )
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RunDirectoryError(
            f"{origin}: does not hold a network that fits its run ({error!r}){_fix(run_dir)}"
        ) from None
    if is_model:
        check_model(run_dir, config, description, hashes["parameters_sha256"])
    return trained


def check_model(run_dir: Path, config: Config, description: Mapping[str, Any], found: str) -> None:
    """Compare the SHA-256 of a model's parameters with what the model and the run say of them.

    Raises RunDirectoryError for a damaged model and for settings that are not those it was trained with, and
    ForeignModelError for that of another run.
    """
    model, environment = run_dir / files.MODEL, run_dir / files.ENVIRONMENT
    own = description.get("parameters_sha256", found)
    if own != found:
        raise RunDirectoryError(
            f"{model}: is damaged: its parameters have the SHA-256 {found[:12]}, those that were written {own[:12]}"
            + _fix(run_dir)
        )
    # A folder of only the model and config.toml is enough to use a network.
    of_run = files.read_json(environment).get("parameters_sha256", found) if environment.exists() else found
    if of_run != found:
        raise ForeignModelError(
            f"{model}: is not the model of this run: its parameters have the SHA-256 {found[:12]}, the run's "
            f"{of_run[:12]} ({files.ENVIRONMENT})" + _fix(run_dir)
        )
    if changed := _changed(run_dir, config, description):
        raise RunDirectoryError(
            f"{run_dir / files.CONFIG}: holds other settings than {files.MODEL} was trained with ({changed}); "
            f"undo the change, or train with these settings: ptrain train --resume --force-resume --run-dir {run_dir}"
        )


def _changed(run_dir: Path, config: Config, description: Mapping[str, Any]) -> str:
    """What differs between the configuration of the run and that of its model; nothing for data that were moved."""
    if "config" in description:
        stored = configuration.from_dict(description["config"])
        places = {name: getattr(config.data, name) for name in ("data", "labels", "test_data", "test_labels")}
        return "; ".join(configuration.differences(replace(stored, data=replace(stored.data, **places)), config))
    expected, here = description.get("config_sha256"), configuration.file_sha256(run_dir / files.CONFIG)
    alike = expected in (None, here, configuration.sha256(config))
    return "" if alike else f"SHA-256 {str(expected)[:12]} -> {here[:12]}"


def _fix(run_dir: Path) -> str:
    again = f"write it anew from the last checkpoint with ptrain train --resume --run-dir {run_dir}"
    return f"; bring the run's own file back, or {again}"


def _find(folder: Path, name: str, warn: Callable[[str], None]) -> checkpoints.Checkpoint:
    newest = checkpoints.newest(folder, warn) if name in ("last", "best") else None
    if name == "last":
        if newest is None:
            raise RunDirectoryError(
                f"{folder.parent}: holds neither {files.MODEL} nor a checkpoint; expected a run that trained for a "
                "while: continue it with ptrain train --resume"
            )
        return newest
    if name == "best":
        step = None if newest is None else newest.record["progress"]["best_step"]
        if step is None:
            raise RunDirectoryError(
                f"{folder.parent}: --checkpoint best needs a run with a validation split (--validation 0.1)"
            )
        name = f"step-{step:08d}"
    if not (folder / name).is_dir():
        there = ", ".join(path.name for path in checkpoints.paths(folder)) or "none"
        raise RunDirectoryError(f"{folder.parent}: --checkpoint {name}: expected last, best or one of: {there}")
    return checkpoints.read(folder / name)
