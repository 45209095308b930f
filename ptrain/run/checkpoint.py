"""Checkpoints: written whole or not at all, verified before they are believed."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from ptrain import files
from ptrain.errors import RunDirectoryError, os_error_as

TENSORS, RECORD, MANIFEST = "tensors.safetensors", "record.json", "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint holds."""

    path: Path
    tensors: dict[str, torch.Tensor]
    record: dict[str, Any]


def write(folder: Path, step: int, tensors: dict[str, torch.Tensor], record: dict[str, Any]) -> Path:
    """Write ``folder/step-########``, whole or not at all, and return its path.

    Raises RunDirectoryError where the disk is full or the folder cannot be written to; older checkpoints are untouched.
    """
    final = folder / f"step-{step:08d}"
    contents = {TENSORS: save(tensors), RECORD: json.dumps(record, indent=1).encode()}
    # The manifest tells a checkpoint that rotted on the disk from a good one: the rename only says that it was whole.
    manifest = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents[MANIFEST] = json.dumps({"sha256": manifest}, indent=1).encode()
    fix = "free space or give another --run-dir, then continue with --resume"
    with (
        os_error_as(RunDirectoryError, f"checkpoint {final}: cannot be written", fix),
        files.replacing(final) as temporary,
    ):
        temporary.mkdir(parents=True)
        for name, content in contents.items():
            (temporary / name).write_bytes(content)
    return final


def read(path: Path) -> Checkpoint:
    """Read one checkpoint. Raises RunDirectoryError where a file is missing or has not the SHA-256 of the manifest."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())["sha256"]
        for name in (TENSORS, RECORD):
            if hashlib.sha256((path / name).read_bytes()).hexdigest() != manifest[name]:
                raise RunDirectoryError(f"checkpoint {path}: {name} is damaged (its SHA-256 is not the manifest's)")
        return Checkpoint(path=path, tensors=load_file(path / TENSORS), record=json.loads((path / RECORD).read_bytes()))
    except OSError as error:
        raise RunDirectoryError(f"checkpoint {path}: {error.filename} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise RunDirectoryError(f"checkpoint {path}: {MANIFEST} is damaged") from None


def paths(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def newest(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that verifies; each damaged one on the way is named in a warning."""
    # A checkpoint is renamed when it is whole, but what was written can rot, or a copy of the run can be incomplete.
    for path in paths(folder):
        try:
            return read(path)
        except RunDirectoryError as error:
            warn(f"{error}; the one before is taken")
    return None


def prune(folder: Path, keep: int, best: int | None) -> None:
    """Remove all but the ``keep`` newest checkpoints and the one of step ``best``, and left-over temporary folders."""
    for path in paths(folder)[keep:]:
        if best is None or path.name != f"step-{best:08d}":
            shutil.rmtree(path, ignore_errors=True)
    files.remove_leftovers(folder, "step-*")
