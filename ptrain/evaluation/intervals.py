"""95 % confidence intervals: a modified score interval, of proportions and of what behaves like one.

All take the samples as drawn independently at random from what the model will be used on. How often they hold the true
value was measured by simulation (benchmarks/intervals.py); docs/metrics.md has the table.
"""

import math

Z95 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""
_FEW = (0.0, 0.05129329438755058, 0.3553615106986621, 0.8176914447115127)
"""Lower 95 % limits of the mean m of a Poisson variable that is x = 0 to 3: exp(-m) sum(m**j / j!, j < x) = 0.95."""

Interval = list[float]
"""Low and high, as JSON has them."""


def wilson(successes: float, trials: float) -> Interval | None:
    """The 95 % score interval of a proportion (Wilson 1927), modified near 0 and 1; None without trials.

    The score interval covers down to 84 % where one success, or failure, is expected or less. So up to three of them
    (two in at most 50 trials) their lower limit is that of a Poisson variable (Brown, Cai & DasGupta 2001, section
    4.1.1). Neither number need be whole: the trials may be an effective number.
    """
    if trials <= 0:
        return None
    return [_lower(successes, trials), 1.0 - _lower(trials - successes, trials)]


def _lower(successes: float, trials: float) -> float:
    if successes <= 0:
        return 0.0
    square = Z95 * Z95
    spread = Z95 * math.sqrt(successes * (trials - successes) / trials + square / 4)
    # (x + z²/2 - spread) / (n + z²), written without the difference, in which few successes would be lost.
    low = successes * successes / (trials * (successes + square / 2 + spread))
    if successes <= (2 if trials <= 50 else 3):
        whole = math.floor(successes)
        few = _FEW[whole]
        if successes > whole:
            few += (successes - whole) * (_FEW[whole + 1] - few)
        low = min(low, few / trials)
    return min(low, successes / trials)


def of_score(value: float | None, size: float, lowest: float = 0.0) -> Interval | None:
    """The interval of a score between ``lowest`` and 1 that varies as a proportion of ``size`` trials would.

    ``size`` is the effective number of trials (Kish 1965; in score intervals: Franco, Little, Louis & Slud 2019), see
    ``ptrain.evaluation.delta``. None for a score that is undefined.
    """
    if value is None:
        return None
    share = (value - lowest) / (1.0 - lowest)
    bounds = wilson(share * size, size)
    return None if bounds is None else [lowest + (1.0 - lowest) * bound for bound in bounds]


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
