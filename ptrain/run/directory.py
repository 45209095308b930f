"""The run directory: who may use it, and the files that describe the run."""

import hashlib
import json
import os
import platform
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

import ptrain
from ptrain import config as configuration
from ptrain.config import Config
from ptrain.errors import RunDirectoryError, os_error_as
from ptrain.files import replacing, write_file
from ptrain.launch.child import run_limited
from ptrain.models.base import Layout
from ptrain.run import listing
from ptrain.run.session import Session

CONFIG, ENVIRONMENT, METRICS, MODEL = "config.toml", "environment.json", "metrics.jsonl", "model.safetensors"
CHECKPOINTS, TRACE = "checkpoints", "trace.jsonl"
TRAINED = (CONFIG, ENVIRONMENT, METRICS, MODEL, TRACE, f"{CHECKPOINTS}/*/manifest.json")
"""What a finished training leaves, as patterns; a checkpoint's manifest has the SHA-256 of its other files."""


def claim(config: Config, *, resume: bool) -> Path:
    """Make the run directory of a new run, or check the one to continue, and return it. Called on rank 0.

    Raises RunDirectoryError where it holds another run, or cannot be made or written to.
    """
    path = Path(config.run.run_dir or configuration.default_run_dir(config.data.data))
    number = 1
    while config.run.run_dir is None and path.exists():
        number += 1
        path = path.with_name(f"{path.name.removesuffix(f'-{number - 1}')}-{number}")
    if path.exists() and not path.is_dir():
        raise RunDirectoryError(f"--run-dir {path}: is a file; expected a folder, or a name that is free")
    holds_run = (path / CONFIG).exists()
    if holds_run and not resume:
        raise RunDirectoryError(
            f"--run-dir {path}: already holds a run; expected a free name, or --resume to continue that run"
        )
    with os_error_as(RunDirectoryError, f"--run-dir {path}: cannot be written", "expected a folder you can write to"):
        (path / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        if not holds_run:
            # A limit on the steps is for one sitting: the run that is continued must not stop there again.
            stored = replace(config.run, run_dir=str(path), max_steps=None)
            with replacing(path / CONFIG) as temporary:
                configuration.write_toml(replace(config, run=stored), temporary)
    return path


def begin(folder: Path, config: Config, environment: dict[str, Any]) -> None:
    """Write what is about to be trained, and on what: from here on the run is an unfinished one. Called on rank 0.

    A training that is continued with other settings than config.toml holds becomes that of those settings; [run] stays.
    """
    path = folder / CONFIG
    with _writing(path):
        listing.remove(folder)
        if configuration.file_sha256(path) != configuration.sha256(config):
            stored = configuration.build(configuration.read_toml(path))
            configuration.write_toml(replace(config, run=stored.run), path)
    write_json(folder / ENVIRONMENT, environment)


def environment(session: Session) -> dict[str, Any]:
    """What the run runs on: versions, hosts, git commit, launcher, backend. Every rank calls it."""
    processes = session.comm.all_gather_object({"host": session.comm.info.host, "pid": os.getpid()})
    return {
        "ptrain": ptrain.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "git_commit": _git_commit(),
        "command": sys.argv,
        "launcher": session.comm.info.launcher,
        "backend": session.comm.name,
        "device": torch.cuda.get_device_name(session.device) if session.device.type == "cuda" else "cpu",
        "world_size": session.comm.info.size,
        "threads": session.threads,
        "processes": processes,
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file of a run directory. Raises RunDirectoryError where it cannot be written."""
    with _writing(path):
        write_file(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of a run directory. Raises RunDirectoryError where it is missing or damaged."""
    try:
        with os_error_as(RunDirectoryError, f"{path}: cannot be read", "expected a run of ptrain train"):
            return json.loads(path.read_bytes())
    except ValueError:
        raise RunDirectoryError(f"{path}: is damaged (not JSON)") from None


def keep_records(path: Path, key: str, last: int) -> list[int]:
    """Drop the records whose ``key`` is above ``last``, which a continued run will write again, and damaged lines.

    Returns the numbers of the damaged lines, from 1, but for the last one: that is what a crash may leave incomplete.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines()
    numbers = [_number(line, key) for line in lines]
    with _writing(path):
        kept = [line for line, number in zip(lines, numbers, strict=True) if number is not None and number <= last]
        write_file(path, b"".join(line + b"\n" for line in kept))
    return [index + 1 for index, number in enumerate(numbers[:-1]) if number is None]


def _number(line: bytes, key: str) -> float | None:
    """The number under ``key``; None for a line that is damaged."""
    try:
        return float(json.loads(line)[key])
    except (ValueError, KeyError, TypeError):
        return None


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Append a record to a file of JSON lines. Raises RunDirectoryError where it cannot be written."""
    # Appended and not replaced, so that others can follow the file; readers drop a last line that a crash cut off.
    with _writing(path), path.open("a") as file:
        file.write(json.dumps(record, allow_nan=False) + "\n")


def _writing(path: Path) -> AbstractContextManager[None]:
    fix = "free space or make the folder writable, then continue with ptrain train --resume --run-dir"
    return os_error_as(RunDirectoryError, f"{path}: cannot be written", f"{fix} {path.parent}")


def write_model(path: Path, layout: Layout, parameters: torch.Tensor, description: dict[str, Any]) -> None:
    """Write the parameters with everything that is needed to use them: widths, class names, normalization."""
    tensors = {name: view.cpu().clone() for name, view in layout.views(parameters).items()}
    text = json.dumps(description)
    with _writing(path):
        write_file(path, save(tensors, metadata={"ptrain": text, "sha256": _sha256(text)}))


def read_model(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The parameters by name and the description that write_model stored.

    Raises RunDirectoryError where the file is missing, damaged, or not one of ptrain's.
    """
    fix = "expected a finished run of ptrain train; continue an unfinished one with ptrain train --resume"
    with os_error_as(RunDirectoryError, f"{path}: cannot be read", fix):
        content = path.read_bytes()
    try:
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        text = metadata["ptrain"]
        # Class names and normalization count as much as parameters do, which have a hash of their own in the text.
        if _sha256(text) != metadata.get("sha256", _sha256(text)):
            raise ValueError
        return load(content), json.loads(text)
    except Exception as error:  # safetensors raises its own type for a damaged file
        raise RunDirectoryError(f"{path}: is not a model of ptrain, or is damaged ({type(error).__name__})") from None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _git_commit() -> str | None:
    """The commit of ptrain's own source where it runs from a checkout."""
    git = ["git", "-C", str(Path(ptrain.__file__).parent)]
    _, out, _ = run_limited([*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"], 5.0)
    return out.strip() or None
