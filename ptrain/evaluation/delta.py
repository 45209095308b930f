"""How much the scores vary that are not proportions: the delta method, on counts that are smoothed where it needs it.

The cells of the confusion matrix are a multinomial sample with the shares p. A score with the gradient g over p has
the variance (sum p g**2 - (sum p g)**2) / n (Agresti 2013, section 16.1). Of a class without errors this says 0, though
another sample would have some. So the shares are those of the matrix with one right and one wrong sample added to
every class (as Agresti & Caffo 2000 do for two proportions), and only the size is taken from there: the number of
trials of which a proportion would vary as much as the score does.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Gradient(NamedTuple):
    """The derivatives of a score for the cells (i, j): diagonal[i] where i = j, plus rows[i] + columns[j]."""

    diagonal: Floats
    rows: Floats
    columns: Floats


class Estimate(NamedTuple):
    """A score of some shares, and its gradient there."""

    value: float
    gradient: Gradient


def effective_sizes(confusion: ArrayLike) -> dict[str, float]:
    """Trials of which a proportion between LOWEST and 1 varies as the score does, under the keys of ``estimates``.

    confusion: (classes, classes) counts, rows the reference, with samples of at least two classes.
    """
    matrix = np.asarray(confusion)
    num_samples = int(matrix.sum())
    shares = smoothed(matrix)
    sizes = {}
    for name, (value, gradient) in estimates(shares).items():
        spread = variance(shares, gradient, num_samples)
        sizes[name] = (value - LOWEST.get(name, 0.0)) * (1.0 - value) / spread
    return sizes


LOWEST = {"kappa": -1.0, "matthews": -1.0}
"""The least value of the scores where it is not 0."""


def smoothed(matrix: NDArray[np.integer]) -> Floats:
    """The shares of the cells, (classes, classes), with one right and one wrong sample added to each class.

    The wrong one is spread over the other classes. The classes keep their shares of the samples.
    """
    num_classes = len(matrix)
    added = np.full((num_classes, num_classes), 1.0 / (num_classes - 1))
    np.fill_diagonal(added, 1.0)
    support = matrix.sum(axis=1)
    shares: Floats = (matrix + added) * (support / (support + 2.0) / support.sum())[:, None]
    return shares


def variance(shares: Floats, gradient: Gradient, num_samples: int) -> float:
    """The variance of a score; shares: (classes, classes), of all samples."""
    full = gradient.rows[:, None] + gradient.columns
    full[np.diag_indices_from(full)] += gradient.diagonal
    # fsum rounds once, so neither the order of the classes nor the machine matters
    weighted = shares * full
    return max(math.fsum((weighted * full).ravel()) - math.fsum(weighted.ravel()) ** 2, 0.0) / num_samples


def estimates(shares: Floats) -> dict[str, Estimate]:
    """Precision, recall, f1, f1_of_means (macro averages), kappa and matthews of shares, with their gradients.

    shares: (classes, classes), rows the reference; no column of zeros. The recall of a class without samples is 0 here.
    The variances are those of Fleiss, Cohen & Everitt 1969 (kappa) and of Takahashi et al. 2022 (macro F1).
    """
    right = shares.diagonal()
    r, c = (np.array([math.fsum(line) for line in lines]) for lines in (shares, shares.T))
    nothing, num_classes, some = np.zeros_like(r), len(r), np.where(r > 0, r, 1.0)
    recalls, precisions, f1s = right / some, right / c, 2 * right / (r + c)
    recall, precision, f1 = (math.fsum(values) / num_classes for values in (recalls, precisions, f1s))
    of_recall = Gradient(1 / some / num_classes, -recalls / some / num_classes, nothing)
    of_precision = Gradient(1 / c / num_classes, nothing, -precisions / c / num_classes)
    half = -f1s / (r + c) / num_classes
    towards_recall, towards_precision = (2 * (rate / (precision + recall)) ** 2 for rate in (precision, recall))
    of_means = Gradient(
        *(towards_recall * a + towards_precision * b for a, b in zip(of_recall, of_precision, strict=True))
    )
    return {
        "precision": Estimate(precision, of_precision),
        "recall": Estimate(recall, of_recall),
        "f1": Estimate(f1, Gradient(2 / (r + c) / num_classes, half, half)),
        "f1_of_means": Estimate(2 * precision * recall / (precision + recall), of_means),
        **_beyond_chance(math.fsum(right), r, c),
    }


def _beyond_chance(agreement: float, r: Floats, c: Floats) -> dict[str, Estimate]:
    chance, same_r, same_c = (math.fsum(a * b) for a, b in ((r, c), (r, r), (c, c)))
    beyond, ones = 1 - chance, np.ones_like(r)
    wrong = (1 - agreement) / beyond**2
    root = math.sqrt((1 - same_r) * (1 - same_c))
    matthews = (agreement - chance) / root
    return {
        "kappa": Estimate((agreement - chance) / beyond, Gradient(ones / beyond, -wrong * c, -wrong * r)),
        "matthews": Estimate(
            matthews,
            Gradient(ones / root, matthews * r / (1 - same_r) - c / root, matthews * c / (1 - same_c) - r / root),
        ),
    }
