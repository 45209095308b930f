"""Confidence intervals against published values, independent formulas and a simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptrain.evaluation.delta import standard_errors
from ptrain.evaluation.intervals import Z95, around, f1_interval, wilson
from ptrain.evaluation.scores import summarise

from .strategies import Matrix, matrices


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, the score method without continuity correction
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
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
    for bound in (low, high):  # the share lies 1.96 standard errors, computed at the bound, from it
        spread = Z95 * math.sqrt(bound * (1 - bound) / trials)
        assert abs(share - bound) == pytest.approx(spread, rel=1e-5, abs=1e-12)


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
    p = matrix / matrix.sum()
    r, c = p.sum(axis=1), p.sum(axis=0)
    t1, t2 = np.trace(p), r @ c
    t3 = (np.diag(p) * (r + c)).sum()
    t4 = (p * (c[:, None] + r[None, :]) ** 2).sum()
    error = standard_errors(matrix)["kappa"]
    if t2 > 1 - 1e-12:
        assert error is None
        return
    variance = (
        t1 * (1 - t1) / (1 - t2) ** 2
        + 2 * (1 - t1) * (2 * t1 * t2 - t3) / (1 - t2) ** 3
        + (1 - t1) ** 2 * (t4 - 4 * t2**2) / (1 - t2) ** 4
    ) / matrix.sum()
    assert error == pytest.approx(math.sqrt(max(variance, 0.0)), rel=1e-6, abs=1e-7)


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
def test_standard_errors_against_numerical_gradients(matrix: Matrix) -> None:
    matrix = matrix + 3
    n = matrix.sum()
    p = matrix / n
    step = 1e-6
    gradients: dict[str, list[float]] = {name: [] for name in scores(p)}
    for cell in np.ndindex(*p.shape):
        up, down = p.copy(), p.copy()
        up[cell] += step
        down[cell] -= step
        # scores() divides by sums of p, never by its total, so p need not sum to 1 here
        for name, value in scores(up).items():
            gradients[name].append((value - scores(down)[name]) / (2 * step))
    errors = standard_errors(matrix)
    for name, gradient in gradients.items():
        g = np.array(gradient)
        variance = (p.ravel() * g * g).sum() - (p.ravel() * g).sum() ** 2
        assert errors[name] == pytest.approx(math.sqrt(variance / n), rel=1e-5), name


def test_intervals_cover_the_truth_in_a_simulation() -> None:
    generator = np.random.default_rng(0)
    p = np.array([[0.30, 0.05, 0.01], [0.04, 0.25, 0.05], [0.02, 0.03, 0.25]])
    truth = scores(p)
    draws = generator.multinomial(800, p.ravel(), size=400).reshape(-1, 3, 3)
    inside = dict.fromkeys(truth, 0)
    for matrix in draws:
        summary = summarise(matrix, ["a", "b", "c"])
        for name, value in truth.items():
            low, high = summary["intervals"]["macro"].get(name) or summary["intervals"][name]
            inside[name] += low <= value <= high
    # 95 % of 400 is 380 with a standard deviation of 4.4
    assert all(362 <= count <= 397 for count in inside.values()), inside


def test_policy_zero_averages_over_all_classes() -> None:
    matrix = np.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]])
    excluded, zero = standard_errors(matrix), standard_errors(matrix, "zero")
    assert excluded["recall"] is not None
    assert zero["recall"] == pytest.approx(excluded["recall"] * 2 / 3)
