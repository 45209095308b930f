"""The three matrices of the lecture that ptrain grew from. Rows are the reference, columns the prediction."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from ptrain.evaluation.scores import summarise

MODEL_1 = [[100, 80, 10, 10], [0, 9, 0, 1], [0, 1, 8, 1], [0, 1, 0, 9]]
MODEL_2 = [[198, 2, 0, 0], [7, 1, 0, 2], [0, 8, 1, 1], [2, 3, 4, 1]]
EIGHTY = [[9, 1, 0, 0], [1, 15, 3, 1], [5, 0, 24, 1], [0, 4, 1, 15]]


def scores(matrix: list[list[int]]) -> dict[str, Any]:
    return summarise(np.array(matrix), ["a", "b", "c", "d"])


def test_model_1() -> None:
    summary = scores(MODEL_1)
    # The lecture prints 0.547, which cuts 0.5478 off instead of rounding it.
    assert summary["overall_accuracy"] == float(Fraction(126, 230))
    precision = (Fraction(100, 100) + Fraction(9, 91) + Fraction(8, 18) + Fraction(9, 21)) / 4
    recall = (Fraction(100, 200) + Fraction(9, 10) + Fraction(8, 10) + Fraction(9, 10)) / 4
    # Printed 0.492 (cut off; 0.49298).
    assert summary["macro"]["precision"] == float(precision) == pytest.approx(0.49298, abs=5e-6)
    assert summary["macro"]["recall"] == summary["average_accuracy"] == float(recall) == 0.775
    # Printed 0.601; 0.60264 is the exact value.
    f1_of_means = 2 * precision * recall / (precision + recall)
    assert summary["macro"]["f1_of_means"] == float(f1_of_means) == pytest.approx(0.60264, abs=2e-5)
    f1s = (Fraction(200, 300) + Fraction(18, 101) + Fraction(16, 28) + Fraction(18, 31)) / 4
    assert summary["macro"]["f1"] == float(f1s) == pytest.approx(0.49924, abs=5e-6)


def test_model_2() -> None:
    summary = scores(MODEL_2)
    assert summary["overall_accuracy"] == float(Fraction(201, 230))  # printed 0.87
    precision = (Fraction(198, 207) + Fraction(1, 14) + Fraction(1, 5) + Fraction(1, 4)) / 4
    recall = (Fraction(198, 200) + 3 * Fraction(1, 10)) / 4
    assert summary["macro"]["precision"] == float(precision)
    assert summary["macro"]["recall"] == float(recall) == 0.3225
    # Printed 0.342, which neither convention gives.
    assert summary["macro"]["f1_of_means"] == float(2 * precision * recall / (precision + recall))
    assert summary["macro"]["f1_of_means"] == pytest.approx(0.34440, abs=5e-6)
    f1s = (Fraction(396, 407) + Fraction(2, 24) + Fraction(2, 15) + Fraction(2, 14)) / 4
    assert summary["macro"]["f1"] == float(f1s) == pytest.approx(0.33312, abs=5e-6)


def test_eighty_samples() -> None:
    summary = scores(EIGHTY)
    # Printed 0.78 (cut off; 0.7875).
    assert (summary["num_correct"], summary["num_samples"]) == (63, 80)
    assert summary["overall_accuracy"] == 0.7875
    assert [row["recall"] for row in summary["per_class"]] == [0.9, 0.75, 0.8, 0.75]
    assert [row["precision"] for row in summary["per_class"]] == [9 / 15, 15 / 20, 24 / 28, 15 / 17]
    assert summary["kappa"] == float(Fraction(63 * 80 - 1730, 80**2 - 1730))
