"""Cells as classes and as numbers: what a column or a matrix of them holds."""

import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ptrain.errors import DataError
from ptrain.evaluation.files.lines import is_number
from ptrain.evaluation.files.tables import Table

Text = NDArray[np.str_]

_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)(\.0*)?|-?\d\.\d{18}e\+\d\d", re.ASCII)
"""A whole number as int, float or numpy.savetxt write it. 01 and 1e5 are names."""
_COMMA = re.compile(r"[+-]?\d+(,\d+)?", re.ASCII)


def class_names(table: Table, values: NDArray[Any]) -> tuple[Text, bool]:
    """The class of every sample as text, and whether all are whole numbers; (samples,).

    2.0 is 2, while 01 is not 1. Raises DataError for numbers that are no classes.
    """
    if values.dtype.kind == "U":
        different, inverse = np.unique(values, return_inverse=True)
        texts = [str(text) for text in different.tolist()]
        if not texts or not all(map(_WHOLE.fullmatch, texts)):
            _refuse_fractions(table, values, texts)
            return values, False
        numbers = [int(float(text)) if "e" in text else int(text.partition(".")[0]) for text in texts]
        names = np.array([str(number) for number in numbers], dtype=np.str_)[inverse]
    else:
        whole = values.dtype.kind in "iu" or bool((np.isfinite(values) & (np.rint(values) == values)).all())
        if not whole:
            raise DataError(
                f"{table.origin}: {values.dtype} of shape {values.shape}: expected class numbers or names (samples,), "
                "or probabilities (samples, classes)"
            )
        different, inverse = np.unique(values, return_inverse=True)
        numbers = [int(number) for number in different.tolist()]
        names = np.array([str(number) for number in numbers], dtype=np.str_)[inverse]
    return names, True


def _refuse_fractions(table: Table, values: Text, texts: list[str]) -> None:
    """Refuse a column of numbers with decimals of which most occur once: scores, or what a regression predicts."""
    if texts and all(map(is_number, texts)) and 2 * len(texts) > len(values):
        row, cell = next((row, cell) for row, cell in enumerate(values.tolist()) if not _WHOLE.fullmatch(cell))
        if "." in cell and not re.fullmatch(r"0\d+", cell):
            raise DataError(
                f"{table.origin}: {cell} in {table.place(row)} is no class: expected class numbers or names, or a "
                "column of probabilities for each class"
            )


def as_numbers(values: NDArray[Any]) -> NDArray[np.floating] | None:
    """Cells as floats, of the shape that they have; None where one is no number. Floats stay as they are."""
    if values.dtype.kind == "f":
        return values
    if values.dtype.kind == "U":
        cells = values.ravel().tolist()
        if not all(map(is_number, cells)):
            if not all(map(_COMMA.fullmatch, cells)):
                return None
            cells = [cell.replace(",", ".") for cell in cells]  # between semicolons or tabs
        return np.array(list(map(float, cells)), dtype=np.float64).reshape(values.shape)
    return values.astype(np.float64)


def is_one_hot(matrix: NDArray[Any]) -> bool:
    """Whether every row has one number that is not 0, the same in all rows."""
    marks = matrix != 0
    return matrix.shape[1] > 1 and bool((marks.sum(axis=1) == 1).all()) and len(np.unique(matrix[marks])) == 1


def counts_lines(values: NDArray[Any]) -> Literal["in order", "permuted"] | None:
    """Whether values are 0, 1, 2, … or 1, 2, 3, …, in this or in another order; None where they are not."""
    texts = values.tolist()
    if not texts or not all(str(text).isdecimal() and str(text).isascii() for text in texts):
        return None
    numbers = list(map(int, texts))
    first = min(numbers)
    if first not in (0, 1) or sorted(numbers) != list(range(first, first + len(numbers))):
        return None
    return "in order" if numbers == sorted(numbers) else "permuted"
