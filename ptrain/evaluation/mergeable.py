"""What one rank hands over about its part of the samples: sums that add up exactly to those of the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptrain.errors import DataError
from ptrain.evaluation.confusion import confusion_matrix
from ptrain.evaluation.exact import exact_sum
from ptrain.evaluation.probabilities import ProbabilitySums, probability_sums, summarise_probabilities
from ptrain.evaluation.ratios import Absent
from ptrain.evaluation.scores import summarise


@dataclass(frozen=True, kw_only=True)
class EvaluationCounts:
    """Exact sums over samples; the result of ``merge`` has the same bits for any cut of the samples into parts."""

    confusion: NDArray[np.int64]
    """(classes, classes), rows the reference, columns the prediction."""
    loss: Fraction | None = None
    """Sum of the finite losses of the samples; None where no losses were given."""
    num_infinite: int = 0
    """Samples (or chunks) whose loss is not finite; with any, the mean loss is undefined."""
    probabilities: ProbabilitySums | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data; exact numbers become text such as 5/8."""
        sums = self.probabilities
        return {
            "confusion": self.confusion.tolist(),
            "loss": None if self.loss is None else str(self.loss),
            "num_infinite": self.num_infinite,
            "probabilities": None
            if sums is None
            else {
                "num_samples": sums.num_samples,
                "log_loss": str(sums.log_loss),
                "squared_error": str(sums.squared_error),
                "top_k": [list(pair) for pair in sums.top_k],
                "bin_counts": list(sums.bin_counts),
                "bin_correct": list(sums.bin_correct),
                "bin_confidence": [str(value) for value in sums.bin_confidence],
            },
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "EvaluationCounts":
        """Return what ``to_json`` was called on. Raises DataError for anything else."""
        try:
            sums = content["probabilities"]
            return EvaluationCounts(
                confusion=np.array(content["confusion"], dtype=np.int64),
                loss=None if content["loss"] is None else Fraction(content["loss"]),
                num_infinite=int(content["num_infinite"]),
                probabilities=None
                if sums is None
                else ProbabilitySums(
                    num_samples=int(sums["num_samples"]),
                    log_loss=Fraction(sums["log_loss"]),
                    squared_error=Fraction(sums["squared_error"]),
                    top_k=tuple((int(k), int(hits)) for k, hits in sums["top_k"]),
                    bin_counts=tuple(map(int, sums["bin_counts"])),
                    bin_correct=tuple(map(int, sums["bin_correct"])),
                    bin_confidence=tuple(map(Fraction, sums["bin_confidence"])),
                ),
            )
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise DataError(f"evaluation counts that cannot be read ({error!r}): expected what to_json wrote") from None


def count_samples(
    labels: ArrayLike,
    predictions: ArrayLike,
    num_classes: int,
    *,
    losses: ArrayLike | None = None,
    chunk_losses: ArrayLike | None = None,
    probabilities: ArrayLike | None = None,
    valid: ArrayLike | None = None,
    top_k: Sequence[int] = (3, 5),
    num_bins: int = 15,
) -> EvaluationCounts:
    """Return the counts of one part of the samples, which may be empty.

    labels, predictions: (samples,) integers. losses: the loss of each sample (samples,). chunk_losses: instead, one
    sum a chunk (chunks,), for chunks that are cut the same for any number of ranks, padding not included.
    probabilities: (samples, classes). valid: (samples,) booleans, False for padding.
    Raises DataError for what does not fit together or is out of range.
    """
    reference = np.asarray(labels)
    confusion = confusion_matrix(reference, predictions, num_classes, valid=valid)
    mask = np.ones(reference.shape, dtype=np.bool_) if valid is None else np.asarray(valid)
    values = None
    if losses is not None:
        values = np.asarray(losses, dtype=np.float64)
        if values.shape != mask.shape:
            raise DataError(f"losses of shape {values.shape}: expected one a sample, shape {mask.shape}")
        values = values[mask]
    elif chunk_losses is not None:
        values = np.asarray(chunk_losses, dtype=np.float64)
    loss, num_infinite = None, 0
    if values is not None:
        finite = np.isfinite(values)
        loss, num_infinite = exact_sum(values[finite]), int((~finite).sum())
    sums = None
    if probabilities is not None:
        scores = np.asarray(probabilities)
        if scores.shape != (reference.size, num_classes):
            raise DataError(f"probabilities of shape {scores.shape}: expected ({reference.size}, {num_classes})")
        kept = reference[mask].astype(np.int64)
        sums = probability_sums(kept, scores[mask], top_k=top_k, num_bins=num_bins)
    return EvaluationCounts(confusion=confusion, loss=loss, num_infinite=num_infinite, probabilities=sums)


def merge(parts: Sequence[EvaluationCounts]) -> EvaluationCounts:
    """Return the counts of all parts together. Parts may come in any order and may hold no samples.

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
    """Return ``summarise`` of the merged counts with the mean loss and, where counted, the key probabilities."""
    loss = None
    num_samples = int(counts.confusion.sum())
    if counts.loss is not None and num_samples:
        loss = float("inf") if counts.num_infinite else float(counts.loss / num_samples)
    summary = summarise(counts.confusion, class_names, loss=loss, absent=absent)
    if counts.probabilities is not None:
        summary["probabilities"] = summarise_probabilities(counts.probabilities)
    return summary
