import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from ptrain.errors import DataError
from ptrain.evaluation.confusion import class_counts, confusion_matrix


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4))))
def test_counts_as_scikit_learn_does(pairs: list[tuple[int, int]]) -> None:
    labels = np.array([a for a, _ in pairs], dtype=np.uint8)
    predictions = np.array([b for _, b in pairs], dtype=np.int32)
    counted = confusion_matrix(labels, predictions, 5)
    expected = metrics.confusion_matrix(labels, predictions, labels=range(5)) if pairs else np.zeros((5, 5))
    assert counted.dtype == np.int64
    assert (counted == expected).all()


def test_small_integer_types_do_not_overflow() -> None:
    labels = np.full(3, 199, dtype=np.uint8)
    assert confusion_matrix(labels, labels, 200)[199, 199] == 3


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 1], [0], "2 labels and 1 predictions"),
        ([0, 3], [0, 1], "labels: class 3 in row 1: expected 0 to 1"),
        ([0, 1], [0, -1], "predictions: class -1 in row 1"),
        ([0, 0, 5], [0, 0, 0], "class 5 in row 2"),
        ([0.5, 1.0], [0, 1], "labels of type float64"),
        ([[0], [1]], [0, 1], r"labels of shape \(2, 1\)"),
        ([True, False], [0, 1], "labels of type bool"),
    ],
)
def test_bad_input(labels: list[int], predictions: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        confusion_matrix(labels, predictions, 2)
    assert "\n" not in str(caught.value)


def test_no_classes() -> None:
    with pytest.raises(DataError, match="number of classes 0"):
        confusion_matrix([], [], 0)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((2, 3), dtype=int), "expected a square one"),
        (np.zeros((0, 0), dtype=int), "expected a square one"),
        (np.ones((2, 2)), "whole numbers"),
        (np.array([[1, -1], [0, 0]]), "count -1"),
        (np.zeros((3, 3), dtype=int), "no samples to evaluate"),
    ],
)
def test_bad_matrix(matrix: NDArray[np.int64], message: str) -> None:
    with pytest.raises(DataError, match=message):
        class_counts(matrix)


def test_sums_are_exact_beyond_64_bits() -> None:
    counts = class_counts(np.full((100, 100), 10**15))
    assert counts.num_samples == 10**19
    assert counts.support == counts.predicted == (10**17,) * 100
