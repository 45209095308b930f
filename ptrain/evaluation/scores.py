"""From a confusion matrix to everything that evaluation.json holds about it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ptrain.errors import DataError
from ptrain.evaluation import ratios
from ptrain.evaluation.confusion import ClassCounts, class_counts
from ptrain.evaluation.delta import LOWEST, effective_sizes
from ptrain.evaluation.intervals import Interval, f1_interval, of_score, wilson
from ptrain.evaluation.ratios import Absent, Value

INTERVAL_METHODS = {
    "overall_accuracy": "modified Wilson",
    "precision, recall, specificity, iou of a class": "modified Wilson",
    "f1 of a class": "interval of iou, transformed by 2J/(1+J)",
    "average_accuracy, balanced_accuracy, macro, kappa, matthews": (
        "modified Wilson with an effective number of samples, by the delta method on smoothed counts"
    ),
}
MIN_SUPPORT = 20
"""Samples of every class, and for precision predictions, from which on the means over the classes have an interval."""
MIN_SHAPE = 75
"""Samples with the skewness of the mean recall, from which on the means have one: a small class beside large ones makes
it as skewed as its own recall."""
MIN_BEYOND_CHANCE = 100
"""Samples beyond those that agree by chance, n (1 - p_e), from which on kappa and Matthews correlation have one."""


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
    too_few = _too_few(counts, names)
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
        "intervals": _intervals(confusion, counts, scores | macro_numbers, too_few),
        "interval_level": 0.95,
        "interval_methods": INTERVAL_METHODS,
        "per_class": _per_class(counts, names, filled),
        "confusion": np.asarray(confusion).tolist(),
        "class_names": names,
        "notes": notes + list(too_few),
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


def _too_few(counts: ClassCounts, names: list[str]) -> dict[str, tuple[str, ...]]:
    """The reasons why some scores have no interval, each with these scores: there it would promise too much."""
    if len(names) == 1:
        return {}  # a note on a matrix of one cell would say nothing
    means = "no interval of average accuracy and macro scores"
    rare = [name for name, n in zip(names, counts.support, strict=True) if n < MIN_SUPPORT]
    unseen = [name for name, n in zip(names, counts.predicted, strict=True) if n < MIN_SUPPORT]
    reasons: dict[str, tuple[str, ...]] = {}
    if rare:
        reasons[f"{means}: fewer than {MIN_SUPPORT} samples of {_listing(rare)}"] = _MEANS
    elif math.fsum(1 / n for n in counts.support) ** 3 < MIN_SHAPE * math.fsum(1 / n**2 for n in counts.support) ** 2:
        smallest = min(counts.support)
        which = names[counts.support.index(smallest)]
        reasons[f"{means}: they hang on the {smallest} samples of class {which}"] = _MEANS
    elif unseen:
        what = f"fewer than {MIN_SUPPORT} predictions of {_listing(unseen)}"
        reasons[f"no interval of macro precision and F1 of the means: {what}"] = _MEANS_OF_PRECISION
    n = counts.num_samples
    beyond = n - sum(a * b for a, b in zip(counts.support, counts.predicted, strict=True)) / n
    if beyond < MIN_BEYOND_CHANCE:
        reason = f"{beyond:.0f} samples beyond agreement by chance, n (1 - p_e); expected {MIN_BEYOND_CHANCE} or more"
        reasons[f"no interval of kappa and Matthews correlation: {reason}"] = ("kappa", "matthews")
    return reasons


_MEANS_OF_PRECISION = ("precision", "f1_of_means")
_MEANS = ("recall", "f1", *_MEANS_OF_PRECISION)


def _intervals(
    confusion: ArrayLike, counts: ClassCounts, values: dict[str, float | None], too_few: dict[str, tuple[str, ...]]
) -> dict[str, Any]:
    left_out = {name for names in too_few.values() for name in names}
    sizes = effective_sizes(confusion) if sum(n > 0 for n in counts.support) > 1 else {}

    def interval(name: str) -> Interval | None:
        return of_score(values[name], sizes[name], LOWEST.get(name, 0.0)) if name in sizes.keys() - left_out else None

    averages = {name: interval(name) for name in ("precision", "recall", "f1", "f1_of_means")}
    return {
        "overall_accuracy": wilson(sum(counts.correct), counts.num_samples),
        "average_accuracy": averages["recall"],
        "balanced_accuracy": averages["recall"],
        "kappa": interval("kappa"),
        "matthews": interval("matthews"),
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
