"""What a column of a table holds, seen block by block."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.sources.table_files import Table
from ptrain.data.sources.table_numbers import number_of, spelling_of
from ptrain.data.sources.table_values import LARGEST, Values, leave_out
from ptrain.errors import DataError

MAX_CATEGORIES = 1000
"""Different texts a column may have."""
MAX_CLASSES = 10_000
_WHOLE = 2.0**53  # beyond, float64 has not every whole number
_SPELLINGS = 5


class IsCodeError(Exception):
    """A column of whole numbers has one with zeros in front: it is to be read as text from its first row on."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


def odd_number(where: str, column: str, text: str, way: str) -> DataError:
    """The error of a text that is a number to people only; ``way`` is what ``spelling_of`` says of it."""
    return DataError(
        f"{where}, column {column}: {text!r} is no number but looks like one written {way}; expected plain numbers "
        f"such as 1234.5: write them so, {leave_out(column)}"
    )


@dataclass(kw_only=True)
class ColumnSummary:
    """What is known of a column, block by block."""

    table: Table
    name: str
    is_target: bool
    as_text: bool
    """Whether its values are names also where they are numbers."""
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
    counts: float | None = None
    """What it counts from, where each value is the next number; NaN where it is not so."""
    first_number: tuple[int, str] | None = None
    first_text: tuple[int, str] | None = None
    values: set[str] = field(default_factory=set)
    many: bool = False
    """More different texts than are kept."""
    spellings: set[str] = field(default_factory=set)
    """How missing values are written, some of them."""

    def __post_init__(self) -> None:
        self.where, self.fix = f"{self.table.path}, column {self.name}", leave_out(self.name)

    def add(self, block: Values) -> NDArray[np.bool_]:
        """Take a block into account, and return which rows have no value."""
        if self.is_target or self.as_text:
            lost = block.texts[1]
            self._add_texts(block)
        else:
            lost = self._add_feature(block)
        self.missing += int(lost.sum())
        if lost.any():
            if self.missing_is == "error":
                block.refuse_missing(int(np.argmax(lost)), self.is_target)
            self._note_spellings(block, lost)
        return lost

    def _add_feature(self, block: Values) -> NDArray[np.bool_]:
        numbers, lost = block.numbers
        if numbers is None or self.texts:
            lost = block.texts[1]
            self._add_texts(block)
            self._need_one_kind()
            return lost
        if block.first_code is not None:
            raise IsCodeError(self.name)
        if not lost.all():
            first = int(np.argmin(lost))
            shown = block.shown(first) if block.is_text else f"{numbers[first]:g}"
            self.first_number = self.first_number or (block.start + first, shown)
            self.numbers += int((~lost).sum())
        self._add_numbers(block, numbers, numbers[~lost])
        self._need_one_kind()
        return lost

    def _add_texts(self, block: Values) -> None:
        found, codes, lost = block.encoded()
        self.values.update(found)
        rows = np.flatnonzero(~lost)
        if len(rows):
            is_number = np.array([number_of(text, self.table.decimal) is not None for text in found])[codes[rows]]
            if self.as_text:
                is_number[:] = False
            for name, chosen in (("first_number", rows[is_number]), ("first_text", rows[~is_number])):
                if len(chosen) and getattr(self, name) is None:
                    row = int(chosen[0])
                    setattr(self, name, (block.start + row, found[codes[row]]))
            self.numbers += int(is_number.sum())
            self.texts += int((~is_number).sum())
        limit = MAX_CLASSES if self.is_target else MAX_CATEGORIES
        if len(self.values) <= limit:
            return
        if self.strict and self.is_target:
            raise DataError(
                f"{self.where}: more than {limit:,} different classes, such as {min(self.values)!r}; expected at most "
                f"{limit:,}: choose another --target"
            )
        self.many, self.values = True, set(sorted(self.values)[:limit])

    def _need_one_kind(self) -> None:
        if self.first_text and self.first_number and self.strict:
            (row, text), (other, number) = self.first_text, self.first_number
            way = spelling_of({text}, self.table.decimal)
            if way is not None:
                raise odd_number(f"{self.table.path}, {self.table.position(row)}", self.name, text, way)
            raise DataError(
                f"{self.table.path}, {self.table.position(row)}, column {self.name}: {text!r} is no number but "
                f"{number!r} in {self.table.position(other)} is; expected all numbers or all text: correct it, or "
                f"{self.fix}"
            )

    def _note_spellings(self, block: Values, lost: NDArray[np.bool_]) -> None:
        if block.is_text and len(self.spellings) < _SPELLINGS:
            self.spellings.update({block.spelling(row) for row in np.flatnonzero(lost)[:1000].tolist()} - {""})

    def _add_numbers(self, block: Values, numbers: NDArray[Any], kept: NDArray[Any]) -> None:
        if self.whole:
            self.whole = bool(((numbers == np.floor(numbers)) & (np.abs(numbers) <= _WHOLE)).all())
        if self.strict:
            block.need_finite(
                f"expected a finite number that float32 can hold (at most {LARGEST:.3g}): correct it, or {self.fix}"
            )
            block.need_digits(self.fix)
        if len(kept):
            self.low, self.high = min(self.low, float(kept.min())), max(self.high, float(kept.max()))
        if self.counts is None and len(numbers):
            self.counts = float(numbers[0]) - block.start
        if len(numbers) and not np.array_equal(numbers - (self.counts or 0.0), block.start + np.arange(len(numbers))):
            self.counts = math.nan

    def described(self, rows: int) -> dict[str, Any]:
        """What the whole column holds, as JSON has it."""
        kind = "text" if self.texts else "number" if self.numbers else "nothing"
        if kind == "nothing" and self.strict:
            raise DataError(
                f"{self.where}: has no values; expected numbers or text: leave it out with --drop {self.name}"
            )
        low, high = (self.low, self.high) if self.low <= self.high else (0.0, 0.0)
        counting = kind == "number" and not self.missing and rows > 1 and self.counts is not None
        return {
            "kind": kind,
            "whole": self.whole and not self.texts,
            "low": low,
            "high": high,
            "missing": self.missing,
            "spellings": sorted(self.spellings),
            "counts": counting and not math.isnan(self.counts or 0.0),
            "many": self.many,
            "values": sorted(self.values) if self.texts or self.values else None,
        }
