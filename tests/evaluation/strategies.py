"""Random confusion matrices and samples for the tests of the evaluation."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Matrix = NDArray[np.int64]


@st.composite
def matrices(draw: st.DrawFn, max_count: int = 30, min_classes: int = 1, max_classes: int = 6) -> Matrix:
    """Square matrices with at least one sample; empty rows and columns are common."""
    size = draw(st.integers(min_classes, max_classes))
    count = st.one_of(st.just(0), st.integers(0, max_count))
    cells = draw(st.lists(st.lists(count, min_size=size, max_size=size), min_size=size, max_size=size))
    matrix = np.array(cells, dtype=np.int64)
    if matrix.sum() == 0:
        matrix[draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1))] = draw(st.integers(1, max_count))
    return matrix


def samples(matrix: Matrix) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return labels and predictions that give the matrix."""
    i, j = np.nonzero(matrix)
    return np.repeat(i, matrix[i, j]), np.repeat(j, matrix[i, j])
