"""The table of docs/metrics.md: where scikit-learn, torchmetrics and ptrain differ, each number computed here."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from torchmetrics.functional import classification as torchmetrics

from ptrain.evaluation.confusion import confusion_matrix
from ptrain.evaluation.mergeable import count_samples
from ptrain.evaluation.probabilities import probability_sums, summarise_probabilities
from ptrain.evaluation.ranking import one_vs_rest
from ptrain.evaluation.scores import summarise

Pair = tuple[list[int], list[int]]
PREDICTED_ONLY: Pair = ([0, 0, 1, 1], [0, 2, 1, 1])  # class 2 is predicted and not in the reference
NEVER_PREDICTED: Pair = ([0, 0, 1, 2], [0, 0, 1, 1])
NOWHERE: Pair = ([0, 0, 1, 1], [0, 1, 1, 1])  # class 2 on neither side
ONE_CLASS: Pair = ([0, 0, 0], [0, 0, 0])


@pytest.fixture(autouse=True)
def _their_warnings_are_not_the_point() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def ptrain(pair: Pair, **keywords: Any) -> dict[str, Any]:
    return summarise(confusion_matrix(*pair, 3), ["a", "b", "c"], **keywords)


def of_torchmetrics(function: Callable[..., torch.Tensor], pair: Pair, **keywords: Any) -> float:
    labels, predictions = map(torch.tensor, pair)
    return float(function(predictions, labels, num_classes=3, **keywords))


def macro_of_scikit_learn(pair: Pair, zero_division: float, labels: list[int] | None = None) -> list[float]:
    found = metrics.precision_recall_fscore_support(*pair, labels=labels, average="macro", zero_division=zero_division)
    return [float(value) for value in found[:3]]


def test_average_accuracy_where_a_class_is_only_predicted() -> None:
    assert ptrain(PREDICTED_ONLY)["average_accuracy"] == 0.75
    assert ptrain(PREDICTED_ONLY, absent="zero")["average_accuracy"] == 0.5
    assert metrics.balanced_accuracy_score(*PREDICTED_ONLY) == 0.75
    assert metrics.recall_score(*PREDICTED_ONLY, average="macro", zero_division=0) == 0.5
    assert metrics.recall_score(*PREDICTED_ONLY, average="macro", zero_division=np.nan) == 0.75
    assert of_torchmetrics(torchmetrics.multiclass_accuracy, PREDICTED_ONLY, average="macro") == 0.5


def test_macro_precision_where_a_class_is_never_predicted() -> None:
    assert ptrain(NEVER_PREDICTED)["macro"]["precision"] == 0.75
    assert ptrain(NEVER_PREDICTED, absent="zero")["macro"]["precision"] == 0.5
    assert macro_of_scikit_learn(NEVER_PREDICTED, 0)[0] == 0.5
    assert macro_of_scikit_learn(NEVER_PREDICTED, np.nan)[0] == 0.75
    assert of_torchmetrics(torchmetrics.multiclass_precision, NEVER_PREDICTED, average="macro") == 0.5
    # F1 is defined and 0 for that class: all agree
    f1 = ptrain(NEVER_PREDICTED)["macro"]["f1"]
    assert f1 == ptrain(NEVER_PREDICTED, absent="zero")["macro"]["f1"] == pytest.approx(5 / 9)
    assert macro_of_scikit_learn(NEVER_PREDICTED, np.nan)[2] == pytest.approx(f1)
    assert of_torchmetrics(torchmetrics.multiclass_f1_score, NEVER_PREDICTED, average="macro") == pytest.approx(f1)


def test_macro_f1_where_a_class_is_nowhere() -> None:
    kept, zero = 11 / 15, 22 / 45
    assert ptrain(NOWHERE)["macro"]["f1"] == pytest.approx(kept)
    assert ptrain(NOWHERE, absent="zero")["macro"]["f1"] == pytest.approx(zero)
    assert macro_of_scikit_learn(NOWHERE, 0)[2] == pytest.approx(kept)  # it does not know of the class
    assert macro_of_scikit_learn(NOWHERE, 0, [0, 1, 2])[2] == pytest.approx(zero)
    assert macro_of_scikit_learn(NOWHERE, np.nan, [0, 1, 2])[2] == pytest.approx(kept)
    assert of_torchmetrics(torchmetrics.multiclass_f1_score, NOWHERE, average="macro") == pytest.approx(kept)
    assert ptrain(NOWHERE)["macro"]["specificity"] == 0.75
    assert of_torchmetrics(torchmetrics.multiclass_specificity, NOWHERE, average="macro") == 0.75


def test_scores_of_an_absent_class_itself() -> None:
    labels, predictions = map(torch.tensor, NOWHERE)
    theirs = torchmetrics.multiclass_recall(predictions, labels, num_classes=3, average=None)
    assert theirs.tolist() == [0.5, 1.0, 0.0]
    assert [row["recall"] for row in ptrain(NOWHERE)["per_class"]] == [0.5, 1.0, None]


def test_kappa_and_matthews_of_one_class() -> None:
    summary, zero = ptrain(ONE_CLASS), ptrain(ONE_CLASS, absent="zero")
    assert (summary["kappa"], summary["matthews"]) == (None, None)
    assert (zero["kappa"], zero["matthews"]) == (0.0, 0.0)
    assert np.isnan(metrics.cohen_kappa_score(*ONE_CLASS))
    assert metrics.matthews_corrcoef(*ONE_CLASS) == 0.0
    assert np.isnan(of_torchmetrics(torchmetrics.multiclass_cohen_kappa, ONE_CLASS))
    assert of_torchmetrics(torchmetrics.multiclass_matthews_corrcoef, ONE_CLASS) == 0.0


def test_weighted_precision_where_no_true_class_was_predicted() -> None:
    pair = ([1, 1], [0, 0])
    assert ptrain(pair)["weighted"]["precision"] is None
    assert metrics.precision_score(*pair, average="weighted", zero_division=np.nan) == 0.0


def test_ranking_where_a_class_is_absent() -> None:
    scores, labels = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]]), [0, 0, 1]
    ours = one_vs_rest(labels, scores, ["a", "b", "c"])["macro"]
    assert (ours["roc_auc"], ours["average_precision"]) == (0.5, pytest.approx(2 / 3))
    assert np.isnan(metrics.roc_auc_score(labels, scores, multi_class="ovr", labels=[0, 1, 2]))
    one_hot = np.eye(3)[labels]
    assert metrics.average_precision_score(one_hot, scores, average="macro") == pytest.approx(4 / 9)
    tensors = torch.from_numpy(scores), torch.tensor(labels)
    assert float(torchmetrics.multiclass_auroc(*tensors, num_classes=3)) == pytest.approx(1 / 3)
    assert float(torchmetrics.multiclass_average_precision(*tensors, num_classes=3)) == pytest.approx(2 / 3)


def test_brier_score_of_two_classes() -> None:
    labels, scores = [0, 1], np.array([[0.8, 0.2], [0.4, 0.6]])
    sums = count_samples(labels, [0, 1], 2, probabilities=scores).probabilities
    assert sums is not None
    assert summarise_probabilities(sums)["brier"] == pytest.approx(0.2)
    assert metrics.brier_score_loss(labels, scores) == pytest.approx(0.1)
    assert metrics.brier_score_loss(labels, scores, scale_by_half=False) == pytest.approx(0.2)


def test_calibration_error_of_a_confidence_of_one() -> None:
    labels, scores = np.array([1, 0]), np.array([[1.0, 0.0], [0.97, 0.03]])
    sums = probability_sums(labels, np.array([0, 0]), scores, num_bins=10)
    assert summarise_probabilities(sums)["expected_calibration_error"] == pytest.approx(0.485)
    theirs = torchmetrics.multiclass_calibration_error(
        torch.from_numpy(scores), torch.from_numpy(labels), num_classes=2, n_bins=10
    )
    assert float(theirs) == pytest.approx(0.515)  # a bin of its own for 1.0


def test_top_1_of_equal_scores() -> None:
    scores = np.array([[0.4, 0.4, 0.2]])
    sums = count_samples([0], [0], 3, probabilities=scores, top_k=(1,)).probabilities
    assert sums is not None
    assert sums.top_k == ((1, 1),)
    assert metrics.top_k_accuracy_score([0], scores, k=1, labels=[0, 1, 2]) == 0.0
