"""An evaluation summary as tables for the terminal and as files."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ptrain.errors import RunDirectoryError
from ptrain.evaluation.intervals import Z95
from ptrain.files import write_file

UNDEFINED = "–"  # noqa: RUF001, an en dash: what a person expects in a table
METRICS = ("precision", "recall", "f1", "specificity", "iou")


class Table(NamedTuple):
    """Plain text, cell by cell."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


def evaluation_tables(summary: Mapping[str, Any]) -> list[Table]:
    """Return the table of the classes and the table of the totals of a summary, with 4 decimals.

    The summary is what ``summarise`` returns. Undefined values are an en dash, explained in the notes.
    """
    classes = [
        [row["class"], str(row["support"]), *(_shown(row[metric]) for metric in ("precision", "recall", "f1"))]
        for row in summary["per_class"]
    ]
    totals = [[name, _shown(value), _range(interval)] for name, value, interval in total_scores(summary)]
    notes = list(summary["notes"])
    if any(UNDEFINED in row for row in [*classes, *totals]):
        notes.append(f"{UNDEFINED} undefined (0/0)")
    tables = [
        Table("Classes", ["class", "support", "precision (UA)", "recall (CA)", "F1"], classes, []),
        Table(f"Totals over {summary['num_samples']:,} samples", ["score", "value", "95 % interval"], totals, notes),
    ]
    if summary.get("area_weighted"):
        tables.append(_area_table(summary["area_weighted"]))
    return tables


def _area_table(weighted: Mapping[str, Any]) -> Table:
    """Return the area-weighted accuracies and the estimated areas, each with half the width of its interval."""

    def with_error(row: Mapping[str, Any], name: str) -> str:
        error = row[f"{name}_standard_error"]
        return _shown(row[name]) + ("" if row[name] is None or error is None else f" ± {Z95 * error:.4f}")

    def area(row: Mapping[str, Any]) -> str:
        error = row["area_standard_error"]
        return f"{row['area']:,.6g}" + ("" if error is None else f" ± {Z95 * error:,.4g}")

    accuracies = ("users_accuracy", "producers_accuracy")
    rows = [
        [row["class"], f"{row['mapped_area']:,.6g}", area(row), *(with_error(row, name) for name in accuracies)]
        for row in weighted["per_class"]
    ]
    columns = ["class", "mapped area", "estimated area", "user's accuracy", "producer's accuracy"]
    title = f"Weighted by area: overall accuracy {with_error(weighted, 'overall_accuracy')}"
    return Table(title, columns, rows, ["± half of the 95 % interval (Olofsson et al. 2014)"])


def total_scores(summary: Mapping[str, Any]) -> list[tuple[str, float | None, list[float] | None]]:
    """Return name, value and 95 % interval of every score of the whole split."""
    macro, weighted, intervals = summary["macro"], summary["weighted"], summary["intervals"]
    probabilities = summary.get("probabilities")
    rows: list[tuple[str, float | None, list[float] | None]] = [
        ("overall accuracy (OA)", summary["overall_accuracy"], intervals["overall_accuracy"]),
        ("average accuracy (AA)", summary["average_accuracy"], intervals["average_accuracy"]),
        ("kappa", summary["kappa"], intervals["kappa"]),
        ("Matthews correlation", summary["matthews"], intervals["matthews"]),
        ("macro precision", macro["precision"], intervals["macro"]["precision"]),
        ("macro recall", macro["recall"], intervals["macro"]["recall"]),
        ("macro F1 (mean of F1s)", macro["f1"], intervals["macro"]["f1"]),
        ("macro F1 (F1 of the means)", macro["f1_of_means"], intervals["macro"]["f1_of_means"]),
        ("weighted F1", weighted["f1"], None),
    ]
    if summary["loss"] is not None:
        rows.append(("loss", summary["loss"], None))
    if probabilities is not None:
        rows.append(("log loss", probabilities["log_loss"], None))
        rows.append(("Brier score", probabilities["brier"], None))
        rows.append(("expected calibration error", probabilities["expected_calibration_error"], None))
        rows.extend((f"top-{k} accuracy", value, None) for k, value in probabilities["top_k"].items())
    if summary.get("ranking"):
        rows.append(("ROC AUC (macro, one vs rest)", summary["ranking"]["macro"]["roc_auc"], None))
        rows.append(("average precision (macro)", summary["ranking"]["macro"]["average_precision"], None))
    return rows


def _shown(value: float | None) -> str:
    return UNDEFINED if value is None else f"{round(value, 4) + 0.0:.4f}"  # + 0.0: no minus before a zero


def _range(interval: list[float] | None) -> str:
    return "" if interval is None else f"{_shown(interval[0])} to {_shown(interval[1])}"


def confusion_csv(summary: Mapping[str, Any]) -> str:
    """Return the counts as CSV: class names as header row and column, rows the reference."""
    names = summary["class_names"]
    rows = [[name, *counts] for name, counts in zip(names, summary["confusion"], strict=True)]
    return _csv([["reference/prediction", *names], *rows])


def per_class_csv(summary: Mapping[str, Any]) -> str:
    """Return a line a class with counts, ratios at full precision and interval bounds; undefined values are empty."""
    counts = ("support", "predicted", "tp", "fp", "fn", "tn")
    header = ["class", *counts, *METRICS, *(f"{metric}_{side}" for metric in METRICS for side in ("low", "high"))]
    rows = []
    for row in summary["per_class"]:
        bounds = [bound for metric in METRICS for bound in (row["intervals"][metric] or (None, None))]
        rows.append([row["class"], *(row[name] for name in (*counts, *METRICS)), *bounds])
    return _csv([header, *rows])


def to_json(summary: Mapping[str, Any]) -> str:
    """Return JSON with a line a key, and a line a class in lists, so that large matrices stay readable and small."""

    def compact(value: Any) -> str:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)

    entries = []
    for key, value in summary.items():
        if isinstance(value, list) and value and isinstance(value[0], list | dict):
            text = "[\n" + ",\n".join(f"    {compact(item)}" for item in value) + "\n  ]"
        else:
            text = compact(value)
        entries.append(f"  {compact(str(key))}: {text}")
    return "{\n" + ",\n".join(entries) + "\n}\n"


def _csv(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_files(summary: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write evaluation.json, confusion.csv and per_class.csv into an existing folder and return their paths.

    Keys that the caller added to the summary go into the JSON as well. Raises RunDirectoryError where the folder
    cannot be written.
    """
    contents = {
        "confusion.csv": confusion_csv(summary),
        "per_class.csv": per_class_csv(summary),
        "evaluation.json": to_json(summary),
    }
    write_contents(contents, folder)
    return [folder / name for name in contents]


def write_contents(contents: Mapping[str, str | bytes | None], folder: Path) -> None:
    """Write files into an existing folder; those without content are removed, as they are of an earlier evaluation.

    Raises RunDirectoryError where the folder cannot be written.
    """
    for name, content in contents.items():
        try:
            if content is None:
                (folder / name).unlink(missing_ok=True)
            else:
                write_file(folder / name, content)
        except OSError as error:
            raise RunDirectoryError(
                f"{folder / name}: cannot be written ({error.strerror}); expected a folder with room"
            ) from None
