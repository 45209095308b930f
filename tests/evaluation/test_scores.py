import json
import math
import warnings
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torchmetrics.functional import classification as torchmetrics

from ptrain.errors import DataError
from ptrain.evaluation.scores import summarise

from .strategies import Matrix, matrices, samples


def names(matrix: Matrix) -> list[str]:
    return [f"class {index}" for index in range(len(matrix))]


def close(value: float | None, expected: float) -> bool:
    return math.isnan(expected) if value is None else value == pytest.approx(expected, rel=1e-12, abs=1e-15)


def floats(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in floats(item)]
    return [value] if isinstance(value, float) else []


@given(matrices(), st.sampled_from(["exclude", "zero"]))
@settings(max_examples=80, deadline=None)
def test_equals_scikit_learn_under_the_same_policy(matrix: Matrix, absent: Literal["exclude", "zero"]) -> None:
    labels, predictions = samples(matrix)
    summary = summarise(matrix, names(matrix), absent=absent)
    classes = list(range(len(matrix)))
    zero_division: Any = np.nan if absent == "exclude" else 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = {"labels": classes, "zero_division": zero_division}
        per_class = metrics.precision_recall_fscore_support(labels, predictions, average=None, **arguments)
        averages = {
            name: metrics.precision_recall_fscore_support(labels, predictions, average=name, **arguments)
            for name in ("macro", "weighted", "micro")
        }
        kappa = metrics.cohen_kappa_score(labels, predictions, replace_undefined_by=zero_division)
        matthews = metrics.matthews_corrcoef(labels, predictions)
        balanced = metrics.balanced_accuracy_score(labels, predictions)
    for index, metric in enumerate(("precision", "recall", "f1")):
        for row, expected in zip(summary["per_class"], per_class[index], strict=True):
            assert close(row[metric], expected), metric
        for name, expected in averages.items():
            if name == "weighted" and summary[name][metric] is None:
                continue  # every defined ratio has the weight 0; scikit-learn takes the plain mean of them then
            assert close(summary[name][metric], expected[index]), (name, metric)
    assert [row["support"] for row in summary["per_class"]] == per_class[3].tolist()
    assert close(summary["overall_accuracy"], metrics.accuracy_score(labels, predictions))
    assert close(summary["balanced_accuracy"], balanced)
    assert close(summary["kappa"], kappa)
    assert (summary["matthews"] or 0.0) == pytest.approx(matthews, rel=1e-12, abs=1e-15)
    if absent == "zero":
        jaccard = metrics.jaccard_score(labels, predictions, labels=classes, average="macro", zero_division=0)
        assert close(summary["macro"]["iou"], jaccard)


@given(matrices(min_classes=2))
@settings(max_examples=60, deadline=None)
def test_equals_torchmetrics_where_every_class_occurs_on_both_sides(matrix: Matrix) -> None:
    matrix = matrix + np.eye(len(matrix), dtype=np.int64)
    labels, predictions = (torch.from_numpy(values) for values in samples(matrix))
    summary = summarise(matrix, names(matrix))
    macro: dict[str, Any] = {"num_classes": len(matrix), "average": "macro"}

    def near(value: float, expected: torch.Tensor) -> bool:
        return value == pytest.approx(float(expected), abs=2e-6)  # torchmetrics computes in float32

    assert near(summary["average_accuracy"], torchmetrics.multiclass_accuracy(predictions, labels, **macro))
    assert near(summary["macro"]["precision"], torchmetrics.multiclass_precision(predictions, labels, **macro))
    assert near(summary["macro"]["recall"], torchmetrics.multiclass_recall(predictions, labels, **macro))
    assert near(summary["macro"]["f1"], torchmetrics.multiclass_f1_score(predictions, labels, **macro))
    assert near(summary["macro"]["specificity"], torchmetrics.multiclass_specificity(predictions, labels, **macro))
    assert near(summary["macro"]["iou"], torchmetrics.multiclass_jaccard_index(predictions, labels, **macro))
    assert near(summary["kappa"], torchmetrics.multiclass_cohen_kappa(predictions, labels, len(matrix)))
    assert near(summary["matthews"], torchmetrics.multiclass_matthews_corrcoef(predictions, labels, len(matrix)))


@given(matrices(), st.data(), st.sampled_from(["exclude", "zero"]))
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_classes_changes_no_bit(
    matrix: Matrix, data: st.DataObject, absent: Literal["exclude", "zero"]
) -> None:
    order = data.draw(st.permutations(range(len(matrix))))
    before = summarise(matrix, names(matrix), absent=absent)
    after = summarise(matrix[np.ix_(order, order)], [names(matrix)[k] for k in order], absent=absent)
    for key in ("overall_accuracy", "balanced_accuracy", "kappa", "matthews", "macro", "weighted", "micro"):
        assert before[key] == after[key]
    assert [before["per_class"][k] for k in order] == after["per_class"]
    assert floats(before["intervals"]) == pytest.approx(floats(after["intervals"]), abs=1e-12)


@given(matrices(max_count=10**15), st.sampled_from(["exclude", "zero"]))
@settings(max_examples=100, deadline=None)
def test_bounds_and_identities(matrix: Matrix, absent: Literal["exclude", "zero"]) -> None:
    summary = summarise(matrix, names(matrix), absent=absent, loss=0.5)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    for key in ("per_class", "macro", "weighted", "micro"):
        assert all(0.0 <= value <= 1.0 for value in floats(summary[key]))
    assert all(-1.0 <= value <= 1.0 for value in floats(summary["intervals"]))
    for key in ("kappa", "matthews"):
        assert summary[key] is None or -1.0 <= summary[key] <= 1.0
    assert summary["weighted"]["recall"] == summary["micro"]["f1"] == summary["overall_accuracy"]
    assert summary["average_accuracy"] == summary["macro"]["recall"]
    for row in summary["per_class"]:
        assert row["tp"] + row["fp"] + row["fn"] + row["tn"] == summary["num_samples"]
        for metric, interval in row["intervals"].items():
            if interval is not None:
                assert interval[0] <= row[metric] <= interval[1]
    low, high = summary["intervals"]["overall_accuracy"]
    assert low <= summary["overall_accuracy"] <= high


def test_huge_counts_do_not_overflow() -> None:
    big = 10**15
    matrix = np.array([[3 * big, big], [2 * big, 4 * big]])
    summary = summarise(matrix, ["no", "yes"])
    small = summarise(matrix // big, ["no", "yes"])
    assert summary["num_samples"] == 10**16
    for key in ("overall_accuracy", "kappa", "matthews", "macro", "weighted"):
        assert summary[key] == small[key]
    assert summary["kappa"] == float(Fraction(7 * 10 - 50, 100 - 50))
    assert summary["matthews"] == pytest.approx(10 / math.sqrt(4 * 6 * 5 * 5))  # (TP TN - FP FN) / root of the margins


def test_absent_classes() -> None:
    matrix = np.array([[1, 0, 1, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])  # c predicted only, d nowhere
    summary = summarise(matrix, list("abcd"))
    a, b, c, d = summary["per_class"]
    assert (a["recall"], b["recall"], c["recall"], d["recall"]) == (0.5, 1.0, None, None)
    assert (c["precision"], c["f1"], c["iou"], c["specificity"]) == (0.0, 0.0, 0.0, 0.75)
    assert (d["precision"], d["f1"], d["iou"], d["specificity"]) == (None, None, None, None)
    assert d["intervals"] == dict.fromkeys(("precision", "recall", "f1", "specificity", "iou"))
    assert summary["average_accuracy"] == summary["balanced_accuracy"] == 0.75
    assert summary["macro"]["precision"] == float(Fraction(2, 3))
    assert summary["notes"][:2] == [
        "no sample of classes c, d in the reference: recall is undefined, left out of the means",
        "class d never predicted: precision is undefined, left out of the means",
    ]
    zero = summarise(matrix, list("abcd"), absent="zero")
    assert zero["per_class"][3]["f1"] == 0.0
    assert (zero["average_accuracy"], zero["balanced_accuracy"]) == (0.375, 0.75)
    assert zero["macro"]["precision"] == 0.5
    assert zero["notes"][1].endswith("counted as 0")


def test_one_class() -> None:
    summary = summarise(np.array([[5]]), ["only"])
    assert summary["overall_accuracy"] == summary["average_accuracy"] == summary["macro"]["f1"] == 1.0
    assert summary["kappa"] is summary["matthews"] is summary["macro"]["specificity"] is None
    assert summarise(np.array([[5]]), ["only"], absent="zero")["kappa"] == 0.0


def test_a_class_never_predicted_has_f1_zero_not_undefined() -> None:
    summary = summarise(np.array([[4, 0], [2, 0]]), ["a", "b"])
    assert summary["per_class"][1]["precision"] is None
    assert summary["per_class"][1]["f1"] == 0.0
    assert summary["macro"]["f1"] == 0.4


def test_nothing_right() -> None:
    summary = summarise(np.array([[0, 3], [2, 0]]), ["a", "b"])
    assert summary["macro"]["f1_of_means"] == 0.0
    assert summary["matthews"] == -1.0
    assert summary["intervals"]["macro"]["f1_of_means"] is None


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_left_out(loss: float) -> None:
    summary = summarise(np.eye(2, dtype=int), ["a", "b"], loss=loss)
    assert summary["loss"] is None
    assert summary["notes"][0] == "the loss is not finite: left out"


@pytest.mark.parametrize(
    ("matrix", "class_names", "message"),
    [
        ([[0, 0], [0, 0]], ["a", "b"], "no samples to evaluate"),
        ([[1, 0], [0, 1]], ["a"], "1 class names for 2 classes"),
        ([[1, 0], [0, 1]], ["a", "a"], "class name a given twice"),
    ],
)
def test_bad_input(matrix: list[list[int]], class_names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        summarise(np.array(matrix), class_names)


def test_many_absent_classes_make_a_short_note() -> None:
    matrix = np.zeros((9, 9), dtype=np.int64)
    matrix[0, 0] = 1
    note = summarise(matrix, names(matrix))["notes"][0]
    assert "class 1, class 2, class 3, class 4, class 5 and 3 more" in note


@given(matrices(), st.sampled_from(["exclude", "zero"]))
@settings(deadline=None)
def test_f1_of_means_is_never_below_the_mean_of_f1s(matrix: Matrix, absent: Literal["exclude", "zero"]) -> None:
    """Proved in Opitz & Burst 2019 for 0/0 = 0."""
    macro = summarise(matrix, names(matrix), absent=absent)["macro"]
    if macro["f1_of_means"] is not None:
        assert macro["f1_of_means"] >= macro["f1"]
