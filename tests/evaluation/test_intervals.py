"""Confidence intervals against published values, independent formulas and a simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, gamma

from benchmarks.intervals import POPULATIONS, coverage
from ptrain.evaluation.delta import effective_sizes, estimates, smoothed, variance
from ptrain.evaluation.intervals import Z95, around, f1_interval, of_score, wilson
from ptrain.evaluation.scores import MIN_SUPPORT, summarise

from .strategies import Matrix, matrices


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, the score method without continuity correction; of one success
    # the lower bound is -ln(0.95) / trials, as Brown, Cai & DasGupta 2001 have it
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0018, 0.1718)],
)
def test_wilson_as_published(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**16), st.data())
def test_wilson_bounds_are_those_of_the_score_test(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    interval = wilson(successes, trials)
    assert interval is not None
    low, high = interval
    share = successes / trials
    assert 0.0 <= low <= share <= high <= 1.0
    for bound, few in ((low, successes), (1 - high, trials - successes)):
        distance = abs((share if few == successes else 1 - share) - bound)
        if few == 0:
            assert bound == 0.0
        elif few > 3:  # the share lies 1.96 standard errors, computed at the bound, from it
            spread = Z95 * math.sqrt(bound * (1 - bound) / trials)
            assert distance == pytest.approx(spread, rel=1e-5, abs=1e-12)


@given(st.floats(0.01, 3), st.floats(51, 1e6))
def test_bounds_of_few_successes_are_those_of_a_poisson_variable(successes: float, trials: float) -> None:
    interval = wilson(successes, trials)
    assert interval is not None
    whole = math.floor(successes)
    limits = [0.0] + [gamma.ppf(0.05, count) for count in (1, 2, 3, 4)]
    expected = limits[whole] + (successes - whole) * (limits[whole + 1] - limits[whole])
    assert interval[0] <= expected / trials * (1 + 1e-9)
    if successes == whole:
        assert interval[0] == pytest.approx(expected / trials, rel=1e-9)
    mirrored = wilson(trials - successes, trials)
    assert mirrored is not None
    assert mirrored[1] == pytest.approx(1 - wilson_low(trials - (trials - successes), trials), abs=1e-12)


def wilson_low(successes: float, trials: float) -> float:
    interval = wilson(successes, trials)
    assert interval is not None
    return interval[0]


@pytest.mark.parametrize("trials", [10, 50, 51, 200, 2000])
def test_modified_wilson_holds_near_0(trials: int) -> None:
    """The coverage, computed exactly, where few failures are expected: the plain interval has 84 % there."""
    bounds = np.array([wilson(count, trials) for count in range(trials + 1)])
    for expected in np.linspace(0.02, 3, 150):
        share = min(expected / trials, 0.5)
        inside = (bounds[:, 0] <= share) & (share <= bounds[:, 1])
        assert binom.pmf(np.arange(trials + 1), trials, share)[inside].sum() > 0.915


def test_without_trials_there_is_no_interval() -> None:
    assert wilson(0, 0) is None
    assert f1_interval(None) is None
    assert around(None, 0.1) is None
    assert around(0.5, None) is None


def test_f1_interval_holds_f1() -> None:
    # tp 3, fp 1, fn 2: J = 3/6, F1 = 6/9
    interval = f1_interval(wilson(3, 6))
    assert interval is not None
    assert interval[0] < 6 / 9 < interval[1]


@given(matrices(min_classes=2))
@settings(deadline=None)
def test_kappa_as_in_the_textbook(matrix: Matrix) -> None:
    """The variance with the four thetas of Bishop, Fienberg & Holland 1975, also in Congalton & Green 2019."""
    matrix = matrix + 1
    p = matrix / matrix.sum()
    r, c = p.sum(axis=1), p.sum(axis=0)
    t1, t2 = np.trace(p), r @ c
    t3 = (np.diag(p) * (r + c)).sum()
    t4 = (p * (c[:, None] + r[None, :]) ** 2).sum()
    expected = (
        t1 * (1 - t1) / (1 - t2) ** 2
        + 2 * (1 - t1) * (2 * t1 * t2 - t3) / (1 - t2) ** 3
        + (1 - t1) ** 2 * (t4 - 4 * t2**2) / (1 - t2) ** 4
    ) / matrix.sum()
    found = variance(p, estimates(p)["kappa"].gradient, int(matrix.sum()))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


def scores(p: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> dict[str, float]:
    """Return the scores of cell proportions, written out anew."""
    tp, r, c = np.diag(p), p.sum(axis=1), p.sum(axis=0)
    recall, precision = (tp / r).mean(), (tp / c).mean()
    covariance = tp.sum() - r @ c
    return {
        "precision": precision,
        "recall": recall,
        "f1": (2 * tp / (r + c)).mean(),
        "f1_of_means": 2 * precision * recall / (precision + recall),
        "kappa": covariance / (1 - r @ c),
        "matthews": covariance / math.sqrt((1 - r @ r) * (1 - c @ c)),
    }


@given(matrices(min_classes=2, max_classes=4))
@settings(max_examples=40, deadline=None)
def test_variances_against_numerical_gradients(matrix: Matrix) -> None:
    matrix = matrix + 3
    p = matrix / matrix.sum()
    step = 1e-6
    gradients: dict[str, list[float]] = {name: [] for name in scores(p)}
    for cell in np.ndindex(*p.shape):
        up, down = p.copy(), p.copy()
        up[cell] += step
        down[cell] -= step
        # scores() divides by sums of p, never by its total, so p need not sum to 1 here
        for name, value in scores(up).items():
            gradients[name].append((value - scores(down)[name]) / (2 * step))
    found = estimates(p)
    for name, value in scores(p).items():
        g = np.array(gradients[name])
        expected = (p.ravel() * g * g).sum() - (p.ravel() * g).sum() ** 2
        assert found[name].value == pytest.approx(value, rel=1e-12)
        assert variance(p, found[name].gradient, 100) == pytest.approx(expected / 100, rel=1e-5), name


def test_smoothing_adds_one_right_and_one_wrong_sample_to_each_class() -> None:
    shares = smoothed(np.array([[8, 0, 0], [0, 4, 0], [1, 0, 3]]))
    assert shares.sum(axis=1) == pytest.approx([8 / 16, 4 / 16, 4 / 16])
    assert shares[0] / shares[0].sum() == pytest.approx([9 / 10, 0.5 / 10, 0.5 / 10])
    assert shares[2] / shares[2].sum() == pytest.approx([1.5 / 6, 0.5 / 6, 4 / 6])


@pytest.mark.parametrize("per_class", [50, 100, 10000])
def test_the_mean_recall_of_equal_classes_varies_as_one_proportion(per_class: int) -> None:
    right = per_class * 9 // 10
    matrix = np.array([[right, per_class - right], [per_class - right, right]])
    assert effective_sizes(matrix)["recall"] == pytest.approx(2 * per_class, rel=1e-9)
    summary = summarise(matrix, ["a", "b"])
    assert summary["intervals"]["average_accuracy"] == pytest.approx(summary["intervals"]["overall_accuracy"], rel=1e-9)


@given(matrices(min_classes=2, max_count=200), st.permutations(range(6)))
@settings(deadline=None)
def test_intervals_hold_their_scores_and_know_no_order_of_classes(matrix: Matrix, order: list[int]) -> None:
    classes = list(map(str, range(len(matrix))))
    summary = summarise(matrix, classes)
    intervals = summary["intervals"]
    pairs = [(summary["macro"][name], interval) for name, interval in intervals["macro"].items()]
    pairs += [(summary[name], interval) for name, interval in intervals.items() if name != "macro"]
    for value, interval in pairs:
        assert interval is None or interval[0] <= value + 1e-12 <= interval[1] + 2e-12
    chosen = [k for k in order if k < len(matrix)]
    assert summarise(matrix[np.ix_(chosen, chosen)], classes)["intervals"] == intervals


def test_few_samples_have_no_interval_that_promises_too_much() -> None:
    summary = summarise(np.diag([1, 1, 1]), ["a", "b", "c"])
    intervals = summary["intervals"]
    assert intervals["overall_accuracy"] == pytest.approx([0.4385, 1.0], abs=1e-4)
    assert intervals["average_accuracy"] is intervals["balanced_accuracy"] is intervals["kappa"] is None
    assert intervals["matthews"] is None
    assert set(intervals["macro"].values()) == {None}
    assert summary["notes"] == [
        f"no interval of average accuracy and macro scores: fewer than {MIN_SUPPORT} samples of classes a, b, c",
        "no interval of kappa and Matthews correlation: 2 samples beyond agreement by chance, n (1 - p_e); "
        "expected 100 or more",
    ]
    many = summarise(np.diag([200, 200, 50]), ["a", "b", "c"])
    assert many["notes"] == []
    assert many["intervals"]["average_accuracy"][0] < 0.985
    assert many["intervals"]["average_accuracy"][1] == 1.0
    beside_large = summarise(np.diag([1000, 1000, 25]), ["a", "b", "c"])
    assert beside_large["intervals"]["average_accuracy"] is None
    assert beside_large["notes"] == [
        "no interval of average accuracy and macro scores: they hang on the 25 samples of class c"
    ]
    few_predicted = summarise(np.array([[200, 0, 0], [0, 200, 0], [35, 35, 5]]), ["a", "b", "c"])
    assert few_predicted["notes"] == [
        f"no interval of macro precision and F1 of the means: fewer than {MIN_SUPPORT} predictions of class c"
    ]
    assert (
        few_predicted["intervals"]["macro"]["precision"] is few_predicted["intervals"]["macro"]["f1_of_means"] is None
    )
    assert few_predicted["intervals"]["macro"]["f1"] is not None


@pytest.mark.parametrize(("population", "samples"), [("three classes, 80 %", 100), ("a rare class of 2 %", 4000)])
def test_intervals_hold_the_truth_in_a_simulation(population: str, samples: int) -> None:
    for name, (inside, share) in coverage(POPULATIONS[population], samples, draws=300).items():
        # 95 % with a standard deviation of 1.3 %
        assert share == 0 or 0.91 <= inside <= 0.99, name
        assert samples == 100 or name in ("macro precision", "F1 of means") or share > 0.9


def test_a_score_of_nothing_has_no_interval() -> None:
    assert of_score(None, 10.0) is None
    assert of_score(0.5, 0.0) is None
    assert of_score(0.0, 30.0, lowest=-1.0) == pytest.approx([-0.3369, 0.3369], abs=1e-4)
