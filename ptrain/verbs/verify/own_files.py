"""Whether a run's files are those that it wrote, and agree with each other: looked at before anything is repeated."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptrain import config as configuration
from ptrain.console import Console
from ptrain.errors import ConfigError, RunDirectoryError
from ptrain.evaluation.table import EVALUATION
from ptrain.run import checkpoint, listing
from ptrain.run.directory import CHECKPOINTS, CONFIG, ENVIRONMENT, METRICS, MODEL, read_json, read_model
from ptrain.run.trained import ForeignModelError, read_trained
from ptrain.verbs.verify.evaluations import Findings, check_evaluation

NEEDED = (CONFIG, ENVIRONMENT, METRICS, MODEL)
"""Files without which a finished run is not whole."""


def check_files(run_dir: Path, console: Console) -> None:
    """Say what was changed, a line a file.

    Raises RunDirectoryError where there is such a file.
    """
    if not (run_dir / listing.LIST).exists():
        console.say(
            f"{run_dir} has no {listing.LIST} (it is not finished, or of an earlier version): its files are compared "
            "with each other and with the repeated run only"
        )
    found: dict[Path, list[str]] = {}
    for path, text in _findings(run_dir):
        reasons = found.setdefault(path, [])
        reason = text.removeprefix(f"{path}: ")
        if reason not in reasons:
            reasons.append(reason)
    for path, reasons in found.items():
        console.say(f"{path}: {'; '.join(reasons)}")
    if found:
        are = "1 file is" if len(found) == 1 else f"{len(found)} files are"
        raise RunDirectoryError(
            f"{run_dir}: {are} not what the run wrote ({', '.join(str(path.relative_to(run_dir)) for path in found)}); "
            "bring them back from a copy, or train again; nothing was repeated"
        )


def _findings(run_dir: Path) -> Findings:
    """Look at all files; the first finding about a file says most."""
    yield from _listed(run_dir)
    environment: dict[str, Any] = {}
    try:
        environment = _object(run_dir / ENVIRONMENT)
    except RunDirectoryError as error:
        yield run_dir / ENVIRONMENT, str(error)
    is_finished = "parameters_sha256" in environment
    yield from _config(run_dir, environment)
    voted = _named_by_others(run_dir)
    is_outvoted = is_finished and voted not in (None, environment["parameters_sha256"])
    if is_outvoted:
        yield (
            run_dir / ENVIRONMENT,
            (
                f"names parameters with the SHA-256 {str(environment['parameters_sha256'])[:12]}, {MODEL} and "
                f"{EVALUATION} those with {str(voted)[:12]}"
            ),
        )
        environment["parameters_sha256"] = voted
    yield from _model(run_dir, is_finished, is_outvoted)
    yield from _metrics(run_dir / METRICS, is_finished)
    for path in sorted(run_dir.rglob(EVALUATION)):
        # Of the run itself only that in its own folder must be; the others may be of another checkpoint or other data.
        of_run = environment if path.parent == run_dir and is_finished else {}
        yield from check_evaluation(path, of_run)
    for path in checkpoint.paths(run_dir / CHECKPOINTS):
        try:
            checkpoint.read(path)
        except RunDirectoryError as error:
            if path.exists():  # a run that goes on may just have removed it
                yield path, str(error).removeprefix(f"checkpoint {path}: ")


def _listed(run_dir: Path) -> Findings:
    """Compare all files with the lists of their SHA-256."""
    for path in sorted(run_dir.rglob(listing.LIST)):
        try:
            known = listing.read(path.parent) or {}
        except RunDirectoryError as error:
            yield path, str(error)
            continue
        for name, expected in known.items():
            file = path.parent / name
            if not file.exists():
                # Checkpoints, pages and pictures may be removed to make room.
                if name in NEEDED or name == EVALUATION:
                    yield file, "is missing"
            elif (found := listing.sha256(file)) != expected:
                shown = file.parent if file.name == checkpoint.MANIFEST else file
                yield shown, f"was changed since the run wrote it (SHA-256 {expected[:12]} -> {found[:12]})"


def _object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise RunDirectoryError(f"{path}: is damaged (no JSON object)")
    return content


def _config(run_dir: Path, environment: Mapping[str, Any]) -> Findings:
    path = run_dir / CONFIG
    try:
        config = configuration.build(configuration.read_toml(path))
    except ConfigError as error:
        yield path, str(error).removeprefix("--config ")
        return
    expected = environment.get("config_sha256")
    if expected not in (None, configuration.file_sha256(path), configuration.sha256(config)):
        yield path, f"holds other settings than those that were trained with (SHA-256 {str(expected)[:12]} expected)"


def _named_by_others(run_dir: Path) -> str | None:
    """The SHA-256 of parameters that both the model and the evaluation name; None where they do not agree."""
    try:
        _, description = read_model(run_dir / MODEL)
        named = description.get("parameters_sha256")
        return named if named == _object(run_dir / EVALUATION).get("parameters_sha256") else None
    except RunDirectoryError:
        return None


def _model(run_dir: Path, is_finished: bool, is_outvoted: bool) -> Findings:
    """``is_outvoted``: environment.json alone says that the model is another one."""
    path = run_dir / MODEL
    if not path.exists():
        if is_finished:
            yield path, "is missing"
        return
    try:
        read_model(path)
        configuration.build(configuration.read_toml(run_dir / CONFIG))
        read_trained(run_dir, "last", lambda text: None)
    except ConfigError:
        pass  # named already: nobody knows what the network should be
    except RunDirectoryError as error:
        if not (is_outvoted and isinstance(error, ForeignModelError)):
            others = [run_dir / CONFIG, run_dir / ENVIRONMENT]
            named = next((one for one in others if str(error).startswith(f"{one}: ")), path)
            yield named, str(error).partition("; ")[0]


def _metrics(path: Path, is_finished: bool) -> Findings:
    """A record an epoch, from the first on; what they say is compared with the repeated run."""
    if not path.exists():
        if is_finished:
            yield path, "is missing"
        return
    epochs: list[int] = []
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            epochs.append(int(json.loads(line)["epoch"]))
        except (ValueError, KeyError, TypeError):
            if is_finished or number < len(lines):  # the last one of a run that goes on may be half-written
                yield path, f"line {number} is damaged"
    if epochs != list(range(1, len(epochs) + 1)):
        yield path, f"holds the epochs {', '.join(map(str, epochs[:20]))}: expected each of them once, in order"
