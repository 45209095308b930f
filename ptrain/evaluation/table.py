"""An evaluation summary as tables for the terminal and as files."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ptrain.console import Console
from ptrain.errors import RunDirectoryError
from ptrain.evaluation.intervals import Z95
from ptrain.files import write_file

UNDEFINED = "–"  # noqa: RUF001, an en dash: what a person expects in a table
SCORES: tuple[tuple[str, str, int], ...] = (
    ("overall accuracy (OA)", "overall_accuracy", 1),
    ("average accuracy (AA)", "average_accuracy", 1),
    ("kappa", "kappa", 1),
    ("Matthews correlation", "matthews", 1),
    ("macro precision", "macro.precision", 1),
    ("macro recall", "macro.recall", 1),
    ("macro F1 (mean of F1s)", "macro.f1", 1),
    ("macro F1 (F1 of the means)", "macro.f1_of_means", 1),
    ("weighted F1", "weighted.f1", 0),
    ("loss", "loss", -1),
    ("log loss", "probabilities.log_loss", -1),
    ("Brier score", "probabilities.brier", -1),
    ("expected calibration error", "probabilities.expected_calibration_error", -1),
    ("top-k accuracy", "probabilities.top_k", 0),
    ("ROC AUC (macro, one vs rest)", "ranking.macro.roc_auc", 1),
    ("average precision (macro)", "ranking.macro.average_precision", 1),
)
"""Name of every score of a split, its path in evaluation.json, and whether more (1) or less (-1) is better.

0: runs are not compared by it.
"""
EVALUATION = "evaluation.json"
"""The file of a summary, in a run directory or a folder of an evaluation."""
METRICS = ("precision", "recall", "f1", "specificity", "iou")


class TextTable(NamedTuple):
    """Plain text, cell by cell."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


def evaluation_tables(summary: Mapping[str, Any]) -> list[TextTable]:
    """The table of the classes and the table of the totals of a summary, with 4 decimals.

    The summary is what ``summarise`` returns. Undefined values are an en dash, explained in the notes.
    """
    classes = [
        [row["class"], str(row["support"]), *(score(row[metric]) for metric in ("precision", "recall", "f1"))]
        for row in summary["per_class"]
    ]
    totals = [
        [name, score(value), " to ".join(map(score, interval or ()))] for name, value, interval in total_scores(summary)
    ]
    notes = list(summary["notes"])
    if any(UNDEFINED in row for row in [*classes, *totals]):
        notes.append(f"{UNDEFINED} undefined (0/0)")
    title = f"Totals over {summary['num_samples']:,} samples"
    return [
        TextTable("Classes", ["class", "support", "precision (UA)", "recall (CA)", "F1"], classes, []),
        TextTable(title, ["score", "value", "95 % interval"], totals, notes),
        *([_area_table(summary["area_weighted"])] if summary.get("area_weighted") else []),
    ]


def show(console: Console, summary: Mapping[str, Any]) -> None:
    """Print the tables of a summary."""
    for table in evaluation_tables(summary):
        console.say()
        console.table(table.columns, table.rows, table.title)
        for note in table.notes:
            console.say(note)
    console.say()


def _area_table(weighted: Mapping[str, Any]) -> TextTable:
    """The area-weighted accuracies and the estimated areas, each with half the width of its interval."""

    def with_error(row: Mapping[str, Any], name: str, value: str | None = None, form: str = ".4f") -> str:
        error = row[f"{name}_standard_error"]
        return (value or score(row[name])) + ("" if error is None else f" ± {format(Z95 * error, form)}")

    accuracies = ("users_accuracy", "producers_accuracy")
    rows = []
    for row in weighted["per_class"]:
        area = with_error(row, "area", f"{row['area']:,.6g}", ",.4g")
        rows.append([row["class"], f"{row['mapped_area']:,.6g}", area, *(with_error(row, name) for name in accuracies)])
    columns = ["class", "mapped area", "estimated area", "user's accuracy", "producer's accuracy"]
    title = f"Weighted by area: overall accuracy {with_error(weighted, 'overall_accuracy')}"
    return TextTable(title, columns, rows, ["± half of the 95 % interval (Olofsson et al. 2014)"])


def total_scores(summary: Mapping[str, Any]) -> list[tuple[str, float | None, list[float] | None]]:
    """Name, value and 95 % interval of every score of the whole split. What was not computed is left out."""
    rows: list[tuple[str, float | None, list[float] | None]] = []
    for name, path, _ in SCORES:
        value = find(summary, path)
        if path == "probabilities.top_k":
            rows += [(f"top-{k} accuracy", share, None) for k, share in (value or {}).items()]
        elif value is not None or (path != "loss" and find(summary, path.rpartition(".")[0]) is not None):
            rows.append((name, value, find(summary["intervals"], path)))
    return rows


def find(content: Any, path: str) -> Any:
    """What lies at a path such as macro.f1; None where there is nothing. The empty path is the content itself."""
    for key in path.split(".") if path else ():
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def score(value: float | None) -> str:
    """A score as people read it, with four decimals."""
    return UNDEFINED if value is None else f"{round(value, 4) + 0.0:.4f}"  # + 0.0: no minus before a zero


def confusion_csv(summary: Mapping[str, Any]) -> str:
    """The counts as CSV: class names as header row and column, rows the reference."""
    names = summary["class_names"]
    rows = [[name, *counts] for name, counts in zip(names, summary["confusion"], strict=True)]
    return _csv([["reference/prediction", *names], *rows])


def per_class_csv(summary: Mapping[str, Any]) -> str:
    """A line a class with counts, ratios at full precision and interval bounds; undefined values are empty."""
    counts = ("support", "predicted", "tp", "fp", "fn", "tn")
    header = ["class", *counts, *METRICS, *(f"{metric}_{side}" for metric in METRICS for side in ("low", "high"))]
    rows = []
    for row in summary["per_class"]:
        bounds = [bound for metric in METRICS for bound in (row["intervals"][metric] or (None, None))]
        rows.append([row["class"], *(row[name] for name in (*counts, *METRICS)), *bounds])
    return _csv([header, *rows])


def to_json(summary: Mapping[str, Any]) -> str:
    """JSON with a line a key, and a line a class in lists, so that large matrices stay readable and small."""

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


def write_files(summary: Mapping[str, Any], folder: Path) -> None:
    """Write evaluation.json, confusion.csv and per_class.csv into an existing folder, as ``write_contents`` does.

    Keys that the caller added to the summary go into the JSON as well.
    """
    tables = {"confusion.csv": confusion_csv(summary), "per_class.csv": per_class_csv(summary)}
    write_contents({**tables, EVALUATION: to_json(summary)}, folder)


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
