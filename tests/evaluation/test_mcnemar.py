"""McNemar's test against scipy, Holm's adjustment against its definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2

from ptrain.evaluation.mcnemar import EXACT_LIMIT, holm, mcnemar


@given(st.integers(0, 300), st.integers(0, 300))
def test_small_counts_are_the_exact_binomial_test(first: int, second: int) -> None:
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(first, second) == mcnemar(second, first)


@given(st.integers(0, 10**9), st.integers(EXACT_LIMIT + 1, 10**9))
def test_large_counts_are_chi_squared_with_continuity_correction(first: int, second: int) -> None:
    statistic = max(0, abs(first - second) - 1) ** 2 / (first + second)
    assert mcnemar(first, second) == pytest.approx(chi2.sf(statistic, 1), rel=1e-9, abs=1e-300)


def test_both_branches_agree_where_they_meet() -> None:
    exact, normal = mcnemar(940, EXACT_LIMIT - 940), mcnemar(941, EXACT_LIMIT - 940)
    assert exact == pytest.approx(normal, rel=0.1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    ordered = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(ordered):
        expected = max(min(1.0, (len(p_values) - k) * p_values[ordered[k]]) for k in range(rank + 1))
        assert adjusted[index] == expected


def test_holm_of_nothing() -> None:
    assert holm([]) == []
