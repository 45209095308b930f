"""Standard errors by the delta method, for the scores that are not proportions.

The cells of the confusion matrix are a multinomial sample with proportions p. A score with the gradient g over p has
the variance (sum p g**2 - (sum p g)**2) / n (Agresti 2013, section 16.1). It is 0 for a perfect matrix: there the
method says nothing.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptrain.evaluation.confusion import class_counts
from ptrain.evaluation.ratios import Absent

Floats = NDArray[np.float64]


def standard_errors(confusion: ArrayLike, absent: Absent = "exclude") -> dict[str, float | None]:
    """Standard errors under the keys precision, recall, f1, f1_of_means (macro averages), kappa, matthews.

    confusion: (classes, classes) counts, rows the reference. None where the score itself is undefined.
    """
    counts = class_counts(confusion)
    n, matrix = counts.num_samples, np.asarray(confusion)
    i, j = np.nonzero(matrix)  # class in the reference and class predicted of each cell that holds samples
    p, diagonal = matrix[i, j] / n, (i == j).astype(np.float64)
    # shares of all samples: of the class and predicted as it, in the reference, predicted; one of each a class
    correct, support, predicted = (
        np.array([count / n for count in row]) for row in (counts.correct, counts.support, counts.predicted)
    )
    gradients = _macro(i, j, diagonal, correct, support, predicted, absent)
    gradients |= {"kappa": None, "matthews": None}
    sides = (counts.support, counts.predicted), (counts.support, counts.support), (counts.predicted, counts.predicted)
    products = [sum(a * b for a, b in zip(*pair, strict=True)) for pair in sides]
    # from whole numbers, so that they are exact also where they are tiny
    beyond_chance, spread_r, spread_c = ((n * n - product) / (n * n) for product in products)
    chance = predicted[i] + support[j]
    if beyond_chance:
        # this gives the variance of Fleiss, Cohen & Everitt 1969
        wrong = (n - sum(counts.correct)) / n
        gradients["kappa"] = diagonal / beyond_chance - wrong * chance / beyond_chance**2
    if spread_r and spread_c:
        root = math.sqrt(spread_r * spread_c)
        value = (n * sum(counts.correct) - products[0]) / (n * n) / root
        shrink = support[i] / spread_r + predicted[j] / spread_c
        gradients["matthews"] = (diagonal - chance) / root + value * shrink
    return {name: None if gradient is None else _error(p, gradient, n) for name, gradient in gradients.items()}


def _error(p: Floats, gradient: Floats, n: int) -> float:
    # fsum rounds once, so neither the order of the classes nor the machine matters
    variance = math.fsum(p * gradient * gradient) - math.fsum(p * gradient) ** 2
    return math.sqrt(max(variance, 0.0) / n)


def _macro(
    i: NDArray[np.intp],
    j: NDArray[np.intp],
    diagonal: Floats,
    correct: Floats,
    r: Floats,
    c: Floats,
    absent: Absent,
) -> dict[str, Floats | None]:
    """The gradients of the macro averages. That of F1 gives the variance of Takahashi et al. 2022."""
    s = r + c

    def num_averaged(shares: Floats) -> int:
        return shares.size if absent == "zero" else int(np.count_nonzero(shares))

    # Absent classes divide by 1 instead of 0: their ratio is 0, and no cell refers to them.
    recalls, precisions, f1s = (
        top / np.where(bottom > 0, bottom, 1) for top, bottom in ((correct, r), (correct, c), (2 * correct, s))
    )
    d_recall = (diagonal - recalls[i]) / r[i] / num_averaged(r)
    d_precision = (diagonal - precisions[j]) / c[j] / num_averaged(c)
    d_f1 = (2 * diagonal / s[i] - f1s[i] / s[i] - f1s[j] / s[j]) / num_averaged(s)
    recall, precision = math.fsum(recalls) / num_averaged(r), math.fsum(precisions) / num_averaged(c)
    both = precision + recall
    d_means = 2 * (recall**2 * d_precision + precision**2 * d_recall) / both**2 if both else None
    return {"precision": d_precision, "recall": d_recall, "f1": d_f1, "f1_of_means": d_means}
