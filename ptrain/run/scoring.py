"""Evaluation of a split by all ranks: exact counts, the same on any number of them, and what is kept of the samples."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.loader import EvaluationLoader, Normalization
from ptrain.data.samples import DataSet, Split
from ptrain.evaluation.mergeable import EvaluationCounts, count_samples, merge, summarise_counts
from ptrain.evaluation.ranking import add_ranking, leave_out_ranking
from ptrain.evaluation.ratios import Absent
from ptrain.evaluation.table import EVALUATION, write_contents, write_files
from ptrain.models.inference import CHUNK_ROWS, ChunkResult, Inference
from ptrain.run.images import to_pixels
from ptrain.run.session import Session

MAX_SCORES = 2**25
"""Samples times classes up to which rank 0 gathers all scores, for ROC AUC and average precision: 256 MiB."""
MAX_PREDICTIONS = 10**7
"""Samples up to which predictions.npy is written: at most 80 MB."""
NUM_PAIRS, NUM_EXAMPLES = 8, 8
"""Confusions of which misclassified samples are kept, and samples of each."""
OF_MSE = (
    "of --loss mse, probabilities are those nearest to the outputs of the network; "
    "top-k accuracy, ROC AUC and average precision are by the outputs themselves"
)
PREDICTIONS, MISCLASSIFIED, PIXELS = "predictions.npy", "misclassified.json", "misclassified.npy"
EVALUATION_FILES = (EVALUATION, "confusion.csv", "per_class.csv", PREDICTIONS, MISCLASSIFIED, PIXELS)
"""What ``Evaluation.write`` writes."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """An evaluation as it is written into a folder. Whole on rank 0 only."""

    summary: dict[str, Any]
    predictions: NDArray[np.void] | None
    """(samples,) label, prediction and confidence, in the order of the split; None above MAX_PREDICTIONS."""
    misclassified: dict[str, Any] | None
    """Samples of the worst confusions, each with its position in the split."""
    pixels: NDArray[np.uint8] | None
    """The same samples as images, where they are images."""

    def write(self, folder: Path) -> None:
        """Write all files into a folder that exists; what an earlier evaluation left there is replaced or removed.

        Raises RunDirectoryError where the folder cannot be written.
        """
        write_files(self.summary, folder)
        misclassified = None if self.misclassified is None else json.dumps(self.misclassified) + "\n"
        contents = {PREDICTIONS: _npy(self.predictions), PIXELS: _npy(self.pixels), MISCLASSIFIED: misclassified}
        write_contents(contents, folder)


def score(
    session: Session,
    inference: Inference,
    split: Split,
    normalization: Normalization,
    class_names: Sequence[str],
    also: Callable[[ChunkResult], None] | None = None,
) -> EvaluationCounts:
    """Count the whole split, on every rank alike; ``also`` sees each result of this rank, from all threads.

    Raises RuntimeError where a sample was counted twice or never, which is a defect.
    """
    parts: list[EvaluationCounts] = []

    def count(result: ChunkResult) -> None:
        if also is not None:
            also(result)
        labels, predictions = result.labels.numpy(), result.predictions.numpy()
        losses, shares, scores = result.losses.numpy(), result.probabilities.numpy(), result.scores.numpy()
        counts = count_samples(
            labels, predictions, len(class_names), losses=losses, probabilities=shares, scores=scores
        )
        parts.append(counts)

    loader = partial(EvaluationLoader, split, CHUNK_ROWS, normalization, session.device)
    # Chunks are cut alike for any number of ranks.
    inference.run(session.owned(-(-split.size // CHUNK_ROWS)), loader, count)
    # Merged once before they travel; a rank without a chunk has nothing to send.
    everybody = session.comm.all_gather_object([merge(parts)] if parts else [])
    counts = merge([part for rank in everybody for part in rank])
    if (counted := int(counts.confusion.sum())) != split.size:
        raise RuntimeError(f"{counted} samples counted in a split of {split.size}: expected each of them once")
    return counts


def evaluate_split(
    session: Session,
    inference: Inference,
    dataset: DataSet,
    split: Split,
    normalization: Normalization,
    class_names: Sequence[str],
    absent: Absent = "exclude",
) -> Evaluation:
    """Evaluate a split on all ranks. Every rank calls it; the result is the same bits on any number of them."""
    num_scores = split.size * len(class_names)
    results: dict[int, tuple[NDArray[Any], ...]] = {}
    label = np.min_scalar_type(len(class_names) - 1).newbyteorder("<")  # the file is read on any machine
    row_type = np.dtype([("label", label), ("prediction", label), ("confidence", "<f4")])

    def keep(result: ChunkResult) -> None:
        predictions, shares = result.predictions.numpy(), result.probabilities.numpy()
        rows = np.empty(len(predictions), row_type)
        rows["label"], rows["prediction"] = result.labels.numpy(), predictions
        rows["confidence"] = shares[np.arange(len(predictions)), predictions]
        results[result.chunk] = (rows, result.scores.numpy()) if num_scores <= MAX_SCORES else (rows,)

    keeps = split.size <= MAX_PREDICTIONS
    counts = score(session, inference, split, normalization, class_names, keep if keeps else None)
    summary = summarise_counts(counts, class_names, absent=absent)
    if inference.config.model.loss == "mse":
        summary["notes"].append(OF_MSE)
    gathered = session.comm.gather_object(results) if keeps else None
    rows = None
    if gathered is not None and session.is_root:
        together = {chunk: values for rank in gathered for chunk, values in rank.items()}
        # By chunk, not by rank or by which thread was first: the order of the split on any number of ranks.
        columns = list(zip(*(together[chunk] for chunk in sorted(together)), strict=True))
        rows = np.concatenate(columns[0])
        if len(columns) == 2:
            add_ranking(summary, rows["label"], np.concatenate(columns[1]))
    if num_scores > MAX_SCORES or not keeps:
        leave_out_ranking(summary, f"{split.size:,} samples x {len(class_names)} classes", MAX_SCORES)
    misclassified, pixels = (None, None) if rows is None else _worst(rows, dataset, split, class_names)
    return Evaluation(summary=summary, predictions=rows, misclassified=misclassified, pixels=pixels)


def _worst(
    rows: NDArray[np.void], dataset: DataSet, split: Split, class_names: Sequence[str]
) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
    """Choose the most frequent confusions and of each the samples that the network was most sure of.

    Ties go to the lower class and the earlier sample, so that the choice is the same on any number of ranks.
    """
    wrong = np.flatnonzero(rows["label"] != rows["prediction"])
    pairs = rows["label"][wrong].astype(np.int64) * len(class_names) + rows["prediction"][wrong]
    found, frequency = np.unique(pairs, return_counts=True)
    groups, chosen = [], []
    for index in np.lexsort((found, -frequency))[:NUM_PAIRS]:
        reference, predicted = divmod(int(found[index]), len(class_names))
        positions = wrong[pairs == found[index]]
        positions = positions[np.lexsort((positions, -rows["confidence"][positions]))][:NUM_EXAMPLES]
        chosen.append(positions)
        groups.append(
            {
                "reference": class_names[reference],
                "predicted": class_names[predicted],
                "count": int(frequency[index]),
                "samples": [
                    {"position": int(position), "confidence": round(float(rows["confidence"][position]), 6)}
                    for position in positions
                ],
            }
        )
    pixels = None
    if chosen:
        features = split.samples.features[split.indices(np.concatenate(chosen).astype(np.int64))]
        pixels = to_pixels(np.asarray(features), dataset.image_shape, dataset.feature_range)
    return {"groups": groups}, pixels


def _npy(array: NDArray[Any] | None) -> bytes | None:
    if array is None:
        return None
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
