"""What one rank hands over about its part of the samples: sums that add up exactly to those of the whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptrain.errors import DataError
from ptrain.evaluation.confusion import confusion_matrix
from ptrain.evaluation.probabilities import ProbabilitySums, probability_sums, summarise_probabilities
from ptrain.evaluation.ratios import Absent
from ptrain.evaluation.scores import summarise
from ptrain.sums.exact import exact_sum


@dataclass(frozen=True, kw_only=True)
class EvaluationCounts:
    """Exact sums over samples; the result of ``merge`` has the same bits for any cut of the samples into parts."""

    confusion: NDArray[np.int64]
    """(classes, classes), rows the reference, columns the prediction."""
    loss: Fraction | None = None
    """Sum of the finite losses of the samples; None where no losses were given."""
    num_infinite: int = 0
    """Samples whose loss is not finite; with any, the mean loss is undefined."""
    probabilities: ProbabilitySums | None = None


def count_samples(
    labels: ArrayLike,
    predictions: ArrayLike,
    num_classes: int,
    *,
    losses: ArrayLike | None = None,
    probabilities: ArrayLike | None = None,
    scores: ArrayLike | None = None,
    top_k: Sequence[int] = (3, 5),
) -> EvaluationCounts:
    """Count one part of the samples, which may be empty.

    labels, predictions: (samples,) integers. losses: (samples,). probabilities: (samples, classes); scores: like them,
    what ranks the classes, if not the probabilities.
    Raises DataError for what does not fit together or is out of range.
    """
    reference = np.asarray(labels)
    confusion = confusion_matrix(reference, predictions, num_classes)
    loss, num_infinite, sums = None, 0, None
    if losses is not None:
        values = np.asarray(losses, dtype=np.float64)
        if values.shape != reference.shape:
            raise DataError(f"losses of shape {values.shape}: expected one a sample, shape {reference.shape}")
        finite = np.isfinite(values)
        loss, num_infinite = exact_sum(values[finite]), int((~finite).sum())
    if probabilities is not None:
        shares = np.asarray(probabilities)
        if shares.shape != (reference.size, num_classes):
            raise DataError(f"probabilities of shape {shares.shape}: expected ({reference.size}, {num_classes})")
        numbers = reference.astype(np.int64), np.asarray(predictions).astype(np.int64)
        sums = probability_sums(*numbers, shares, scores=scores, top_k=top_k)
    return EvaluationCounts(confusion=confusion, loss=loss, num_infinite=num_infinite, probabilities=sums)


def merge(parts: Sequence[EvaluationCounts]) -> EvaluationCounts:
    """Add up the counts of all parts. Parts may come in any order and may hold no samples.

    Raises DataError where parts differ in the number of classes or in what they counted.
    """
    if not parts:
        raise DataError("no evaluation counts to merge: expected those of one rank or more")
    kinds = {(part.confusion.shape, part.loss is None, part.probabilities is None) for part in parts}
    if len(kinds) > 1:
        raise DataError("evaluation counts of different kinds: expected the same classes, losses and probabilities")
    losses = [part.loss for part in parts if part.loss is not None]
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    return EvaluationCounts(
        confusion=np.sum([part.confusion for part in parts], axis=0, dtype=np.int64),
        loss=sum(losses, Fraction(0)) if losses else None,
        num_infinite=sum(part.num_infinite for part in parts),
        probabilities=sum(probabilities[1:], probabilities[0]) if probabilities else None,
    )


def summarise_counts(
    counts: EvaluationCounts, class_names: Sequence[str], *, absent: Absent = "exclude"
) -> dict[str, Any]:
    """Turn merged counts into ``summarise`` with the mean loss and, where counted, the key probabilities."""
    loss, num_samples = None, int(counts.confusion.sum())
    if counts.loss is not None and num_samples:
        loss = float("inf") if counts.num_infinite else float(counts.loss / num_samples)
    summary = summarise(counts.confusion, class_names, loss=loss, absent=absent)
    if counts.probabilities is not None:
        summary["probabilities"] = summarise_probabilities(counts.probabilities)
    return summary
