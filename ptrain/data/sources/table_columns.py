"""Columns of a table: which are used, what each holds over the whole file, and their values as numbers."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.config import DataConfig, nearest
from ptrain.data.sources.table_files import MISSING, Table
from ptrain.errors import DataError, MissingValueError

MAX_CATEGORIES = 1000
"""Different texts a column may have."""
MAX_CLASSES = 10_000
_WHOLE = 2.0**53
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The columns that are used."""

    features: tuple[str, ...]
    target: str | None
    group: str | None


@dataclass(kw_only=True)
class Column:
    """What is known of a column, block by block."""

    name: str
    numbers: int = 0
    texts: int = 0
    missing: int = 0
    whole: bool = True
    low: float = math.inf
    high: float = -math.inf
    first_number: tuple[int, str] = (0, "")
    first_text: tuple[int, str] = (0, "")
    values: set[str] = field(default_factory=set)
    many: bool = False
    """More different texts than are kept."""


def choose(table: Table, config: DataConfig) -> Choice:
    """Return the columns that --target, --features, --drop and --group ask for."""
    target = config.target
    if target is None:
        raise DataError(
            f"{table.path}: a table without --target; expected --target NAME, the column of the classes, one of "
            f"{_listed(table.columns)}"
        )
    for flag, name in (("--target", target), ("--group", config.group)):
        if name is not None:
            _need_column(table, flag, name)
    asked = [("--features", config.features), ("--drop", config.drop)]
    lists = {flag: _names(flag, text) if text is not None else [] for flag, text in asked}
    for flag, names in lists.items():
        for name in names:
            _need_column(table, flag, name)
    if target in lists["--features"]:
        raise DataError(
            f"--features {config.features}: holds {target}, the --target; expected the columns to learn from"
        )
    if target in lists["--drop"]:
        raise DataError(f"--drop {config.drop}: holds {target}, the --target; expected other columns")
    if config.split == "groups" and config.group is None:
        raise DataError(f"--split groups without --group: expected --group NAME, one of {_listed(table.columns)}")
    out = {target, config.group, *lists["--drop"]}
    features = tuple(lists["--features"]) or tuple(name for name in table.columns if name not in out)
    if not features:
        raise DataError(f"{table.path}: no columns left to learn from; expected at least one besides {target}")
    if len(set(features)) < len(features):
        raise DataError(f"--features {config.features}: names a column twice; expected each once")
    return Choice(features=features, target=target, group=config.group)


def _need_column(table: Table, flag: str, name: str) -> None:
    if name not in table.columns:
        hint = nearest(name, list(table.columns[:1000]))
        near = f"{hint} " if hint.startswith("did") else ""
        raise DataError(
            f"{flag} {name}: no such column in {table.path}; {near}expected one of {_listed(table.columns)}"
        )


def _names(flag: str, text: str) -> list[str]:
    names = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    if not names or not all(names):
        raise DataError(f"{flag} {text}: expected columns' names separated by commas")
    return names


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def scan(table: Table, choice: Choice, missing: str, *, strict: bool = True) -> dict[str, Any]:
    """Return what the used columns hold over the whole file: kinds, ranges, categories, the number of rows.

    Raises DataError, naming the line and the column, for mixed kinds, infinities, numbers too large for float32, too
    many different texts and, where they are an error, missing values. Without ``strict`` these are only described.
    """
    used = [*choice.features, *([choice.target] if choice.target is not None else [])]
    columns = {name: Column(name=name) for name in used}
    read = [*used, *([choice.group] if choice.group is not None and choice.group not in used else [])]
    rows = 0
    texts = {choice.target, choice.group}
    guess = [name for name in table.guessed(read) if name not in texts]
    for batch in table.batches(read, guess):
        for name in used:
            look(
                table, columns[name], batch.column(name), rows, missing, is_target=name == choice.target, strict=strict
            )
        rows += batch.num_rows
    if rows == 0:
        raise DataError(f"{table.path}: has a header but no rows; expected a row a sample")
    return {"rows": rows, "columns": {name: _kind(table, column, strict) for name, column in columns.items()}}


def look(table: Table, column: Column, block: Any, start: int, missing: str, *, is_target: bool, strict: bool) -> None:
    """Take a block of a column, whose first row is ``start``, into account."""
    place = Place(table, column.name, start)
    if is_text(block):
        values, lost = trimmed(block)
        numbers, lost = as_numbers(values, lost)
        if numbers is None or is_target or column.texts:
            _look_at_texts(column, values, lost, place, MAX_CLASSES if is_target else MAX_CATEGORIES, strict)
        elif not lost.all():
            if not column.numbers:
                first = int(np.argmin(lost))
                column.first_number = (start + first, values[first].as_py())
            column.numbers += int((~lost).sum())
        if column.texts and column.numbers and not is_target and strict:
            (row, text), (other, number) = column.first_text, column.first_number
            raise DataError(
                f"{table.path}, {table.place(row)}, column {column.name}: {text!r} is no number but {number!r} in "
                f"{table.place(other)} is; expected all numbers or all text: correct it, or leave the column out with "
                f"--drop {column.name}"
            )
    else:
        numbers, lost = numbers_of(block)
        if not lost.all() and not column.numbers:
            first = int(np.argmin(lost))
            column.first_number = (start + first, f"{numbers[first]:g}")
        column.numbers += int((~lost).sum())
        if is_target:
            column.values.update(str(value) for value in np.unique(numbers[~lost]).tolist())
            _need_few(column, place, MAX_CLASSES, strict)
    column.missing += int(lost.sum())
    if numbers is not None:
        _look_at_numbers(column, numbers, lost, place, strict)
    if lost.any() and missing == "error":
        place.refuse_missing(int(np.argmax(lost)), is_target)


def _look_at_texts(
    column: Column, texts: Any, lost: NDArray[np.bool_], place: "Place", limit: int, strict: bool
) -> None:
    import pyarrow.compute as pc

    found = [value for value in pc.unique(texts).to_pylist() if value is not None]
    column.values.update(found)
    count = len(lost) - int(lost.sum())
    wrong = [value for value in found if number_of(value) is None]
    if wrong and not column.texts:
        row = pc.index(texts, wrong[0]).as_py()
        column.first_text = (place.start + row, wrong[0])
    if len(wrong) < len(found) and not column.numbers:
        right = next(value for value in found if number_of(value) is not None)
        column.first_number = (place.start + pc.index(texts, right).as_py(), right)
    column.texts += count if wrong else 0
    column.numbers += count if len(wrong) < len(found) else 0
    _need_few(column, place, limit, strict)


def _need_few(column: Column, place: "Place", limit: int, strict: bool) -> None:
    if len(column.values) > limit and not strict:
        column.many = True
        column.values = set(sorted(column.values)[:limit])
    if len(column.values) > limit:
        example = min(column.values)
        word = "classes" if limit == MAX_CLASSES else "texts"
        fix = "choose another --target" if limit == MAX_CLASSES else f"leave the column out with --drop {column.name}"
        raise DataError(
            f"{place.table.path}, column {column.name}: more than {limit:,} different {word}, such as {example!r}; "
            f"expected at most {limit:,}: {fix}"
        )


def _look_at_numbers(
    column: Column, values: NDArray[Any], lost: NDArray[np.bool_], place: "Place", strict: bool
) -> None:
    if column.whole:
        column.whole = bool(((values == np.floor(values)) & (np.abs(values) <= _WHOLE)).all())
    if values.dtype.kind == "f":
        wrong = ~lost & ~(np.abs(values) <= _LARGEST)
        if wrong.any() and strict:
            row = int(np.argmax(wrong))
            raise DataError(
                f"{place.at(row)}: {values[row]:g}; expected a finite number that float32 can hold (at most "
                f"{_LARGEST:.3g}): correct it, or leave the column out with --drop {column.name}"
            )
    kept = values[~lost]
    if len(kept):
        column.low, column.high = min(column.low, float(kept.min())), max(column.high, float(kept.max()))


def _kind(table: Table, column: Column, strict: bool) -> dict[str, Any]:
    if column.numbers == 0 and column.texts == 0 and strict:
        raise DataError(
            f"{table.path}, column {column.name}: has no values; expected numbers or text: "
            f"leave it out with --drop {column.name}"
        )
    return {
        "kind": "nothing" if not column.numbers + column.texts else "text" if column.texts else "number",
        "whole": column.whole and not column.texts,
        "low": column.low if column.low <= column.high else 0.0,
        "high": column.high if column.low <= column.high else 0.0,
        "missing": column.missing,
        "many": column.many,
        "values": sorted(column.values) if column.texts or column.values else None,
    }


@dataclass(frozen=True)
class Place:
    """Where a block of a column is, for messages."""

    table: Table
    column: str
    start: int

    def at(self, row: int) -> str:
        """Return file, line and column of a row of the block."""
        return f"{self.table.path}, {self.table.place(self.start + row)}, column {self.column}"

    def refuse_missing(self, row: int, is_target: bool) -> None:
        """Raise DataError for a missing value."""
        fix = "--missing drop leaves the row out" if is_target else "--missing mean or --missing drop says what to do"
        raise MissingValueError(f"{self.at(row)}: no value; expected one in every row: {fix}, or complete the file")


def is_text(block: Any) -> bool:
    """Return whether a block of a column is text, which may be stored by a dictionary."""
    import pyarrow

    kind = block.type.value_type if pyarrow.types.is_dictionary(block.type) else block.type
    return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))


def trimmed(block: Any) -> tuple[Any, NDArray[np.bool_]]:
    """Return a block of text without blanks around its values, null where one is missing, and which those are."""
    import pyarrow
    import pyarrow.compute as pc

    texts = pc.utf8_trim_whitespace(pc.cast(block, pyarrow.string()))
    lost = pc.or_kleene(pc.is_null(texts), pc.is_in(texts, value_set=pyarrow.array(MISSING)))
    return pc.if_else(lost, pyarrow.scalar(None, pyarrow.string()), texts), lost.to_numpy(zero_copy_only=False)


def as_numbers(texts: Any, lost: NDArray[np.bool_]) -> tuple[NDArray[Any] | None, NDArray[np.bool_]]:
    """Return a block of text as float64, 0 where a value is missing, or None where one is no number.

    ``lost`` says where a value is missing; it is returned with every other spelling of NaN added to it.
    """
    import pyarrow
    import pyarrow.compute as pc

    try:
        return _without_nan(pc.cast(texts, pyarrow.float64()))
    except pyarrow.ArrowInvalid:
        return None, lost


def numbers_of(block: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return a block of numbers or bool as float64, 0 where missing (null or NaN), and which are missing."""
    import pyarrow
    import pyarrow.compute as pc

    return _without_nan(block if block.type == pyarrow.float64() else pc.cast(block, pyarrow.float64(), safe=False))


def _without_nan(block: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    values: NDArray[Any] = block.to_numpy(zero_copy_only=False)
    lost = np.isnan(values)
    return (np.where(lost, 0.0, values) if lost.any() else values), lost


def number_of(text: str) -> float | None:
    """Return a text as a number as pyarrow reads it, or None."""
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None
