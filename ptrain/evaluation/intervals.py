"""95 % confidence intervals: Wilson's for proportions, estimate -+ 1.96 standard errors for the rest.

Both take the samples as drawn independently at random from what the model will be used on.
"""

import math

Z95 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""

Interval = list[float]
"""Low and high, as JSON has them."""


def wilson(successes: int, trials: int) -> Interval | None:
    """The 95 % score interval of a proportion (Wilson 1927); None without trials."""
    if trials == 0:
        return None
    square = Z95 * Z95
    centre = (successes + square / 2) / (trials + square)
    spread = math.sqrt(successes * (trials - successes) / trials + square / 4) * Z95 / (trials + square)
    # The bounds at none and all are 0 and 1 exactly; rounding would miss them by an ulp.
    low = 0.0 if successes == 0 else max(0.0, centre - spread)
    high = 1.0 if successes == trials else min(1.0, centre + spread)
    return [low, high]


def f1_interval(iou_interval: Interval | None) -> Interval | None:
    """The interval of F1 from that of the intersection over union J, through the monotone F1 = 2J / (1 + J).

    Source: Hand, Christen & Kirielle 2021 for the transformation; Lam, Gopal & Qian 2023 for the interval.
    """
    return None if iou_interval is None else [2 * bound / (1 + bound) for bound in iou_interval]


def around(
    estimate: float | None, standard_error: float | None, lowest: float = 0.0, highest: float = 1.0
) -> Interval | None:
    """Estimate -+ Z95 standard errors, cut to lowest .. highest; None where either is undefined."""
    if estimate is None or standard_error is None:
        return None
    return [max(lowest, estimate - Z95 * standard_error), min(highest, estimate + Z95 * standard_error)]
