"""Labels and predictions of the same samples as class numbers, from two files that anybody wrote."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptrain.errors import DataError
from ptrain.evaluation.files.columns import choose
from ptrain.evaluation.files.joining import join, settle
from ptrain.evaluation.files.naming import common_names, with_known_columns
from ptrain.evaluation.files.tables import read_table


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """Labels and predictions of the same samples, as class numbers."""

    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    class_names: tuple[str, ...]
    probabilities: NDArray[np.floating] | None
    """(samples, classes)."""
    said: tuple[str, ...] = ()
    """What was guessed in reading the files, reordered or left out."""


def read_judged(predictions: Path, labels: Path) -> Judged:
    """Read predictions and labels of the same samples from text, NumPy's files or Parquet.

    Each has the classes, or a number for each class, by headings or by what the columns hold; docs/report.md has the
    rules. Rows are matched by ids where both have some, else by their order. Classes are those that occur in either
    file, sorted; where there is a number for each class, those that have one.
    Raises DataError for files that cannot be read or do not belong together.
    """
    first, second, said = settle(read_table(predictions, "--predictions"), read_table(labels, "--labels"))
    found, reference = choose(first), choose(second)
    said = [*said, *found.said, *(text for text in reference.said if text not in found.said)]
    found, joined = join(found, reference)
    found, named = with_known_columns(found, reference)
    names, found_classes, reference_classes, matched = common_names(found, reference)
    said = [*said, *joined, *named, *matched]
    if predictions.resolve() == labels.resolve() and found.heading == reference.heading:
        if len(first.columns) > 1:
            raise DataError(f"{predictions}: one column is read as predictions and labels; expected headings for both")
        said.append("predictions and labels are the same column: every sample is right")
    judged = _numbers(found_classes, names)
    if found.probabilities is not None:
        shares = found.probabilities
        number = int((shares[np.arange(len(judged)), judged] < shares.max(axis=1)).sum())
        if number:
            said.append(f"in {number:,} rows of {found.path} the class is not the most probable one")
    return Judged(
        labels=_numbers(reference_classes, names),
        predictions=judged,
        class_names=names,
        probabilities=found.probabilities,
        said=tuple(said),
    )


def _numbers(classes: NDArray[np.str_], names: Sequence[str]) -> NDArray[np.int64]:
    """The position of each sample's class among the names."""
    numbers = {name: number for number, name in enumerate(names)}
    different, inverse = np.unique(classes, return_inverse=True)
    return np.array([numbers[name] for name in different.tolist()], dtype=np.int64)[inverse]
