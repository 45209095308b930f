import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from ptrain.errors import DataError
from ptrain.evaluation.ranking import average_precision, one_vs_rest, roc_auc


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=60))
@settings(deadline=None)
def test_one_class_as_scikit_learn_does_ties_included(pairs: list[tuple[bool, int]]) -> None:
    positive = np.array([flag for flag, _ in pairs])
    scores = np.array([score / 8 for _, score in pairs])
    if positive.all() or not positive.any():
        assert roc_auc(positive, scores) is None
    else:
        assert roc_auc(positive, scores) == pytest.approx(metrics.roc_auc_score(positive, scores), rel=1e-12)
    if positive.any():
        assert average_precision(positive, scores) == pytest.approx(
            metrics.average_precision_score(positive, scores), rel=1e-12
        )
    else:
        assert average_precision(positive, scores) is None


@given(st.integers(0, 2**31), st.sampled_from(["macro", "weighted"]))
@settings(max_examples=20, deadline=None)
def test_one_against_the_rest_as_scikit_learn_does(seed: int, average: str) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.dirichlet(np.ones(4), 50)
    labels = np.r_[np.arange(4), generator.integers(0, 4, 46)]
    result = one_vs_rest(labels, scores, list("abcd"))
    expected = metrics.roc_auc_score(labels, scores, multi_class="ovr", average=average)
    assert result[average]["roc_auc"] == pytest.approx(expected, rel=1e-12)
    expected = metrics.average_precision_score(np.eye(4)[labels], scores, average=average)
    assert result[average]["average_precision"] == pytest.approx(expected, rel=1e-12)
    order = generator.permutation(50)
    assert one_vs_rest(labels[order], scores[order], list("abcd")) == result


def test_a_class_without_samples_is_left_out_of_the_means() -> None:
    scores = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
    result = one_vs_rest([0, 0, 1], scores, list("abc"))
    assert [row["roc_auc"] for row in result["per_class"]] == [1.0, 0.0, None]
    assert result["per_class"][2]["average_precision"] is None
    assert result["macro"]["roc_auc"] == 0.5
    assert result["weighted"]["roc_auc"] == pytest.approx(2 / 3)


def test_one_class_only() -> None:
    assert one_vs_rest([0, 0], np.array([[1.0], [1.0]]), ["a"])["macro"] == {"roc_auc": None, "average_precision": 1.0}


def test_no_samples() -> None:
    result = one_vs_rest([], np.zeros((0, 2)), ["a", "b"])
    assert result["macro"] == {"roc_auc": None, "average_precision": None}


def test_bad_input() -> None:
    with pytest.raises(DataError, match=r"expected \(2, 2\)"):
        one_vs_rest([0, 1], np.zeros((2, 3)), ["a", "b"])
    with pytest.raises(DataError, match="row 1 are not finite"):
        one_vs_rest([0, 1], np.array([[0.0, 1.0], [np.inf, 0.0]]), ["a", "b"])
