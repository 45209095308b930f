"""Labels as files have them, and what of them is a class: whole numbers of any kind, text, one-hot rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.errors import DataError


def check_labels(shape: tuple[int, ...], dtype: np.dtype[Any], origin: str) -> None:
    """Raise DataError unless there can be one class a sample: (N,), (N, 1), or one-hot rows (N, K) of numbers."""
    columns = shape[1:]
    if len(shape) not in (1, 2) or (columns not in ((), (1,)) and dtype.kind not in "biuf"):
        raise DataError(
            f"{origin}: labels of shape {shape}: expected one class a sample, (N,), or one-hot rows, (N, classes)"
        )
    if dtype.kind not in "biufUS":
        raise DataError(
            f"{origin}: labels are {dtype}: expected whole numbers, or text of fixed length; number the classes"
        )


def is_one_hot(shape: tuple[int, ...]) -> bool:
    """Whether labels of this shape have a column a class."""
    return len(shape) == 2 and shape[1] > 1


def classes_of(
    labels: NDArray[np.generic], origin: str, first: int = 0
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """Labels (n,), (n, 1) or (n, K) as integers or text (n,), and which samples have none: NaN, or empty text.

    ``first`` is the number of the first sample, for messages. Raises DataError for a number that is not whole, for a
    row that is not one-hot, and for bytes that are not UTF-8.
    """
    if is_one_hot(labels.shape):
        labels = _from_one_hot(labels, origin, first)
    labels = labels.reshape(len(labels))
    none = np.zeros(len(labels), dtype=np.bool_)
    match labels.dtype.kind:
        case "b":
            return labels.astype(np.uint8), none
        case "f":
            none = np.isnan(labels)
            return whole_numbers(np.where(none, 0, labels) if none.any() else labels, origin, first), none
        case "S":
            try:
                labels = np.char.decode(labels, "utf-8")  # type: ignore[arg-type]
            except UnicodeDecodeError:
                raise DataError(f"{origin}: a label is not UTF-8; expected text in UTF-8: write it again") from None
    if labels.dtype.kind == "U":
        _check_text(labels, origin)
        none = labels == ""
    return labels, none


def need_labels(none: NDArray[np.bool_], origin: str, first: int = 0) -> None:
    """Raise DataError where a sample has no class."""
    if none.any():
        raise DataError(
            f"{origin}: no label for sample {first + int(np.argmax(none))} (NaN or empty): expected a class for each; "
            "leave such samples out, with --missing drop"
        )


def whole_labels(labels: NDArray[np.generic], origin: str) -> NDArray[np.integer]:
    """Labels as a vector of integers; whole floats are converted. Raises DataError where they are no numbers."""
    check_labels(labels.shape, labels.dtype, origin)
    if labels.dtype.kind in "iu" and not is_one_hot(labels.shape):
        return labels[:, 0] if labels.ndim == 2 else labels  # type: ignore[return-value]
    numbers, none = classes_of(labels, origin)
    if numbers.dtype.kind not in "iu":
        raise DataError(f"{origin}: labels are {labels.dtype}: expected whole numbers; number the classes")
    need_labels(none, origin)
    return numbers  # type: ignore[return-value]


def whole_numbers(labels: NDArray[np.generic], origin: str, first: int = 0) -> NDArray[np.int64]:
    """Return floats as integers; raises DataError for one that is not whole. ``first`` is the first sample's number."""
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64)
    wrong = np.flatnonzero(whole != labels)
    if wrong.size:
        raise DataError(
            f"{origin}: label {labels[wrong[0]]} of sample {first + wrong[0]} is not whole: expected classes, as whole "
            "numbers or text; ptrain does not learn measured values"
        )
    return whole


def _check_text(labels: NDArray[np.generic], origin: str) -> None:
    """Raise DataError for code points that there are none of, at which numpy and Python fail later."""
    if labels.dtype.itemsize:
        codes = np.ascontiguousarray(labels).view(np.dtype(np.uint32).newbyteorder(labels.dtype.byteorder))
        if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any():
            raise DataError(f"{origin}: a label is no text of Unicode; expected names: damaged, write it again")


def _from_one_hot(labels: NDArray[np.generic], origin: str, first: int) -> NDArray[np.int64]:
    """The number of the column with the 1 in each row."""
    ones = labels == 1
    wrong = np.flatnonzero((ones.sum(axis=1) != 1) | ~(ones | (labels == 0)).all(axis=1))
    if wrong.size:
        raise DataError(
            f"{origin}: labels with {labels.shape[1]} columns, and row {first + wrong[0]} is not one 1 and else 0: "
            "expected one class a sample, or one-hot rows; a cube and its map are read from .mat files or GeoTIFF"
        )
    numbers: NDArray[np.int64] = ones.argmax(axis=1)
    return numbers
