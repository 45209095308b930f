"""McNemar's test: do two classifiers differ on the same samples?"""

import math
from collections.abc import Sequence
from fractions import Fraction

EXACT_LIMIT = 2000
"""Samples on which only one is right, up to which the test is exact; above it the normal curve is exact enough."""


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p-value for the counts of samples on which only one of two classifiers is right.

    Up to EXACT_LIMIT such samples it is the exact binomial test, above it chi squared with continuity correction
    (McNemar 1947; Edwards 1948; Dietterich 1998).
    """
    total = only_first + only_second
    if total <= EXACT_LIMIT:
        tail = sum(math.comb(total, k) for k in range(min(only_first, only_second) + 1))
        return float(min(Fraction(1), Fraction(2 * tail, 2**total)))
    statistic = max(0, abs(only_first - only_second) - 1) ** 2 / total
    return math.erfc(math.sqrt(statistic / 2))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for making all these tests at once (Holm 1979), in the same order."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
