"""Scores of predicted probabilities, as sums that add up over ranks: log loss, Brier, calibration, top-k."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import add
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptrain.errors import DataError
from ptrain.sums.exact import exact_sum

SUM_TOLERANCE = 1e-2
"""How far a row of probabilities may be from 1: enough for half precision and for printed digits."""


@dataclass(frozen=True, kw_only=True)
class ProbabilitySums:
    """Exact sums over samples. Sums of two parts add up field by field."""

    num_samples: int
    log_loss: Fraction
    """Sum of -log(probability of the true class)."""
    squared_error: Fraction
    """Sum over samples and classes of (probability - one-hot)**2."""
    top_k: tuple[tuple[int, int], ...]
    """Pairs of k and the number of samples whose true class is among the k most probable."""
    bin_counts: tuple[int, ...]
    """Samples by confidence (the probability of the prediction), in equal bins (a, b] over 0 .. 1."""
    bin_correct: tuple[int, ...]
    bin_confidence: tuple[Fraction, ...]
    """Sum of the confidences in each bin."""

    def __add__(self, other: "ProbabilitySums") -> "ProbabilitySums":
        ks, other_ks = ([k for k, _ in sums.top_k] for sums in (self, other))
        if ks != other_ks or len(self.bin_counts) != len(other.bin_counts):
            raise DataError(
                f"top-k {ks} with {len(self.bin_counts)} bins and top-k {other_ks} with {len(other.bin_counts)} bins: "
                "expected the same on every rank"
            )
        return ProbabilitySums(
            num_samples=self.num_samples + other.num_samples,
            log_loss=self.log_loss + other.log_loss,
            squared_error=self.squared_error + other.squared_error,
            top_k=tuple((k, a + b) for (k, a), (_, b) in zip(self.top_k, other.top_k, strict=True)),
            bin_counts=tuple(map(add, self.bin_counts, other.bin_counts)),
            bin_correct=tuple(map(add, self.bin_correct, other.bin_correct)),
            bin_confidence=tuple(map(add, self.bin_confidence, other.bin_confidence)),
        )


def probability_sums(
    labels: NDArray[np.integer],
    predictions: NDArray[np.integer],
    probabilities: ArrayLike,
    *,
    scores: ArrayLike | None = None,
    top_k: Sequence[int] = (3, 5),
    num_bins: int = 15,
) -> ProbabilitySums:
    """The sums of one part of the samples.

    labels, predictions: (samples,) in 0 .. classes - 1. probabilities: (samples, classes), rows that sum to 1. A
    probability below the type's rounding unit counts as that unit in the log loss, as in scikit-learn. The confidence
    is the probability of the prediction. scores: what ranks the classes, if not the probabilities. Of equal ones the
    lower class comes first, as in numpy.argmax. Values of k that are not below the number of classes are left out.
    """
    shares = _checked(np.asarray(probabilities))
    ranked = shares if scores is None else np.asarray(scores)
    rows = np.arange(len(labels))
    of_truth = shares[rows, labels].astype(np.float64)
    before = (ranked > ranked[rows, labels, None]).sum(axis=1)
    lower = np.arange(ranked.shape[1]) < np.asarray(labels)[:, None]
    before += ((ranked == ranked[rows, labels, None]) & lower).sum(axis=1)  # classes before the true one
    one_hot_error = shares.astype(np.float64)
    one_hot_error[rows, labels] -= 1.0
    confidence = shares[rows, predictions].astype(np.float64)
    edges = np.arange(1, num_bins) / num_bins
    bins = np.searchsorted(edges, confidence, side="left")
    return ProbabilitySums(
        num_samples=len(labels),
        log_loss=exact_sum(-np.log(np.maximum(of_truth, np.finfo(shares.dtype).eps))),
        squared_error=exact_sum(one_hot_error * one_hot_error),
        top_k=tuple((k, int((before < k).sum())) for k in top_k if k < shares.shape[1]),
        bin_counts=tuple(np.bincount(bins, minlength=num_bins).tolist()),
        bin_correct=tuple(np.bincount(bins[predictions == labels], minlength=num_bins).tolist()),
        bin_confidence=tuple(exact_sum(confidence[bins == index]) for index in range(num_bins)),
    )


def are_probabilities(scores: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which rows of (samples, classes) are probabilities: numbers of 0 to 1 that sum to 1, give or take rounding."""
    in_range = ((scores >= 0) & (scores <= 1 + SUM_TOLERANCE)).all(axis=1)  # False for NaN as well
    result: NDArray[np.bool_] = in_range & (np.abs(scores.sum(axis=1, dtype=np.float64) - 1) <= SUM_TOLERANCE)
    return result


def _checked(scores: NDArray[Any]) -> NDArray[np.floating]:
    """What was given, (samples, classes); raise DataError where it is not probabilities."""
    if not np.issubdtype(scores.dtype, np.floating):
        raise DataError(f"probabilities of type {scores.dtype}: expected floating-point numbers")
    wrong = np.flatnonzero(~are_probabilities(scores))
    if wrong.size:
        raise DataError(
            f"probabilities in row {wrong[0]}: expected numbers of 0 to 1 that sum to 1; "
            "give probabilities (softmax), not logits"
        )
    return scores


def summarise_probabilities(sums: ProbabilitySums) -> dict[str, Any]:
    """Log loss, Brier score, expected calibration error, top-k accuracies and the bins, ready for JSON.

    Brier score after Brier 1950 (sum over the classes, 0 .. 2); calibration error after Naeini, Cooper & Hauskrecht
    2015 and Guo et al. 2017. Raises DataError without samples.
    """
    n = sums.num_samples
    if n == 0:
        raise DataError("no samples to evaluate: expected at least one; check the split and the files of the data")
    bins = list(zip(sums.bin_counts, sums.bin_correct, sums.bin_confidence, strict=True))
    gaps = [abs(correct - confidence) for _, correct, confidence in bins]
    return {
        "log_loss": float(sums.log_loss / n),
        "brier": float(sums.squared_error / n),
        "expected_calibration_error": float(sum(gaps, Fraction(0)) / n),
        "top_k": {str(k): hits / n for k, hits in sums.top_k},
        "calibration": [
            {
                "low": index / len(bins),
                "high": (index + 1) / len(bins),
                "count": count,
                "accuracy": correct / count if count else None,
                "confidence": float(confidence / count) if count else None,
            }
            for index, (count, correct, confidence) in enumerate(bins)
        ],
    }
