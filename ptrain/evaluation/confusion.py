"""The confusion matrix: whole-number counts that add up over ranks. Rows are the reference, columns the prediction."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptrain.errors import DataError


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """Count how often class i (row, the reference) was predicted as class j (column).

    labels, predictions: (samples,) integers in 0 .. num_classes - 1. Result: (num_classes, num_classes).
    Raises DataError for a wrong shape or type and for a class out of range, naming the first bad row.
    """
    if num_classes < 1:
        raise DataError(f"number of classes {num_classes}: expected 1 or more")
    reference, predicted = _classes(labels, "labels"), _classes(predictions, "predictions")
    if reference.shape != predicted.shape:
        raise DataError(
            f"{reference.size} labels and {predicted.size} predictions: expected as many of one as of the other"
        )
    for name, values in (("labels", reference), ("predictions", predicted)):
        wrong = np.flatnonzero((values < 0) | (values >= num_classes))
        if wrong.size:
            raise DataError(
                f"{name}: class {values[wrong[0]]} in row {wrong[0]}: expected 0 to {num_classes - 1}; "
                "correct the file or raise the number of classes"
            )
    # In 64 bits, since the product overflows the small types that labels may come in
    flat = reference.astype(np.int64) * num_classes + predicted.astype(np.int64)
    counts = np.bincount(flat, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def _classes(values: ArrayLike, name: str) -> NDArray[np.integer]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{name} of shape {array.shape}: expected one class number a sample, shape (samples,)")
    if array.size == 0:
        return array.astype(np.int64)  # an empty list has no type of its own
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{name} of type {array.dtype}: expected whole numbers from 0")
    return array


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    """The counts that all metrics are made of, as Python integers, so that no product of them can overflow."""

    num_samples: int
    correct: tuple[int, ...]
    """True positives of each class: the diagonal."""
    support: tuple[int, ...]
    """Samples of each class in the reference: row sums."""
    predicted: tuple[int, ...]
    """Samples predicted as each class: column sums."""


def class_counts(confusion: ArrayLike) -> ClassCounts:
    """Sum up a confusion matrix, (classes, classes) integers >= 0.

    Raises DataError where it is not square, not of whole numbers, negative, or holds no sample.
    """
    matrix = np.asarray(confusion)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise DataError(f"confusion matrix of shape {matrix.shape}: expected a square one, (classes, classes)")
    if not np.issubdtype(matrix.dtype, np.integer):
        raise DataError(f"confusion matrix of type {matrix.dtype}: expected counts, that is whole numbers")
    if (matrix < 0).any():
        raise DataError(f"confusion matrix with the count {matrix.min()}: expected 0 or more")
    cells = matrix.tolist()
    support = tuple(sum(row) for row in cells)
    if sum(support) == 0:
        raise DataError("no samples to evaluate: expected at least one; check the split and the files of the data")
    return ClassCounts(
        num_samples=sum(support),
        correct=tuple(row[index] for index, row in enumerate(cells)),
        support=support,
        predicted=tuple(sum(column) for column in zip(*cells, strict=True)),
    )
