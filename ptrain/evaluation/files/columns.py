"""Which column of a file holds the classes, which name the samples, which hold probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ptrain.errors import DataError
from ptrain.evaluation.files.classes import Text, as_numbers, class_names, counts_lines, is_one_hot
from ptrain.evaluation.files.headings import Kind, class_of_probability, kind_of, without_prefix
from ptrain.evaluation.files.lines import listing
from ptrain.evaluation.files.tables import CellTable, Column
from ptrain.evaluation.probabilities import are_probabilities

_PREFERRED: dict[str, tuple[Kind, ...]] = {
    "--predictions": ("prediction", "class", "reference"),
    "--labels": ("reference", "class", "prediction"),
}
"""Kinds of columns that a flag reads: the first that there is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ids:
    """A column that names the samples of a file."""

    heading: str | None
    values: Text
    """(samples,)."""

    @property
    def only_counts(self) -> bool:
        """Whether it counts the rows from 0 or 1 and is not called an id: it says no more than their order does."""
        return counts_lines(self.values) == "in order" and kind_of(self.heading or "") == "counter"


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassColumn:
    """Classes of samples as a file gives them, and what else it says of the samples."""

    origin: str
    path: Path
    classes: Text
    """(samples,) names, or numbers as text."""
    numeric: bool
    """Whether all classes are whole numbers."""
    heading: str | None = None
    ids: tuple[Ids, ...] = ()
    width: int | None = None
    """Columns of a matrix with a number for each class, where there is one."""
    names: tuple[str, ...] | None = None
    """Classes of these columns, where the file names them."""
    probabilities: NDArray[np.floating] | None = None
    """(samples, width), where all rows are probabilities."""
    gaps: tuple[int, ...] = ()
    """Before which samples the file has empty lines."""
    said: tuple[str, ...] = ()
    """What was guessed."""

    def taken(self, order: NDArray[np.intp]) -> "ClassColumn":
        """The samples in another order."""
        shares = None if self.probabilities is None else self.probabilities[order]
        return replace(self, classes=self.classes[order], probabilities=shares)


def choose(table: CellTable) -> ClassColumn:
    """Find the classes, the ids and the probabilities among the columns of a file.

    Raises DataError where it has no classes, or several columns that may be meant.
    """
    if not len(table.columns[0].values):
        raise DataError(f"{table.origin}: holds no samples; expected at least one")
    found = _by_headings(table) if any(column.heading is not None for column in table.columns) else _by_content(table)
    missing = np.flatnonzero(found.classes == "")
    if missing.size:
        raise DataError(f"{table.origin}: no class in {table.place(int(missing[0]))}; expected one of every sample")
    return replace(found, gaps=table.gaps)


def _by_headings(table: CellTable) -> ClassColumn:
    of_kind: dict[Kind, list[Column]] = {}
    for column in table.columns:
        of_kind.setdefault(_kind(column, len(table.columns)), []).append(column)
    preferred = _PREFERRED[table.flag]
    best = next((kind for kind in preferred if kind in of_kind), None)
    candidates = of_kind[best] if best is not None else []
    shares = of_kind.get("probability", [])
    loose = of_kind.get("other", []) + of_kind.get("score", [])
    if best == preferred[-1] and "other" in of_kind:  # the others' column, beside one that may be meant
        _refuse_columns(table, [*candidates, *of_kind["other"]])
    ids = of_kind.get("id", []) + of_kind.get("counter", [])
    said: tuple[str, ...] = ()
    if not candidates and not shares:
        texts = [column for column in loose if column.values.ndim == 2 or as_numbers(column.values) is None]
        if len(loose) > 1 and not texts:
            shares = loose
            if table.flag == "--labels" and not _marks_classes(_matrix(table, loose)[0]):
                _refuse_columns(table, loose)  # features, say
        else:
            candidates = texts or loose or ids
            ids = [column for column in ids if column not in candidates]
            said = (f"{table.path}: classes from column {candidates[0].heading}",) if len(table.columns) > 1 else ()
    chosen = _the_one(table, candidates) if candidates else None
    named = tuple(
        Ids(heading=column.heading, values=_texts(column.values)) for column in ids if column.values.ndim == 1
    )
    if chosen is None:
        return _of_matrix(table, *_matrix(table, shares), named)
    if chosen.values.ndim == 2:
        return _of_matrix(table, as_numbers(chosen.values), None, named)
    classes, numeric = class_names(table, chosen.values)
    found = ClassColumn(
        origin=table.origin,
        path=table.path,
        classes=classes,
        numeric=numeric,
        heading=chosen.heading,
        ids=named,
        said=said,
    )
    wide = next((column for column in [*loose, *shares] if column.values.ndim == 2), None)
    if wide is not None:
        return _with_probabilities(table, found, as_numbers(wide.values), None)
    if not shares and set(without_prefix([column.heading or "" for column in loose])) >= set(classes.tolist()):
        shares = loose
    return _with_probabilities(table, found, *_matrix(table, shares)) if shares else found


def _by_content(table: CellTable) -> ClassColumn:
    columns = [column.values for column in table.columns]
    if len(columns) == 1 and columns[0].ndim == 2:
        matrix = columns[0]
        if matrix.dtype.kind == "f" or matrix.shape[1] != 2 or is_one_hot(matrix):
            return _of_matrix(table, as_numbers(matrix), None, ())
        columns = list(matrix.T)  # numbers of samples and their classes
    if len(columns) == 1:
        classes, numeric = class_names(table, columns[0])
        return ClassColumn(origin=table.origin, path=table.path, classes=classes, numeric=numeric)
    numbers = [found for found in map(as_numbers, columns) if found is not None]
    ids = (Ids(heading=None, values=_texts(columns[0])),)
    if len(numbers) == len(columns):
        matrix = np.stack(numbers, axis=1)
        counted = counts_lines(columns[0]) is not None and not (are_probabilities(matrix).all() or is_one_hot(matrix))
        if not counted:
            return _of_matrix(table, matrix, None, ())
        if len(columns) > 2:
            return _of_matrix(table, matrix[:, 1:], None, ids, f"the first column of {table.path} counts the samples")
    elif len(columns) > 2 or not (
        counts_lines(columns[0]) or (_all_differ(columns[0]) and not _all_differ(columns[1]))
    ):
        _refuse_text(table, columns)
    classes, numeric = class_names(table, columns[1])
    said = f"{table.path}: ids and classes, without a heading"
    return ClassColumn(origin=table.origin, path=table.path, classes=classes, numeric=numeric, ids=ids, said=(said,))


def _refuse_text(table: CellTable, columns: Sequence[NDArray[Any]]) -> NoReturn:
    row, cell = next(
        (row, cell)
        for row, cells in enumerate(zip(*(values.tolist() for values in columns), strict=True))
        for cell in cells
        if as_numbers(np.array([cell])) is None
    )
    raise DataError(
        f"{table.origin}: {cell!r} in {table.place(row)} is no probability: expected numbers, or a heading with a "
        "column named class, label or prediction"
    )


def _the_one(table: CellTable, candidates: list[Column]) -> Column:
    """The only candidate, or the one with text of those that say the same."""
    if len(candidates) > 1:
        texts = [_texts(column.values) for column in candidates if column.values.ndim == 1]
        together = np.unique(np.stack(texts, axis=1), axis=0) if len(texts) == len(candidates) else None
        if together is None or any(len(np.unique(values)) < len(together) for values in together.T):
            _refuse_columns(table, candidates)
    return next((column for column in candidates if as_numbers(column.values) is None), candidates[0])


def _refuse_columns(table: CellTable, columns: Sequence[Column]) -> NoReturn:
    name = "prediction" if table.flag == "--predictions" else "label"
    raise DataError(
        f"{table.origin}: columns {listing([str(column.heading) for column in columns])}: expected one of "
        f"them with the classes, named {name}"
    )


def _kind(column: Column, num_columns: int) -> Kind:
    """What a column is by its heading, unless its cells say something else."""
    kind = kind_of(column.heading or "")
    if kind in _PREFERRED["--labels"] and column.values.ndim == 1:
        numbers = as_numbers(column.values)
        if num_columns > 1 and numbers is not None and (np.rint(numbers) != numbers).any():
            return "other"  # the probabilities of a class of this name
    return "id" if kind == "other" and num_columns > 2 and _all_differ(column.values) else kind


def _marks_classes(matrix: NDArray[np.floating]) -> bool:
    return is_one_hot(matrix) or bool(are_probabilities(matrix).all())


def _matrix(table: CellTable, columns: Sequence[Column]) -> tuple[NDArray[np.floating], tuple[str, ...] | None]:
    """The numbers of columns that each belong to a class, and the names of the classes."""
    numbers = []
    for column in columns:
        values = as_numbers(column.values)
        if values is None:
            row, cell = next(
                (row, c) for row, c in enumerate(column.values.tolist()) if as_numbers(np.array([c])) is None
            )
            raise DataError(f"{table.origin}: {cell!r} in {table.place(row)} is no probability: expected numbers")
        numbers.append(values)
    headings = [column.heading or "" for column in columns]
    inside = [class_of_probability(heading) for heading in headings]
    return np.stack(numbers, axis=1), tuple(name or "" for name in inside) if all(inside) else tuple(
        without_prefix(headings)
    )


def _of_matrix(
    table: CellTable, matrix: Any, names: tuple[str, ...] | None, ids: tuple[Ids, ...], said: str = ""
) -> ClassColumn:
    """The class of each row is the column with the largest number."""
    if matrix.ndim != 2 or matrix.shape[1] < 2:
        raise DataError(f"{table.origin}: probabilities of shape {matrix.shape}: expected (samples, classes)")
    wrong = np.flatnonzero(np.isnan(matrix).any(axis=1))
    if wrong.size:
        raise DataError(f"{table.origin}: no number in {table.place(int(wrong[0]))}; expected a probability a class")
    counted = table.columns[0].values.dtype.kind != "f" and names is None and (np.rint(matrix) == matrix).all()
    if not _marks_classes(matrix) and (
        table.flag == "--labels" or (counted and len(np.unique(matrix.sum(axis=1))) > 1)  # votes have one sum
    ):
        raise DataError(
            f"{table.origin}: {matrix.shape[1]} numbers a sample, which are neither probabilities nor one-hot: "
            "expected one class a sample; give the columns a heading"
        )
    largest = matrix.argmax(axis=1)
    numeric = names is None or all(name.isdecimal() and str(int(name)) == name for name in names)
    classes = np.array(list(map(str, range(matrix.shape[1]))) if names is None else names, dtype=np.str_)[largest]
    found = ClassColumn(
        origin=table.origin,
        path=table.path,
        classes=classes,
        numeric=numeric,
        ids=ids,
        said=(said,) if said else (),
    )
    return _with_probabilities(table, found, matrix, names)


def _with_probabilities(
    table: CellTable, column: ClassColumn, matrix: Any, names: tuple[str, ...] | None
) -> ClassColumn:
    """The column with the matrix beside it, which only counts as probabilities where every row is some."""
    column = replace(column, width=matrix.shape[1], names=names)
    if is_one_hot(matrix):
        return replace(column, said=(*column.said, f"{table.path}: one-hot rows"))
    wrong = np.flatnonzero(~are_probabilities(matrix))
    if wrong.size:
        said = f"{table.path}: no probabilities, since {table.place(int(wrong[0]))} is not 0 to 1 with the sum 1"
        if column.heading is None:
            said += "; the class is the column with the largest number"
        return replace(column, said=(*column.said, said))
    return replace(column, probabilities=matrix)


def _texts(values: NDArray[Any]) -> Text:
    """Values as text; 7.0 is 7, as pandas writes whole numbers of a column with gaps."""
    texts = values if values.dtype.kind == "U" else values.astype(np.str_)
    return (
        texts if counts_lines(texts) else np.array([text.removesuffix(".0") for text in texts.tolist()], dtype=np.str_)
    )


def _all_differ(values: NDArray[Any]) -> bool:
    """Whether a column of text has another one in every row."""
    return (
        values.ndim == 1
        and values.dtype.kind == "U"
        and as_numbers(values) is None
        and 1 < len(values) == len(np.unique(values))
    )
