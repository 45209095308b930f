"""The ratios of each class and their means, as exact fractions: a value is rounded once, when it becomes a float.

One policy for 0/0, such as the recall of a class without samples: the ratio is undefined (None). ``exclude`` leaves it
out of means, ``zero`` counts it as 0.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from ptrain.evaluation.confusion import ClassCounts

Absent = Literal["exclude", "zero"]
Value = Fraction | None
"""An exact number, or None for 0/0."""


def ratio(numerator: int, denominator: int) -> Value:
    """The exact quotient, None for 0/0."""
    return Fraction(numerator, denominator) if denominator else None


def per_class(counts: ClassCounts) -> dict[str, list[Value]]:
    """The ratios of each class by name, in the order of evaluation.json.

    precision: TP / (TP + FP), user's accuracy (Story & Congalton 1986, van Rijsbergen 1979). recall: TP / (TP + FN),
    class or producer's accuracy (Story & Congalton 1986). f1: 2 TP / (2 TP + FP + FN) (van Rijsbergen 1979), 0 for a
    class that is never predicted. specificity: TN / (TN + FP) (Yerushalmy 1947), undefined where every sample is of
    that class, and for a class that occurs nowhere: it would be 1 for nothing. iou: TP / (TP + FP + FN), the
    intersection over union (Jaccard 1912).
    """
    total = counts.num_samples
    triples = list(zip(counts.correct, counts.support, counts.predicted, strict=True))
    return {
        "precision": [ratio(tp, m) for tp, n, m in triples],
        "recall": [ratio(tp, n) for tp, n, m in triples],
        "f1": [ratio(2 * tp, n + m) for tp, n, m in triples],
        "specificity": [ratio(total - n - m + tp, total - n) if n + m else None for tp, n, m in triples],
        "iou": [ratio(tp, n + m - tp) for tp, n, m in triples],
    }


def fill(values: Sequence[Value], absent: Absent) -> list[Value]:
    """The values with undefined ones as the policy says: None (exclude) or 0 (zero)."""
    return [Fraction(0) if value is None and absent == "zero" else value for value in values]


def mean(values: Sequence[Value], weights: Sequence[int] | None = None) -> Value:
    """The (weighted) mean of the defined values; None where there is none or their weights are all 0."""
    weights = [1] * len(values) if weights is None else weights
    kept = [(weight, value) for weight, value in zip(weights, values, strict=True) if value is not None and weight]
    if not kept:
        return None
    return sum((weight * value for weight, value in kept), Fraction(0)) / sum(weight for weight, _ in kept)


def harmonic_mean(first: Value, second: Value) -> Value:
    """2ab / (a + b), 0 where both are 0, None where one is undefined."""
    if first is None or second is None:
        return None
    return 2 * first * second / (first + second) if first + second else Fraction(0)


def kappa(counts: ClassCounts) -> Value:
    """Cohen's kappa (Cohen 1960); undefined where reference and prediction are all of one and the same class."""
    n, correct, chance = _agreement(counts)
    return ratio(n * correct - chance, n * n - chance)


def matthews(counts: ClassCounts) -> float | None:
    """Matthews' correlation for any number of classes (Gorodkin 2004); undefined where a side has one class."""
    n, correct, chance = _agreement(counts)
    covariance = n * correct - chance
    variance = (n * n - sum(s * s for s in counts.support)) * (n * n - sum(m * m for m in counts.predicted))
    if variance == 0:
        return None
    # One exact quotient under the root keeps the result inside -1 .. 1, also for counts far above 2**53.
    return math.copysign(math.sqrt(Fraction(covariance**2, variance)), covariance)


def _agreement(counts: ClassCounts) -> tuple[int, int, int]:
    """The number of samples, n, of correct ones, and n**2 times the agreement expected by chance."""
    chance = sum(n * m for n, m in zip(counts.support, counts.predicted, strict=True))
    return counts.num_samples, sum(counts.correct), chance
