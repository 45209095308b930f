"""Whether a data set can be trained on, and how often each class occurs in it. Ranks share the work by parts."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ptrain.data.fingerprint import combine_fingerprints, fingerprint_blocks
from ptrain.data.plan import owned_shards
from ptrain.data.samples import DataSet, Samples, Split, check_feature_type, check_shapes
from ptrain.errors import DataError

__all__ = ["check", "check_finite", "class_counts", "combine_fingerprints", "fingerprint_blocks"]

_CHUNK_BYTES = 4 * 2**20
_CHUNK_POSITIONS = 2**18


def check(dataset: DataSet, part: int = 0, parts: int = 1, *, training: bool = True) -> None:
    """Raise DataError, naming file, sample and feature, where the data cannot be trained on, or only evaluated on.

    Labels are looked at whole; of the features each of the ``parts`` scans its own contiguous rows, in chunks.
    """
    for samples in dataset.all_samples:
        check_feature_type(samples.features, samples.origin)
        check_shapes(samples)
        _check_classes(samples, dataset.num_classes)
    if training:
        _check_several_classes(dataset.train)
    for samples in dataset.all_samples:
        check_finite(samples, owned_shards(len(samples), parts, part))


def class_counts(split: Split, num_classes: int, part: int = 0, parts: int = 1) -> NDArray[np.int64]:
    """Return how many samples of each class are in this part of the split. Result: (num_classes,)."""
    counts = np.zeros(num_classes, dtype=np.int64)
    for labels in _labels(split, owned_shards(split.size, parts, part)):
        counts += np.bincount(labels.astype(np.int64), minlength=num_classes)
    return counts


def _labels(split: Split, positions: range) -> Iterator[NDArray[np.integer]]:
    """Yield the labels at these positions of the split, in chunks."""
    for start in range(positions.start, positions.stop, _CHUNK_POSITIONS):
        stop = min(start + _CHUNK_POSITIONS, positions.stop)
        if split.in_order:
            yield split.samples.labels[split.start + start : split.start + stop]
        else:
            yield split.samples.labels[split.indices(np.arange(start, stop))]


def _check_classes(samples: Samples, num_classes: int) -> None:
    largest = int(samples.labels.max())
    if largest >= num_classes:
        raise DataError(
            f"{samples.labels_origin or samples.origin}: label {largest} of sample {int(samples.labels.argmax())}: "
            f"expected 0 to {num_classes - 1}, the {num_classes} classes of the training samples"
        )


def _check_several_classes(train: Split) -> None:
    first = int(train.samples.labels[train.indices(np.zeros(1, dtype=np.int64))[0]])
    if all((labels == first).all() for labels in _labels(train, range(train.size))):
        raise DataError(
            f"{train.samples.labels_origin or train.samples.origin}: all {train.size} training samples have class "
            f"{first}: expected at least two classes"
        )


def check_finite(samples: Samples, rows: range) -> None:
    """Raise DataError where a feature in these rows is NaN, infinite, or too large for float32."""
    features = samples.features
    if features.dtype.kind != "f":
        return
    step = max(1, _CHUNK_BYTES // (features.shape[1] * features.itemsize))
    for start in range(rows.start, rows.stop, step):
        with np.errstate(over="ignore"):
            chunk = features[start : min(start + step, rows.stop)].astype(np.float32)
        finite = np.isfinite(chunk)
        if not finite.all():
            row, column = (int(found[0]) for found in np.nonzero(~finite))
            value = features[start + row, column]
            problem = "does not fit into float32" if np.isfinite(value) else "is not finite"
            raise DataError(
                f"{samples.origin}: feature {column} of sample {start + row} is {value}, which {problem}: expected "
                "finite numbers; leave out or replace such samples (both numbers count from 0)"
            )
