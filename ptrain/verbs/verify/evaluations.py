"""Whether an evaluation follows from its own confusion matrix, and the files beside it say the same."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ptrain.errors import DataError, RunDirectoryError
from ptrain.evaluation.scores import summarise
from ptrain.evaluation.table import METRICS, find
from ptrain.run.directory import read_json
from ptrain.run.scoring import MISCLASSIFIED, PIXELS, PREDICTIONS

FOLLOWING = (
    *("num_samples", "num_correct", "num_classes", "overall_accuracy", "average_accuracy", "balanced_accuracy"),
    *("kappa", "matthews", "macro", "weighted", "micro", "per_class"),
)
"""What a confusion matrix alone decides, in every version: intervals are not among it, whose methods may change."""
COUNTS = ("support", "predicted", "tp", "fp", "fn", "tn")
Findings = Iterator[tuple[Path, str]]
"""A file of the run and what is wrong with it, one after the other."""


def check_evaluation(path: Path, of_run: Mapping[str, Any]) -> Findings:
    """Yield files and what is wrong with them; ``of_run`` has the hashes that the evaluation must name."""
    try:
        summary = read_json(path)
        expected = summarise(summary["confusion"], summary["class_names"], absent=summary["absent"])
        wrong = [text for key in FOLLOWING for text in different(summary.get(key), expected[key], key, 1e-12)]
    except (RunDirectoryError, DataError, KeyError, TypeError, AttributeError, ValueError) as error:
        text = str(error) if isinstance(error, RunDirectoryError) else f"is damaged ({error})"
        yield path, text
        return
    if wrong:
        yield path, f"{wrong[0]}, by its own confusion matrix{more(wrong)}"
        return  # nothing beside it could agree with both
    if summary.get("parameters_sha256") != of_run.get("parameters_sha256", summary.get("parameters_sha256")):
        yield (
            path,
            (
                f"is of parameters with the SHA-256 {str(summary.get('parameters_sha256'))[:12]}, "
                f"those of the run have {of_run['parameters_sha256'][:12]}"
            ),
        )
    folder = path.parent
    for name, look in (
        ("confusion.csv", _confusion_csv),
        ("per_class.csv", _per_class_csv),
        (PREDICTIONS, _predictions),
        (MISCLASSIFIED, _misclassified),
    ):
        file = folder / name
        try:
            fits = not file.exists() or look(file, summary)
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, EOFError, csv.Error):
            yield file, "is damaged"
        else:
            if not fits:
                yield file, f"does not agree with {path.name}"


def different(value: Any, expected: Any, path: str, tolerance: float) -> Iterator[str]:
    """Say where two pieces of JSON differ, floats by more than this share of them.

    Keys that only one of them has are of another version, and no difference; nor are intervals, whose methods change.
    """
    if isinstance(value, Mapping) and isinstance(expected, Mapping):
        for key in value:
            if key in expected and key != "intervals":
                yield from different(value[key], expected[key], f"{path}.{key}", tolerance)
    elif isinstance(value, list) and isinstance(expected, list) and len(value) == len(expected):
        for index, (one, other) in enumerate(zip(value, expected, strict=True)):
            yield from different(one, other, f"{path}[{index}]", tolerance)
    elif not _same(value, expected, tolerance):
        yield f"{path} is {_short(value)}, expected {_short(expected)}"


def _same(value: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(value, float) and isinstance(expected, float):
        return math.isclose(value, expected, rel_tol=tolerance)
    return type(value) is type(expected) and bool(value == expected)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def more(wrong: list[str]) -> str:
    """How many differences there are, where the first is not the only one."""
    return f" ({len(wrong)} such numbers)" if len(wrong) > 1 else ""


def _confusion_csv(path: Path, summary: Mapping[str, Any]) -> bool:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row[1:] for row in csv.reader(file)][1:]
    return bool([list(map(int, row)) for row in rows] == summary["confusion"])


def _per_class_csv(path: Path, summary: Mapping[str, Any]) -> bool:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != len(summary["per_class"]):
        return False
    for cells, row in zip(rows, summary["per_class"], strict=True):
        values = {name: row[name] for name in (*COUNTS, *METRICS)}
        for metric in METRICS:
            bounds = find(row, f"intervals.{metric}") or (None, None)
            values |= {f"{metric}_low": bounds[0], f"{metric}_high": bounds[1]}
        found = {name: float(cells[name]) if cells[name] else None for name in values}
        if found != values:
            return False
    return True


def _predictions(path: Path, summary: Mapping[str, Any]) -> bool:
    rows, count = np.load(path, allow_pickle=False), len(summary["confusion"])
    pairs = rows["label"].astype(np.int64) * count + rows["prediction"]
    found = np.bincount(pairs, minlength=count * count)
    return bool(np.array_equal(found.reshape(count, count), np.array(summary["confusion"])))


def _misclassified(path: Path, summary: Mapping[str, Any]) -> bool:
    names, groups = summary["class_names"], json.loads(path.read_bytes())["groups"]
    counts = [
        (group["count"], summary["confusion"][names.index(group["reference"])][names.index(group["predicted"])])
        for group in groups
    ]
    pixels = path.with_name(PIXELS)
    number = sum(len(group["samples"]) for group in groups)
    fits = not pixels.exists() or len(np.load(pixels, allow_pickle=False)) == number
    return fits and all(one == other for one, other in counts)
