"""Classes of two files under common names: numbers against names, from 0 or from 1, and spellings that differ."""

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ptrain.errors import DataError
from ptrain.evaluation.confusion import confusion_matrix
from ptrain.evaluation.files.classes import Text
from ptrain.evaluation.files.columns import ClassColumn
from ptrain.evaluation.files.lines import listing

_ENOUGH = 10
"""Samples from which on it is no chance that classes do not fit."""
Named = tuple[tuple[str, ...], Text, Text, list[str]]
"""Names of the classes, classes of the predictions and of the labels by these names, and what was guessed."""


def common_names(found: ClassColumn, reference: ClassColumn) -> Named:
    """Find the names that the classes of both files have in common.

    Raises DataError where classes of the one cannot be those of the other.
    """
    _check_negative(found, reference)
    if found.width is not None:
        return _names_of_columns(found, reference)
    _check_spellings(found, reference)
    if found.numeric == reference.numeric:
        _check_overlap(found, reference)
        if found.numeric:
            _check_start(found, reference)
        names = _sorted(np.r_[found.classes, reference.classes], found.numeric)
        if (
            reference.width is not None
            and reference.names is None
            and set(names) <= set(map(str, range(reference.width)))
        ):
            names = tuple(map(str, range(reference.width)))
        return names, found.classes, reference.classes, []
    numbers, named = (found, reference) if found.numeric else (reference, found)
    names = named.names or _sorted(named.classes, numeric=False)
    start = _start(numbers.classes, len(names), complete=named is reference or named.names is not None)
    if start is None:
        raise _different_kinds(found, reference)
    translated = np.array(names, dtype=np.str_)[numbers.classes.astype(np.int64) - start]
    pair = (translated, named.classes) if numbers is found else (named.classes, translated)
    if named.names is None and not _fits(*pair, names):
        raise _different_kinds(found, reference)
    return names, *pair, [f"numbers in {numbers.path} are {_mapping(range(start, start + len(names)), names)}"]


def _names_of_columns(found: ClassColumn, reference: ClassColumn) -> Named:
    """The predictions have a number for each class: these are the classes, and the labels must be among them."""
    assert found.width is not None
    names = found.names or tuple(map(str, range(found.width)))
    labels = reference.classes
    if set(labels.tolist()) <= set(names):
        return names, found.classes, labels, []
    if reference.numeric and not (found.names and found.numeric):
        start = _start(labels, found.width, complete=True)
        if start is not None and found.names is None:  # from 1: so are the columns
            names = tuple(map(str, range(1, found.width + 1)))
            classes = np.array(names, dtype=np.str_)[found.classes.astype(np.int64)]
            return names, classes, labels, [f"columns of {found.path} are the classes 1 to {found.width}"]
        if start is not None:
            labels = np.array(names, dtype=np.str_)[labels.astype(np.int64) - start]
            said = f"labels in {reference.path} are {_mapping(range(start, start + len(names)), names)}"
            return names, found.classes, labels, [said]
    different = _sorted(labels, reference.numeric)
    if found.names is None and len(different) == found.width:  # the order in which scikit-learn has its columns
        classes = np.array(different, dtype=np.str_)[found.classes.astype(np.int64)]
        if _fits(classes, labels, different):
            return different, classes, labels, [f"columns of {found.path} are {_mapping(names, different)}"]
    if found.names is None and not reference.numeric:
        raise _different_kinds(found, reference)
    unknown = next(name for name in different if name not in names)
    raise DataError(
        f"{reference.origin}: class {unknown} has no probability in the predictions; expected one of {listing(names)}"
    )


def _start(numbers: Text, num_names: int, *, complete: bool) -> int | None:
    """Whether class numbers count from 0 or from 1; None where that is not clear. ``complete``: all names are known."""
    different = {int(number) for number in np.unique(numbers).tolist()}
    for start in (0, 1):
        wanted = set(range(start, start + num_names))
        if different == wanted or (complete and different <= wanted and (start == 0 or len(different) > 1)):
            return start
    return None


def _fits(predictions: Text, labels: Text, names: Sequence[str]) -> bool:
    """Whether no two names would agree better if they were exchanged: a guess must not make a good classifier bad."""
    numbers = {name: number for number, name in enumerate(names)}
    of_labels, of_predictions = ([numbers[name] for name in values.tolist()] for values in (labels, predictions))
    counts = confusion_matrix(of_labels, of_predictions, len(names))
    right = counts.diagonal()
    return bool((right[:, None] + right >= counts + counts.T)[~np.eye(len(names), dtype=bool)].all())


def with_known_columns(found: ClassColumn, reference: ClassColumn) -> tuple[ClassColumn, list[str]]:
    """Name the columns of numbers for each class beside classes that are not their positions, such as labels 3, 7, 9.

    Where it is not known which column is which class, they are left out.
    """
    if found.width is None or found.names is not None or found.heading is None:
        return found, []
    shares, positions = found.probabilities, tuple(map(str, range(found.width)))
    same_kind = found.numeric == reference.numeric
    names = _sorted(np.r_[found.classes, reference.classes], found.numeric) if same_kind else ()
    largest = None if shares is None else shares.argmax(axis=1)
    if largest is None:
        by_position = set(found.classes.tolist()) <= set(positions)
    else:
        by_position = np.array_equal(largest.astype(np.str_), found.classes)
    if by_position or names == positions:
        return found, []
    if len(names) == found.width and largest is not None:
        agreeing = np.count_nonzero(np.array(names, dtype=np.str_)[largest] == found.classes)
        if 2 * agreeing >= len(largest):
            return replace(found, names=names), [f"columns of {found.path} are {_mapping(positions, names)}"]
    said = f"{found.path}: {found.width} numbers for each sample are left out: which is of which class is not known"
    return replace(found, width=None, probabilities=None), [said]


def _check_negative(found: ClassColumn, reference: ClassColumn) -> None:
    """Refuse numbers below 0 that only one file has: they mark samples without a class. -1 and 1 are classes."""
    theirs, ours = (set(column.classes.tolist()) for column in (found, reference))
    if theirs | ours <= {"-1", "1"}:
        return
    for column, others in ((found, ours), (reference, theirs)):
        rows = [row for row, name in enumerate(column.classes.tolist()) if name[0] == "-" and name not in others]
        if column.numeric and rows:
            raise DataError(f"{column.origin}: class {column.classes[rows[0]]} of sample {rows[0]}: expected 0 or more")


def _check_spellings(found: ClassColumn, reference: ClassColumn) -> None:
    """Refuse names that only differ in case, spaces, zeros at the front, or kinds of digits."""
    theirs, ours = (set(column.classes.tolist()) for column in (found, reference))
    alike = {_plain(name): name for name in ours - theirs}
    for name in sorted(theirs - ours):
        if _plain(name) in alike:
            raise DataError(
                f"{found.origin}: class {name}, and {alike[_plain(name)]} in {reference.path}: expected the same "
                "spelling in both, if they are the same class"
            )


def _check_overlap(found: ClassColumn, reference: ClassColumn) -> None:
    """Refuse files that have not one class in common."""
    theirs, ours = (set(column.classes.tolist()) for column in (found, reference))
    if not theirs & ours and min(len(theirs), len(ours)) > 1 and len(found.classes) >= _ENOUGH:
        raise DataError(
            f"{found.origin}: classes {listing(sorted(theirs))}, and {listing(sorted(ours))} in {reference.path}: "
            "expected some class in both"
        )


def _plain(name: str) -> str:
    text = " ".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").replace("-", " ").split())
    return text.lstrip("0") or "0" if text.isdecimal() else text


def _check_start(found: ClassColumn, reference: ClassColumn) -> None:
    """Refuse class numbers of which the one file counts from 0 and the other from 1."""
    theirs, ours = (sorted({int(name) for name in np.unique(column.classes)}) for column in (found, reference))
    shift = theirs[0] - ours[0]
    if abs(shift) != 1 or theirs[-1] - ours[-1] != shift or 0 not in (theirs[0], ours[0]) or theirs[0] == theirs[-1]:
        return
    different, inverse = np.unique(found.classes, return_inverse=True)
    shifted = np.array([str(int(name) - shift) for name in different.tolist()], dtype=np.str_)[inverse]
    fits, fits_shifted = (int((classes == reference.classes).sum()) for classes in (found.classes, shifted))
    if fits_shifted > fits and len(shifted) >= _ENOUGH:
        raise DataError(
            f"{found.origin}: classes {theirs[0]} to {theirs[-1]}, and {ours[0]} to {ours[-1]} in {reference.path}: "
            "expected the same numbers in both; one seems to count from 0 and the other from 1"
        )


def _different_kinds(found: ClassColumn, reference: ClassColumn) -> DataError:
    kinds = ["numbers" if column.numeric else "names" for column in (reference, found)]
    return DataError(
        f"{reference.path} holds {kinds[0]} of classes and {found.path} {kinds[1]}: expected the same kind in both, "
        "since it is not clear which number is which name"
    )


def _mapping(first: Sequence[object], second: Sequence[object]) -> str:
    shown = [f"{a} = {b}" for a, b in zip(first, second, strict=True)]
    return ", ".join(shown[:6]) + (", …" if len(shown) > 6 else "")


def _sorted(classes: NDArray[np.str_], numeric: bool) -> tuple[str, ...]:
    different = np.unique(classes).tolist()
    return tuple(sorted(different, key=int) if numeric else different)
