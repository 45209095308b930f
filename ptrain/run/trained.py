"""A trained network read back from a run directory."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
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
    return session.agreed(lambda: _load(run_dir, checkpoint, session.console.warn))


def _load(run_dir: Path, checkpoint: str, warn: Callable[[str], None]) -> Trained:
    try:
        config = configuration.build(configuration.read_toml(run_dir / files.CONFIG))
    except ConfigError as error:
        raise RunDirectoryError(f"{run_dir}: is not a run of ptrain train: {error}") from None
    if checkpoint == "last" and (run_dir / files.MODEL).exists():
        tensors, description = files.read_model(run_dir / files.MODEL)
    else:
        found = _find(run_dir / files.CHECKPOINTS, checkpoint, warn)
        tensors = {name.removeprefix("model."): tensor for name, tensor in found.tensors.items()}
        description = found.record["model"] | {"data_sha256": found.record["data_sha256"]}
    model = model_of(config.model, description)
    parameters = torch.zeros(model.layout.length)
    for name, view in model.layout.views(parameters).items():
        view.copy_(tensors[name])
    hashes = {
        "parameters_sha256": parameters_sha256(model.layout, parameters),
        "data_sha256": description["data_sha256"],
        "config_sha256": configuration.sha256(config),
    }
    return Trained(
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
