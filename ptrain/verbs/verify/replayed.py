"""Whether the history and the evaluation of a run are those of the same training done again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ptrain.evaluation.table import EVALUATION
from ptrain.report.records import read_metrics
from ptrain.run.directory import ENVIRONMENT, METRICS, read_json
from ptrain.verbs.verify.evaluations import different, more

MEASURED = ("seconds", "samples_per_second")
"""What a clock says of an epoch."""
BY_POLICY = ("num_samples", "num_correct", "loss", "confusion", "class_names", "probabilities", "ranking")
"""What an evaluation with another --absent has in common with that of a training."""
BY_METHOD = ("intervals", "interval_methods", "notes", "config_sha256")
"""What another version may have computed in another way."""
SIMILAR = 1e-6
"""Share by which an evaluation may differ: ptrain evaluate may have written it on another device."""
LIBRARIES = ("ptrain", "python", "torch", "numpy", "device", "instruction_set")


def changed_files(run_dir: Path, repeated: Path) -> list[str]:
    """Name each file of the run that a training with the same bits wrote differently, with the first difference."""
    found = []
    for name, differences in (
        (METRICS, _history(run_dir, repeated)),
        (EVALUATION, _evaluation(run_dir, repeated)),
    ):
        texts = list(differences)
        if texts:
            found.append(f"{run_dir / name}: {texts[0]}, when it is trained again{more(texts)}")
    return found


def _history(run_dir: Path, repeated: Path) -> Iterator[str]:
    ours, theirs = _records(run_dir / METRICS), _records(repeated / METRICS)
    for epoch in sorted(ours.keys() & theirs.keys()):
        yield from different(ours[epoch], theirs[epoch], f"epoch {epoch}", 0.0)


def _records(path: Path) -> dict[int, dict[str, Any]]:
    """The records by epoch, without what a clock says."""
    return {
        int(record["epoch"]): {key: value for key, value in record.items() if key not in MEASURED}
        for record in read_metrics(path)
    }


def _evaluation(run_dir: Path, repeated: Path) -> Iterator[str]:
    paths = [folder / EVALUATION for folder in (run_dir, repeated)]
    if not all(path.exists() for path in paths):
        return
    ours, theirs = map(read_json, paths)
    keys = theirs.keys() - set(BY_METHOD) if ours.get("absent") == theirs.get("absent") else BY_POLICY
    for key in sorted(keys):
        if key in ours and key in theirs:
            yield from different(ours[key], theirs[key], key, SIMILAR)


def other_conditions(run_dir: Path, repeated: Path) -> list[str]:
    """What the run had that is different here, as ``torch: 2.12.0 -> 2.13.0``: why its bits may be others."""
    before, now = (read_json(folder / ENVIRONMENT) for folder in (run_dir, repeated))
    found = [
        f"{name}: {before.get(name)} -> {now.get(name)}" for name in LIBRARIES if before.get(name) != now.get(name)
    ]
    if before.get("data_sha256") != now.get("data_sha256"):
        found.append(f"data: sha256 {str(before.get('data_sha256'))[:12]} -> {str(now.get('data_sha256'))[:12]}")
    return found
