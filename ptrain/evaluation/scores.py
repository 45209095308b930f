"""From a confusion matrix to everything that evaluation.json holds about it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ptrain.errors import DataError
from ptrain.evaluation import ratios
from ptrain.evaluation.confusion import ClassCounts, class_counts
from ptrain.evaluation.delta import standard_errors
from ptrain.evaluation.intervals import around, f1_interval, wilson
from ptrain.evaluation.ratios import Absent, Value

INTERVAL_METHODS = {
    "overall_accuracy": "Wilson",
    "precision, recall, specificity, iou of a class": "Wilson",
    "f1 of a class": "Wilson interval of iou, transformed by 2J/(1+J)",
    "average_accuracy, balanced_accuracy, macro, kappa, matthews": "delta method",
}


def summarise(
    confusion: ArrayLike, class_names: Sequence[str], *, loss: float | None = None, absent: Absent = "exclude"
) -> dict[str, Any]:
    """Every score of a confusion matrix as plain data that is ready for JSON: no NaN, None for undefined.

    confusion: (classes, classes) counts, rows the reference, columns the prediction. loss: mean over the samples.
    absent: what 0/0 counts as, see docs/metrics.md, which also gives the formula and source of each score. Values are
    exact fractions until they become floats, so they are the same on every machine and for any order of the classes.
    Raises DataError for an empty or malformed matrix and for names that do not fit it.
    """
    counts = class_counts(confusion)
    names = _check_names(class_names, len(counts.support))
    if absent not in ("exclude", "zero"):
        raise DataError(f"absent classes {absent}: expected exclude or zero")
    per_class = ratios.per_class(counts)
    notes = _notes(counts, names, absent)
    if loss is not None and not math.isfinite(loss):
        notes.append("the loss is not finite: left out")
        loss = None
    filled = {name: ratios.fill(values, absent) for name, values in per_class.items()}
    macro = {name: ratios.mean(values) for name, values in filled.items()}
    macro["f1_of_means"] = ratios.harmonic_mean(macro["precision"], macro["recall"])
    weighted = {name: ratios.mean(values, counts.support) for name, values in filled.items()}
    num_correct, n = sum(counts.correct), counts.num_samples
    overall = ratios.ratio(num_correct, n)
    kappa, matthews = ratios.kappa(counts), ratios.matthews(counts)
    zero = 0.0 if absent == "zero" else None
    scores = {
        "overall_accuracy": number(overall),
        "average_accuracy": number(macro["recall"]),
        "balanced_accuracy": number(ratios.mean(per_class["recall"])),
        "kappa": zero if kappa is None else number(kappa),
        "matthews": zero if matthews is None else matthews,
    }
    macro_numbers = {name: number(value) for name, value in macro.items()}
    return {
        "num_samples": n,
        "num_correct": num_correct,
        "num_classes": len(names),
        "loss": None if loss is None else float(loss),
        "absent": absent,
        **scores,
        "macro": macro_numbers,
        "weighted": {name: number(value) for name, value in weighted.items()},
        "micro": {
            **dict.fromkeys(("precision", "recall", "f1"), number(overall)),
            "iou": number(ratios.ratio(num_correct, 2 * n - num_correct)),
        },
        "intervals": _intervals(confusion, counts, scores, macro_numbers, absent),
        "interval_level": 0.95,
        "interval_methods": INTERVAL_METHODS,
        "per_class": _per_class(counts, names, filled),
        "confusion": np.asarray(confusion).tolist(),
        "class_names": names,
        "notes": notes,
    }


def number(value: Value) -> float | None:
    """An exact value as the nearest float, None for None."""
    return None if value is None else value.numerator / value.denominator


def _per_class(counts: ClassCounts, names: list[str], ratios_: dict[str, list[Value]]) -> list[dict[str, Any]]:
    rows = []
    for k, name in enumerate(names):
        tp, support, predicted = counts.correct[k], counts.support[k], counts.predicted[k]
        fp, fn = predicted - tp, support - tp
        tn = counts.num_samples - tp - fp - fn
        union = wilson(tp, tp + fp + fn)
        rows.append(
            {
                "class": name,
                "support": support,
                "predicted": predicted,
                **{metric: number(values[k]) for metric, values in ratios_.items()},
                "tp": tp,
                "fp": fp,
                "fn": fn,
                "tn": tn,
                "intervals": {
                    "precision": wilson(tp, predicted),
                    "recall": wilson(tp, support),
                    "f1": f1_interval(union),
                    "specificity": wilson(tn, tn + fp) if support + predicted else None,
                    "iou": union,
                },
            }
        )
    return rows


def _intervals(
    confusion: ArrayLike,
    counts: ClassCounts,
    scores: dict[str, float | None],
    macro: dict[str, float | None],
    absent: Absent,
) -> dict[str, Any]:
    errors = standard_errors(confusion, absent)
    balanced = errors if absent == "exclude" else standard_errors(confusion)
    averages = {name: around(macro[name], errors[name]) for name in ("precision", "recall", "f1", "f1_of_means")}
    return {
        "overall_accuracy": wilson(sum(counts.correct), counts.num_samples),
        "average_accuracy": averages["recall"],
        "balanced_accuracy": around(scores["balanced_accuracy"], balanced["recall"]),
        "kappa": around(scores["kappa"], errors["kappa"], lowest=-1.0),
        "matthews": around(scores["matthews"], errors["matthews"], lowest=-1.0),
        "macro": averages,
    }


def _check_names(class_names: Sequence[str], num_classes: int) -> list[str]:
    names = [str(name) for name in class_names]
    if len(names) != num_classes:
        raise DataError(f"{len(names)} class names for {num_classes} classes: expected one name a class")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"class name {twice} given twice: expected a different name for every class")
    return names


def _notes(counts: ClassCounts, names: list[str], absent: Absent) -> list[str]:
    """Say which classes make ratios undefined, and what the policy made of them."""
    treated = "left out of the means" if absent == "exclude" else "counted as 0"
    notes = []
    for found, words in (
        (counts.support, "no sample of {} in the reference: recall"),
        (counts.predicted, "{} never predicted: precision"),
    ):
        without = [name for name, n in zip(names, found, strict=True) if n == 0]
        if without:
            notes.append(f"{words.format(_listing(without))} is undefined, {treated}")
    return notes


def _listing(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{'class' if len(names) == 1 else 'classes'} {shown}{rest}"
