"""Whether a data set can be trained on, and how often each class occurs in it. Ranks share the work by parts."""

import numpy as np
from numpy.typing import NDArray

from ptrain.data.plan import owned_shards
from ptrain.data.samples import DataSet, Samples, Split, check_counts, check_features, row_ranges
from ptrain.errors import DataError

_CHUNK_BYTES = 4 * 2**20
_STEPS = 1000  # of float64 between the smallest and the largest of wide integers: fewer blur them


def check(dataset: DataSet, part: int = 0, parts: int = 1, *, training: bool = True) -> None:
    """Raise DataError, naming file, sample and feature, where the data cannot be trained on, or only evaluated on.

    Labels are looked at whole; of the features each of the ``parts`` scans its own contiguous rows, in chunks.
    """
    for samples in dataset.all_samples:
        check_features(samples.features.shape, samples.features.dtype, samples.origin)
        origin, labels_origin = samples.origin, samples.labels_origin or samples.origin
        rows, width = samples.features.shape
        check_counts(rows, width, len(samples.labels), origin, labels_origin)
        _check_classes(samples, dataset.num_classes)
    if training:
        _check_several_classes(dataset.train, dataset.class_names)
    for samples in dataset.all_samples:
        check_finite(samples, owned_shards(len(samples), parts, part))
    train = dataset.train.samples
    if training and train.features.dtype.kind in "iu" and train.features.dtype.itemsize == 8:
        _check_exact(train, owned_shards(len(train), parts, part))


def class_counts(split: Split, num_classes: int, part: int = 0, parts: int = 1) -> NDArray[np.int64]:
    """How many samples of each class are in this part of the split. Result: (num_classes,)."""
    counts = np.zeros(num_classes, dtype=np.int64)
    for labels in split.labels(owned_shards(split.size, parts, part)):
        counts += np.bincount(labels.astype(np.int64), minlength=num_classes)
    return counts


def _check_classes(samples: Samples, num_classes: int) -> None:
    for sample in (int(samples.labels.argmin()), int(samples.labels.argmax())):
        if not 0 <= samples.labels[sample] < num_classes:
            raise DataError(
                f"{samples.labels_origin or samples.origin}: label {samples.labels[sample]} of sample {sample}: "
                f"expected 0 to {num_classes - 1}, the {num_classes} classes of the training samples"
            )


def _check_several_classes(train: Split, names: tuple[str, ...]) -> None:
    first = int(train.samples.labels[train.indices(np.zeros(1, dtype=np.int64))[0]])
    if all((labels == first).all() for labels in train.labels(range(train.size))):
        raise DataError(
            f"{train.samples.labels_origin or train.samples.origin}: all {train.size} training samples have class "
            f"{names[first]}: expected at least two classes"
        )


def check_finite(samples: Samples, rows: range) -> None:
    """Raise DataError where a feature in these rows is NaN, infinite, or too large for float32."""
    features = samples.features
    if features.dtype.kind != "f":
        return
    for part in row_ranges(rows, features.shape[1] * features.itemsize, _CHUNK_BYTES):
        with np.errstate(over="ignore"):
            chunk = features[part.start : part.stop].astype(np.float32)
        finite = np.isfinite(chunk)
        if not finite.all():
            row, column = (int(found[0]) for found in np.nonzero(~finite))
            value = features[part.start + row, column]
            problem = "does not fit into float32" if np.isfinite(value) else "is not finite"
            fix = "leave out or replace such samples" + ", or train with --missing drop or mean" * bool(np.isnan(value))
            raise DataError(
                f"{samples.origin}: feature {column} of sample {part.start + row} is {value}, which {problem}: "
                f"expected finite numbers; {fix} (both numbers count from 0)"
            )


def _check_exact(samples: Samples, rows: range) -> None:
    """Raise DataError where whole numbers lie so near to each other, so far from 0, that float64 takes them for one."""
    features = samples.features
    for part in row_ranges(rows, features.shape[1] * features.itemsize, _CHUNK_BYTES):
        chunk = np.asarray(features[part.start : part.stop])
        lows, highs = chunk.min(axis=0).tolist(), chunk.max(axis=0).tolist()
        for column, (low, high) in enumerate(zip(lows, highs, strict=True)):
            step = np.spacing(float(max(abs(low), abs(high))))
            if step > 1 and 0 < high - low < _STEPS * step:
                raise DataError(
                    f"{samples.origin}: feature {column} has values from {low} to {high}, which float64 holds in steps "
                    f"of {step:.0f}: expected numbers below 2**53; subtract the smallest one first"
                )
