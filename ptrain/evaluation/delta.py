"""Standard errors by the delta method, for the scores that are not proportions.

The cells of the confusion matrix are a multinomial sample with proportions p. A score with the gradient g over p has
the variance (sum p g**2 - (sum p g)**2) / n (Agresti 2013, section 16.1). It is 0 for a perfect matrix: there the
method says nothing.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptrain.evaluation.confusion import ClassCounts, class_counts
from ptrain.evaluation.ratios import Absent

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """The cells that hold samples, one element a cell; arrays per class have one element a class."""

    counts: ClassCounts
    i: NDArray[np.intp]
    """Class in the reference."""
    j: NDArray[np.intp]
    """Class predicted."""
    p: Floats
    """Share of all samples."""
    diagonal: Floats
    """1 where i == j, else 0."""
    correct: Floats
    """Share of all samples that are of the class and predicted as it, per class."""
    support: Floats
    """Share of all samples in the reference, per class."""
    predicted: Floats
    """Share of all predictions, per class."""

    def error(self, gradient: Floats) -> float:
        # fsum rounds once, so neither the order of the classes nor the machine matters
        variance = math.fsum(self.p * gradient * gradient) - math.fsum(self.p * gradient) ** 2
        return math.sqrt(max(variance, 0.0) / self.counts.num_samples)


def standard_errors(confusion: ArrayLike, absent: Absent = "exclude") -> dict[str, float | None]:
    """Standard errors under the keys precision, recall, f1, f1_of_means (macro averages), kappa, matthews.

    confusion: (classes, classes) counts, rows the reference. None where the score itself is undefined.
    """
    counts = class_counts(confusion)
    matrix = np.asarray(confusion)
    i, j = np.nonzero(matrix)
    correct, support, predicted = (
        np.array([count / counts.num_samples for count in row])
        for row in (counts.correct, counts.support, counts.predicted)
    )
    cells = _Cells(
        counts=counts,
        i=i,
        j=j,
        p=matrix[i, j] / counts.num_samples,
        diagonal=(i == j).astype(np.float64),
        correct=correct,
        support=support,
        predicted=predicted,
    )
    return {**_macro(cells, absent), "kappa": _kappa(cells), "matthews": _matthews(cells)}


def _macro(cells: _Cells, absent: Absent) -> dict[str, float | None]:
    """For macro F1 this is the variance of Takahashi et al. 2022."""
    i, j, diagonal, r, c = cells.i, cells.j, cells.diagonal, cells.support, cells.predicted
    s = r + c

    def num_averaged(shares: Floats) -> int:
        return shares.size if absent == "zero" else int(np.count_nonzero(shares))

    # Absent classes divide by 1 instead of 0: their ratio is 0, and no cell refers to them.
    recalls, precisions, f1s = (
        top / np.where(bottom > 0, bottom, 1)
        for top, bottom in ((cells.correct, r), (cells.correct, c), (2 * cells.correct, s))
    )
    d_recall = (diagonal - recalls[i]) / r[i] / num_averaged(r)
    d_precision = (diagonal - precisions[j]) / c[j] / num_averaged(c)
    d_f1 = (2 * diagonal / s[i] - f1s[i] / s[i] - f1s[j] / s[j]) / num_averaged(s)
    recall, precision = math.fsum(recalls) / num_averaged(r), math.fsum(precisions) / num_averaged(c)
    both = precision + recall
    d_means = 2 * (recall**2 * d_precision + precision**2 * d_recall) / both**2 if both else None
    return {
        "precision": cells.error(d_precision),
        "recall": cells.error(d_recall),
        "f1": cells.error(d_f1),
        "f1_of_means": None if d_means is None else cells.error(d_means),
    }


def _kappa(cells: _Cells) -> float | None:
    """The standard error of Fleiss, Cohen & Everitt 1969."""
    n = cells.counts.num_samples
    # from whole numbers, so that it is exact also where it is tiny
    beyond_chance = (n * n - _product(cells.counts.support, cells.counts.predicted)) / (n * n)
    if beyond_chance == 0:
        return None
    wrong = (n - sum(cells.counts.correct)) / n
    chance = cells.predicted[cells.i] + cells.support[cells.j]
    return cells.error(cells.diagonal / beyond_chance - wrong * chance / beyond_chance**2)


def _matthews(cells: _Cells) -> float | None:
    counts, n = cells.counts, cells.counts.num_samples
    spread_r = (n * n - _product(counts.support, counts.support)) / (n * n)
    spread_c = (n * n - _product(counts.predicted, counts.predicted)) / (n * n)
    if spread_r == 0 or spread_c == 0:
        return None
    root = math.sqrt(spread_r * spread_c)
    value = (n * sum(counts.correct) - _product(counts.support, counts.predicted)) / (n * n) / root
    chance = cells.predicted[cells.i] + cells.support[cells.j]
    shrink = cells.support[cells.i] / spread_r + cells.predicted[cells.j] / spread_c
    return cells.error((cells.diagonal - chance) / root + value * shrink)


def _product(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    return sum(a * b for a, b in zip(first, second, strict=True))
