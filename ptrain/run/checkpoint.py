"""Checkpoints: written whole or not at all, verified before they are believed."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from ptrain.errors import RunDirectoryError

TENSORS, RECORD, MANIFEST = "tensors.safetensors", "record.json", "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint holds."""

    path: Path
    tensors: dict[str, torch.Tensor]
    record: dict[str, Any]


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a crash: temporary name, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write_synced(temporary, content)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write(folder: Path, step: int, tensors: dict[str, torch.Tensor], record: dict[str, Any]) -> Path:
    """Write ``folder/step-########`` under a temporary name, fsync everything, rename it, and return its path.

    Raises:
        RunDirectoryError: the disk is full or the folder cannot be written to; older checkpoints are untouched.
    """
    final = folder / f"step-{step:08d}"
    temporary = folder / f".{final.name}.{os.getpid()}.tmp"
    files = {TENSORS: save(tensors), RECORD: json.dumps(record, indent=1).encode()}
    manifest = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, content in files.items():
            _write_synced(temporary / name, content)
        _write_synced(temporary / MANIFEST, json.dumps({"sha256": manifest}, indent=1).encode())
        _sync_folder(temporary)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        _sync_folder(folder)
    except OSError as error:
        raise RunDirectoryError(
            f"checkpoint {final}: cannot be written ({error.strerror}); free space or give another --run-dir, "
            "then continue with --resume"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def read(path: Path) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises:
        RunDirectoryError: a file is missing or does not have the SHA-256 that the manifest names.
    """
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
    """Return the checkpoints in ``folder``, newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def newest(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """Return the newest checkpoint that verifies; each damaged one on the way is named in a warning."""
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
    for leftover in folder.glob(".step-*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
