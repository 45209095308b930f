"""What a finished evaluation keeps besides its counts: ranking scores, predictions, and the worst confusions."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.loader import Normalization
from ptrain.data.samples import DataSet, Split
from ptrain.evaluation.mergeable import summarise_counts
from ptrain.evaluation.ranking import add_ranking, leave_out_ranking
from ptrain.evaluation.ratios import Absent
from ptrain.evaluation.table import write_contents, write_files
from ptrain.models.inference import ChunkResult, Inference
from ptrain.report.images import to_pixels
from ptrain.run.scoring import score
from ptrain.run.session import Session

MAX_SCORES = 2**25
"""Samples times classes up to which rank 0 gathers all scores, for ROC AUC and average precision: 256 MiB."""
MAX_PREDICTIONS = 10**7
"""Samples up to which predictions.npy is written: at most 80 MB."""
NUM_PAIRS, NUM_EXAMPLES = 8, 8
"""Confusions of which misclassified samples are kept, and samples of each."""
PREDICTIONS, MISCLASSIFIED, PIXELS = "predictions.npy", "misclassified.json", "misclassified.npy"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """An evaluation as it is written into a folder. Whole on rank 0 only."""

    summary: dict[str, Any]
    predictions: NDArray[np.void] | None
    """(samples,) label, prediction and confidence, in the order of the split; None above MAX_PREDICTIONS."""
    misclassified: dict[str, Any] | None
    """Samples of the worst confusions, each with its place in the split."""
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
    label_type = np.min_scalar_type(len(class_names) - 1)

    def keep(result: ChunkResult) -> None:
        scores = result.probabilities.numpy()
        rows = np.empty(len(scores), _row_type(label_type))
        rows["label"], rows["prediction"] = result.labels.numpy(), result.predictions.numpy()
        rows["confidence"] = scores.max(axis=1)
        results[result.chunk] = (rows, scores) if num_scores <= MAX_SCORES else (rows,)

    keeps = split.size <= MAX_PREDICTIONS
    counts = score(session, inference, split, normalization, class_names, keep if keeps else None)
    summary = summarise_counts(counts, class_names, absent=absent)
    gathered = session.comm.gather_object(results) if keeps else None
    rows = None
    if gathered is not None and session.is_root:
        together = {chunk: values for rank in gathered for chunk, values in rank.items()}
        columns = list(zip(*(together[chunk] for chunk in sorted(together)), strict=True))
        rows = np.concatenate(columns[0])
        if len(columns) == 2:
            add_ranking(summary, rows["label"], np.concatenate(columns[1]))
    if num_scores > MAX_SCORES or not keeps:
        leave_out_ranking(summary, f"{split.size:,} samples x {len(class_names)} classes", MAX_SCORES)
    misclassified, pixels = (None, None) if rows is None else _worst(rows, dataset, split, class_names)
    return Evaluation(summary=summary, predictions=rows, misclassified=misclassified, pixels=pixels)


def _row_type(label_type: np.dtype[Any]) -> np.dtype[np.void]:
    little = label_type.newbyteorder("<")
    return np.dtype([("label", little), ("prediction", little), ("confidence", "<f4")])


def _worst(
    rows: NDArray[np.void], dataset: DataSet, split: Split, class_names: Sequence[str]
) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
    """Return the most frequent confusions, each with the samples that the network was most sure of."""
    wrong = np.flatnonzero(rows["label"] != rows["prediction"])
    pairs = rows["label"][wrong].astype(np.int64) * len(class_names) + rows["prediction"][wrong]
    found, frequency = np.unique(pairs, return_counts=True)
    groups: list[dict[str, Any]] = []
    chosen: list[NDArray[np.int64]] = []
    for index in np.lexsort((found, -frequency))[:NUM_PAIRS]:
        reference, predicted = divmod(int(found[index]), len(class_names))
        places = wrong[pairs == found[index]]
        places = places[np.lexsort((places, -rows["confidence"][places]))][:NUM_EXAMPLES]
        chosen.append(places)
        groups.append(
            {
                "reference": class_names[reference],
                "predicted": class_names[predicted],
                "count": int(frequency[index]),
                "samples": [
                    {"position": int(place), "confidence": round(float(rows["confidence"][place]), 6)}
                    for place in places
                ],
            }
        )
    pixels = None
    if chosen:
        indices = split.indices(np.concatenate(chosen).astype(np.int64))
        features = np.asarray(split.samples.features[indices])
        pixels = to_pixels(features, dataset.image_shape, dataset.feature_range)
    return {"groups": groups}, pixels


def _npy(array: NDArray[Any] | None) -> bytes | None:
    if array is None:
        return None
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
