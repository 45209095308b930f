"""What a run directory holds for a report. Only files are read, and each of them may still be missing."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ptrain.errors import RunDirectoryError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class RunRecord:
    """The files of one run directory."""

    path: Path
    config: dict[str, dict[str, Any]]
    """Sections and values of config.toml."""
    environment: dict[str, Any]
    metrics: list[dict[str, Any]]
    """A record an epoch, by epoch."""
    evaluation: dict[str, Any] | None
    misclassified: list[dict[str, Any]]
    """Groups of samples, one a confusion."""
    pixels: "NDArray[np.uint8] | None"
    """The samples of all groups, in order: (samples, height, width) or (samples, height, width, 3)."""

    @property
    def name(self) -> str:
        """Name of the run directory."""
        return self.path.resolve().name or str(self.path)

    @property
    def seconds(self) -> float:
        """Seconds of training over all epochs."""
        return sum(float(record["seconds"]) for record in self.metrics)

    @property
    def samples_per_second(self) -> float | None:
        """Median over the epochs after the first, which is slower; of the first where it is the only one."""
        speeds = [float(record["samples_per_second"]) for record in self.metrics]
        return median(speeds[1:] or speeds) if speeds else None


def read_run(path: Path) -> RunRecord:
    """Read a run directory; raises RunDirectoryError where it is none, or a file of it is damaged."""
    try:
        config = tomllib.loads((path / "config.toml").read_text(encoding="utf-8"))
    except OSError as error:
        raise RunDirectoryError(
            f"{path} is no run directory (config.toml: {error.strerror}); expected one of ptrain train"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunDirectoryError(f"{path / 'config.toml'}: is damaged ({error})") from None
    misclassified = _json(path / "misclassified.json") or {}
    return RunRecord(
        path=path,
        config=config,
        environment=_json(path / "environment.json") or {},
        metrics=read_metrics(path / "metrics.jsonl"),
        evaluation=_json(path / "evaluation.json"),
        misclassified=misclassified.get("groups", []),
        pixels=read_array(path / "misclassified.npy"),
    )


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise RunDirectoryError(f"{path}: is damaged (not JSON); ptrain evaluate writes it anew") from None
    if not isinstance(content, dict):
        raise RunDirectoryError(f"{path}: is damaged (no JSON object)")
    return content


def read_array(path: Path) -> Any:
    """The array of a .npy file, or None where it was not kept; raises RunDirectoryError where it is damaged."""
    import numpy as np  # ptrain slurm reads records too, and needs no arrays

    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError):
        raise RunDirectoryError(f"{path}: is damaged (no .npy file); ptrain evaluate writes it anew") from None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of metrics.jsonl, by epoch; a line that is being written, or was when its run died, is left out."""
    records: dict[int, dict[str, Any]] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    for line in lines:
        try:
            record = json.loads(line)
            records[int(record["epoch"])] = record
        except (ValueError, KeyError, TypeError):
            continue
    return [records[epoch] for epoch in sorted(records)]
