"""Columns of a table: which are used, and what each holds over the whole file."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.config import DataConfig
from ptrain.data.sources.table import hint
from ptrain.data.sources.table_files import Table, number_of
from ptrain.data.sources.table_values import LARGEST, Values
from ptrain.errors import DataError

MAX_CATEGORIES = 1000
"""Different texts a column may have."""
MAX_CLASSES = 10_000
_WHOLE = 2.0**53  # beyond, float64 has not every whole number


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The columns that are used."""

    features: tuple[str, ...]
    target: str | None
    group: str | None


def choose(table: Table, config: DataConfig) -> Choice:
    """The columns that --target, --features, --drop and --group ask for."""
    target = config.target
    if target is None:
        raise DataError(
            f"{table.path}: a table without --target; expected --target NAME, the column of the classes, one of "
            f"{_listed(table.columns)}"
        )
    _check_columns(table, "--target", [target])
    _check_columns(table, "--group", [] if config.group is None else [config.group])
    asked = {"--features": config.features, "--drop": config.drop}
    lists = {flag: [] if text is None else _names(flag, text) for flag, text in asked.items()}
    for flag, names in lists.items():
        _check_columns(table, flag, names)
    for flag, expected in (("--features", "the columns to learn from"), ("--drop", "other columns")):
        if target in lists[flag]:
            raise DataError(f"{flag} {asked[flag]}: holds {target}, the --target; expected {expected}")
    if config.split == "groups" and config.group is None:
        raise DataError(f"--split groups without --group: expected --group NAME, one of {_listed(table.columns)}")
    out = {target, config.group, *lists["--drop"]}
    features = tuple(lists["--features"]) or tuple(name for name in table.columns if name not in out)
    if not features:
        raise DataError(f"{table.path}: no columns left to learn from; expected at least one besides {target}")
    if len(set(features)) < len(features):
        raise DataError(f"--features {config.features}: names a column twice; expected each once")
    return Choice(features=features, target=target, group=config.group)


def _check_columns(table: Table, flag: str, names: Sequence[str]) -> None:
    for name in names:
        if name not in table.columns:
            near = hint(name, table.columns[:1000])
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
    """What the used columns hold over the whole file: kinds, ranges, categories, the number of rows.

    Raises DataError, naming the line and the column, for mixed kinds, infinities, numbers too large for float32, too
    many different texts and, where they are an error, missing values. Without ``strict`` these are only described.
    """
    used = [name for name in (*choice.features, choice.target) if name is not None]
    columns = [
        ColumnSummary(table=table, name=name, is_target=name == choice.target, missing_is=missing, strict=strict)
        for name in used
    ]
    read = list(dict.fromkeys([*used, choice.group] if choice.group is not None else used))
    rows = 0
    guess = [name for name in table.guessed(read) if name not in (choice.target, choice.group)]
    for batch in table.batches(read, guess):
        for column in columns:
            column.add(Values(table, column.name, rows, batch.column(column.name)))
        rows += batch.num_rows
    if rows == 0:
        raise DataError(f"{table.path}: has a header but no rows; expected a row a sample")
    return {"rows": rows, "columns": {column.name: column.described() for column in columns}}


@dataclass(kw_only=True)
class ColumnSummary:
    """What is known of a column, block by block."""

    table: Table
    name: str
    is_target: bool
    missing_is: str
    """What --missing says."""
    strict: bool
    """Whether bad values are refused."""
    numbers: int = 0
    texts: int = 0
    missing: int = 0
    whole: bool = True
    low: float = math.inf
    high: float = -math.inf
    first_number: tuple[int, str] | None = None
    first_text: tuple[int, str] | None = None
    values: set[str] = field(default_factory=set)
    many: bool = False
    """More different texts than are kept."""

    def __post_init__(self) -> None:
        self.where, self.fix = f"{self.table.path}, column {self.name}", f"leave the column out with --drop {self.name}"

    def add(self, block: Values) -> None:
        """Take a block into account."""
        numbers, lost = block.numbers
        if block.is_text and (numbers is None or self.is_target or self.texts):
            self._add_texts(block)
        elif numbers is not None and not lost.all():
            first = int(np.argmin(lost))
            shown = block.shown(first) if block.is_text else f"{numbers[first]:g}"
            self.first_number = self.first_number or (block.start + first, shown)
            self.numbers += int((~lost).sum())
        if numbers is not None and self.is_target and not block.is_text:
            self.values.update(str(value) for value in np.unique(numbers[~lost]).tolist())
            self._need_few()
        if self.first_text and self.first_number and self.strict and not self.is_target:
            (row, text), (other, number) = self.first_text, self.first_number
            raise DataError(
                f"{self.table.path}, {self.table.position(row)}, column {self.name}: {text!r} is no number but "
                f"{number!r} in {self.table.position(other)} is; expected all numbers or all text: correct it, or "
                f"{self.fix}"
            )
        self.missing += int(lost.sum())
        if numbers is not None:
            self._add_numbers(block, numbers, numbers[~lost])
        if lost.any() and self.missing_is == "error":
            block.refuse_missing(int(np.argmax(lost)), self.is_target)

    def _add_texts(self, block: Values) -> None:
        import pyarrow.compute as pc

        texts, lost = block.texts
        found = [value for value in pc.unique(texts).to_pylist() if value is not None]
        self.values.update(found)
        wrong = next((value for value in found if number_of(value) is None), None)
        right = next((value for value in found if number_of(value) is not None), None)
        count = len(lost) - int(lost.sum())
        if wrong is not None:
            self.first_text = self.first_text or (block.start + pc.index(texts, wrong).as_py(), wrong)
            self.texts += count
        if right is not None:
            self.first_number = self.first_number or (block.start + pc.index(texts, right).as_py(), right)
            self.numbers += count
        self._need_few()

    def _need_few(self) -> None:
        """Keep as many different texts as may be; more are refused where that is strict."""
        limit, word = (MAX_CLASSES, "classes") if self.is_target else (MAX_CATEGORIES, "texts")
        if len(self.values) <= limit:
            return
        if self.strict:
            fix = "choose another --target" if self.is_target else self.fix
            raise DataError(
                f"{self.where}: more than {limit:,} different {word}, such as "
                f"{min(self.values)!r}; expected at most {limit:,}: {fix}"
            )
        self.many, self.values = True, set(sorted(self.values)[:limit])

    def _add_numbers(self, block: Values, numbers: NDArray[Any], kept: NDArray[Any]) -> None:
        if self.whole:
            self.whole = bool(((numbers == np.floor(numbers)) & (np.abs(numbers) <= _WHOLE)).all())
        if self.strict:
            block.need_finite(
                f"expected a finite number that float32 can hold (at most {LARGEST:.3g}): correct it, or {self.fix}"
            )
        if len(kept):
            self.low, self.high = min(self.low, float(kept.min())), max(self.high, float(kept.max()))

    def described(self) -> dict[str, Any]:
        """What the whole column holds, as JSON has it."""
        kind = "text" if self.texts else "number" if self.numbers else "nothing"
        if kind == "nothing" and self.strict:
            raise DataError(
                f"{self.where}: has no values; expected numbers or text: leave it out with --drop {self.name}"
            )
        low, high = (self.low, self.high) if self.low <= self.high else (0.0, 0.0)
        return {
            "kind": kind,
            "whole": self.whole and not self.texts,
            "low": low,
            "high": high,
            "missing": self.missing,
            "many": self.many,
            "values": sorted(self.values) if self.texts or self.values else None,
        }
