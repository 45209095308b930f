import itertools
import json
import pickle
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn import metrics
from torchmetrics.functional.classification import multiclass_calibration_error

from ptrain.errors import DataError
from ptrain.evaluation.mergeable import EvaluationCounts, count_samples, merge, summarise_counts
from ptrain.evaluation.probabilities import probability_sums
from ptrain.sums.exact import exact_sum

NAMES = ["a", "b", "c", "d", "e", "f"]
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def data(num_samples: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Return labels, probabilities of six classes and losses."""
    generator = np.random.default_rng(seed)
    scores = generator.dirichlet(np.full(6, 0.5), num_samples).astype(np.float32)
    labels = np.where(generator.random(num_samples) < 0.6, scores.argmax(axis=1), generator.integers(0, 6, num_samples))
    return labels, scores, generator.exponential(size=num_samples).astype(np.float32)


def counted(rows: slice, num_samples: int = 300) -> EvaluationCounts:
    labels, scores, losses = data(num_samples)
    part, part_scores = labels[rows], scores[rows]
    return count_samples(part, part_scores.argmax(axis=1), 6, losses=losses[rows], probabilities=part_scores)


@given(hnp.arrays(np.float64, st.integers(0, 50), elements=FLOATS))
def test_exact_sum_is_exact(values: NDArray[np.float64]) -> None:
    assert exact_sum(values) == sum(map(Fraction, values.tolist()), Fraction(0))


def test_exact_sum_of_single_precision() -> None:
    values = np.array([0.1, 0.2, -0.3], dtype=np.float32)
    assert exact_sum(values) == sum(map(Fraction, values.tolist()), Fraction(0))


@given(st.lists(st.integers(0, 300), max_size=6), st.randoms())
@settings(max_examples=25, deadline=None)
def test_any_cut_and_any_order_give_the_same_bits(cuts: list[int], random: Any) -> None:
    bounds = [0, *sorted(cuts), 300]
    parts = [counted(slice(a, b)) for a, b in itertools.pairwise(bounds)]
    random.shuffle(parts)
    travelled: list[EvaluationCounts] = pickle.loads(pickle.dumps(parts))  # noqa: S301, as between ranks
    merged, whole = merge(travelled), counted(slice(None))
    assert np.array_equal(merged.confusion, whole.confusion)
    assert replace(merged, confusion=whole.confusion) == whole
    assert summarise_counts(merge(parts), NAMES) == summarise_counts(whole, NAMES)


def test_scores_of_probabilities_as_elsewhere() -> None:
    labels, scores, losses = data(2000)
    counts = count_samples(labels, scores.argmax(axis=1), 6, losses=losses, probabilities=scores, top_k=(1, 2, 3, 6))
    summary = summarise_counts(counts, NAMES)
    probabilities = summary["probabilities"]
    scores64 = scores.astype(np.float64) / scores.astype(np.float64).sum(axis=1, keepdims=True)
    assert probabilities["log_loss"] == pytest.approx(metrics.log_loss(labels, scores64), rel=1e-5)
    brier = metrics.brier_score_loss(labels, scores64, labels=range(6))
    assert probabilities["brier"] == pytest.approx(brier, rel=1e-5)
    calibration = multiclass_calibration_error(torch.from_numpy(scores), torch.from_numpy(labels), 6, n_bins=15)
    assert probabilities["expected_calibration_error"] == pytest.approx(float(calibration), abs=1e-6)
    assert list(probabilities["top_k"]) == ["1", "2", "3"]
    assert probabilities["top_k"]["1"] == summary["overall_accuracy"]
    for k, value in probabilities["top_k"].items():
        expected = metrics.top_k_accuracy_score(labels, scores64, k=int(k), labels=range(6))
        assert value == pytest.approx(expected)
    assert sum(row["count"] for row in probabilities["calibration"]) == 2000
    assert summary["loss"] == pytest.approx(float(losses.astype(np.float64).mean()), rel=1e-12)
    json.dumps(summary, allow_nan=False)


def test_bins_are_closed_on_the_right_and_ties_go_to_the_lower_class() -> None:
    scores = np.array([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]])
    sums = probability_sums(np.array([1, 0, 1]), np.array([0, 0, 1]), scores, top_k=(1,), num_bins=4)
    assert sums.bin_counts == (0, 1, 1, 1)
    assert sums.bin_correct == (0, 0, 1, 1)
    assert sums.top_k == ((1, 2),)


def test_calibration_is_that_of_the_decision_and_ranks_those_of_the_scores() -> None:
    shares = np.array([[0.6, 0.4, 0.0], [0.7, 0.3, 0.0]])
    scores = np.array([[0.6, 0.4, -0.1], [0.9, 0.5, 0.6]])
    sums = probability_sums(np.array([1, 2]), np.array([1, 0]), shares, scores=scores, top_k=(1, 2), num_bins=4)
    assert sums.bin_counts == (0, 1, 1, 0)  # 0.4 for the class that was chosen, and 0.7
    assert sums.bin_correct == (0, 1, 0, 0)
    assert sums.top_k == ((1, 0), (2, 2))


def test_probability_zero_counts_as_the_rounding_unit() -> None:
    scores = np.array([[1.0, 0.0]])
    summary = summarise_counts(count_samples([1], [0], 2, probabilities=scores), ["a", "b"])
    assert summary["probabilities"]["log_loss"] == pytest.approx(metrics.log_loss([1], scores, labels=[0, 1]))


def test_an_infinite_loss_is_told() -> None:
    parts = [count_samples([0], [0], 2, losses=[np.inf]), count_samples([1], [1], 2, losses=[0.5])]
    summary = summarise_counts(merge(parts), ["a", "b"])
    assert summary["loss"] is None
    assert summary["notes"][0] == "the loss is not finite: left out"


def test_no_samples() -> None:
    empty = count_samples([], [], 2, losses=[], probabilities=np.zeros((0, 2)))
    with pytest.raises(DataError, match="no samples to evaluate"):
        summarise_counts(merge([empty, empty]), ["a", "b"])


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"probabilities": [[2.0, -3.0], [0.5, 0.5]]}, "row 0: expected numbers of 0 to 1"),
        ({"probabilities": [[0.5, 0.5], [np.nan, 0.5]]}, "row 1"),
        ({"probabilities": [[0.5, 0.9], [0.5, 0.5]]}, "give probabilities"),
        ({"probabilities": [[0.5, 0.5]]}, r"expected \(2, 2\)"),
        ({"probabilities": [[1, 0], [0, 1]]}, "type int64"),
        ({"losses": [0.5]}, "expected one a sample"),
    ],
)
def test_bad_input(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        count_samples([0, 1], [0, 1], 2, **keywords)


def test_parts_of_different_kinds() -> None:
    plain, with_loss = count_samples([0], [0], 2), count_samples([0], [0], 2, losses=[0.1])
    with pytest.raises(DataError, match="of different kinds"):
        merge([plain, with_loss])
    with pytest.raises(DataError, match="no evaluation counts"):
        merge([])
    scores = np.array([[0.5, 0.5]])
    zero = np.zeros(1, dtype=np.int64)
    fine, coarse = (probability_sums(zero, zero, scores, num_bins=bins) for bins in (15, 5))
    with pytest.raises(DataError, match="with 15 bins"):
        fine + coarse
