"""Exact one-vs-rest ROC AUC and average precision. They need the scores of all samples at once.

Memory: samples x classes scores, plus about 50 bytes a sample while one class is worked on. There are no sums that
would add up over ranks exactly, so a distributed evaluation gathers the scores or leaves these two out.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptrain.errors import DataError
from ptrain.evaluation.confusion import confusion_matrix


def roc_auc(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> float | None:
    """The area under the ROC curve: the share of pairs (positive, negative) in the right order, ties half.

    positive, scores: (samples,). None without a positive or without a negative. Exact: pairs are counted as whole
    numbers (Hanley & McNeil 1982), up to about 4 * 10**9 samples.
    """
    hits, totals = _descending_groups(positive, scores)
    misses = totals - hits
    num_positive, num_negative = int(hits.sum()), int(misses.sum())
    if num_positive == 0 or num_negative == 0:
        return None
    below = num_negative - np.cumsum(misses)
    twice_ordered = int((hits * (2 * below + misses)).sum())
    return twice_ordered / (2 * num_positive * num_negative)


def average_precision(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> float | None:
    """The sum over thresholds of (step of recall) * precision, without interpolation (Manning et al. 2008).

    positive, scores: (samples,). None without a positive. Samples of equal score pass the threshold together.
    """
    hits, totals = _descending_groups(positive, scores)
    num_positive = int(hits.sum())
    if num_positive == 0:
        return None
    precision = np.cumsum(hits) / np.cumsum(totals)
    return min(1.0, math.fsum(hits * precision) / num_positive)


def one_vs_rest(labels: ArrayLike, scores: ArrayLike, class_names: Sequence[str]) -> dict[str, Any]:
    """ROC AUC and average precision of each class against the rest, with macro and weighted means.

    labels: (samples,) in 0 .. classes - 1; scores: (samples, classes), finite, larger means more likely. None for a
    class without positives or negatives; such classes are left out of the means. Weights are the classes' supports.
    Raises DataError where labels and scores do not fit or a score is not finite.
    """
    reference, values = np.asarray(labels), np.asarray(scores)
    if values.shape != (reference.size, len(class_names)):
        raise DataError(f"scores of shape {values.shape}: expected ({reference.size}, {len(class_names)})")
    support = confusion_matrix(reference, reference, len(class_names)).diagonal().tolist()
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise DataError(f"scores in row {row} are not finite: expected numbers")
    metrics = {"roc_auc": roc_auc, "average_precision": average_precision}
    per_class: list[dict[str, Any]] = [
        {"class": str(name)} | {metric: of(reference == k, values[:, k]) for metric, of in metrics.items()}
        for k, name in enumerate(class_names)
    ]
    return {"per_class": per_class} | {
        kind: {metric: _mean([row[metric] for row in per_class], weights) for metric in metrics}
        for kind, weights in (("macro", [1] * len(support)), ("weighted", support))
    }


def add_ranking(summary: dict[str, Any], labels: ArrayLike, scores: ArrayLike) -> None:
    """Add the key ranking to a summary; ``labels`` and ``scores`` as in ``one_vs_rest``."""
    summary["ranking"] = one_vs_rest(labels, scores, summary["class_names"])


def leave_out_ranking(summary: dict[str, Any], found: str, limit: int) -> None:
    """Note in a summary that there are too many scores to gather; the key ranking is None then."""
    summary["ranking"] = None
    summary["notes"].append(
        f"ROC AUC and average precision are left out: {found} are too many scores to gather (at most {limit:,})"
    )


def _mean(values: list[Any], weights: list[int]) -> float | None:
    kept = [(weight, value) for weight, value in zip(weights, values, strict=True) if value is not None and weight]
    total = sum(weight for weight, _ in kept)
    return math.fsum(weight * value for weight, value in kept) / total if kept else None


def _descending_groups(
    positive: NDArray[np.bool_], scores: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positives and samples of each distinct score, from the highest score down."""
    order = np.argsort(scores)[::-1]  # the order within equal scores does not matter
    ordered = scores[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: ordered.size])
    if starts.size == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    hits = np.add.reduceat(positive[order].astype(np.int64), starts)
    return hits, np.diff(np.r_[starts, ordered.size]).astype(np.int64)
