"""The values of a block of a column: texts without blanks around them, numbers, and which of them are missing."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.sources.table_files import Table, quoted
from ptrain.data.sources.table_numbers import CODE, PATTERNS, SAFE_DIGITS, loses_digits, number_of
from ptrain.errors import DataError, MissingValueError

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Values:
    """A block of a column, and where it is for messages."""

    table: Table
    column: str
    start: int
    """Number of its first row, from 0."""
    block: Any
    """pyarrow's array."""

    def at(self, row: int) -> str:
        """File, line and column of a row of the block."""
        return f"{self.table.path}, {self.table.position(self.start + row)}, column {self.column}"

    def refuse_missing(self, row: int, is_target: bool) -> None:
        """Raise DataError for a missing value."""
        fix = "--missing drop leaves the row out" if is_target else "--missing mean or --missing drop says what to do"
        spelling = self.spelling(row)
        value = f"no value ({spelling!r} stands for none)" if spelling else "no value"
        fix += "; if it is a value, --missing-values empty says so" if spelling else ", or complete the file"
        raise MissingValueError(f"{self.at(row)}: {value}; expected one in every row: {fix}")

    def spelling(self, row: int) -> str:
        """What stands in the file for a missing value of text; nothing where it is empty."""
        value = self.block[row].as_py()
        return value.strip() if isinstance(value, str) else ""

    @cached_property
    def is_text(self) -> bool:
        """Whether these are texts."""
        import pyarrow

        return bool(pyarrow.types.is_string(self.block.type))

    @cached_property
    def texts(self) -> tuple[Any, NDArray[np.bool_]]:
        """Texts without blanks around them, null where one is missing, and which those are.

        Of a column of numbers: whole ones exact, whatever their size and type, and True and False.
        """
        import pyarrow
        import pyarrow.compute as pc

        texts = pc.utf8_trim_whitespace(self.block if self.is_text else _as_text(self.block))
        lost = pc.or_kleene(pc.is_null(texts), pc.is_in(texts, value_set=pyarrow.array(["", *self.table.missing])))
        return pc.if_else(lost, pyarrow.scalar(None, pyarrow.string()), texts), lost.to_numpy(zero_copy_only=False)

    @cached_property
    def numbers(self) -> tuple[NDArray[Any] | None, NDArray[np.bool_]]:
        """Numbers and bool as float64, 0 where one is missing (null or a spelling of NaN), and which are missing.

        None in place of the numbers where a text is none.
        """
        import pyarrow
        import pyarrow.compute as pc

        if not self.is_text:
            is_float = self.block.type == pyarrow.float64()
            return self._known(self.block if is_float else pc.cast(self.block, pyarrow.float64(), safe=False))
        texts, lost = self.texts
        decimal = self.table.decimal
        if decimal == ".":
            with suppress(pyarrow.ArrowInvalid):  # what Arrow reads is a number by our rules as well, and mostly all is
                return self._known(pc.cast(texts, pyarrow.float64()))
        if pc.any(pc.invert(pc.match_substring_regex(texts, PATTERNS[decimal]))).as_py():
            return None, lost
        plain = pc.utf8_ltrim(texts, "+")
        plain = plain if decimal == "." else pc.replace_substring(plain, decimal, ".")
        return self._known(pc.cast(plain, pyarrow.float64()))

    def _known(self, block: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        values: NDArray[Any] = block.to_numpy(zero_copy_only=False)
        lost = np.isnan(values)
        if self.table.missing_numbers:
            lost |= np.isin(values, self.table.missing_numbers)
        return (np.where(lost, 0.0, values) if lost.any() else values), lost

    @cached_property
    def first_code(self) -> int | None:
        """The first row whose text is a whole number with zeros in front, where there is one."""
        import pyarrow.compute as pc

        if not self.is_text:
            return None
        texts = self.texts[0]
        zeros = pc.filter(texts, pc.starts_with(texts, "0"))  # quicker than the expression, and mostly few
        if not pc.any(pc.match_substring_regex(zeros, CODE)).as_py():
            return None
        return int(pc.index(pc.match_substring_regex(texts, CODE), True).as_py())

    def need_digits(self, fix: str) -> None:
        """Raise DataError for a whole number of so many digits that float64 would give it the value of another one."""
        import pyarrow
        import pyarrow.compute as pc

        wrong = None
        if self.is_text:
            long = pc.greater(pc.utf8_length(self.texts[0]), SAFE_DIGITS)
            rows = np.flatnonzero(pc.fill_null(long, False).to_numpy(zero_copy_only=False)).tolist()
            wrong = next((row for row in rows if loses_digits(self.texts[0][row].as_py())), None)
        elif pyarrow.types.is_int64(self.block.type) or pyarrow.types.is_uint64(self.block.type):
            whole = pc.fill_null(self.block, 0).to_numpy(zero_copy_only=False)
            large = np.flatnonzero(
                (whole > 2**53) | ((whole < -(2**53)) if whole.dtype.kind == "i" else False)
            ).tolist()
            wrong = next((row for row in large if int(float(whole[row])) != int(whole[row])), None)
        if wrong is not None:
            raise DataError(
                f"{self.at(wrong)}: {self.shown(wrong)} has more digits than a number can keep; expected whole numbers "
                f"up to 2^53: {fix}"
            )

    def encoded(self) -> tuple[list[str], NDArray[np.int64], NDArray[np.bool_]]:
        """The different texts, which of them each row has (0 where it has none), and which are missing."""
        import pyarrow.compute as pc

        texts, lost = self.texts
        found = pc.dictionary_encode(texts)
        return found.dictionary.to_pylist(), pc.fill_null(found.indices, 0).to_numpy().astype(np.int64), lost

    def shown(self, row: int) -> Any:
        """A value as Python has it, for messages."""
        return (self.texts[0] if self.is_text else self.block)[row].as_py()

    def first_no_number(self) -> int:
        """The first row whose text is no number."""
        texts = enumerate(self.texts[0].to_pylist())
        return next(row for row, text in texts if text is not None and number_of(text, self.table.decimal) is None)

    def need_finite(self, fix: str) -> None:
        """Raise DataError where a number is infinite or too large for float32."""
        values, lost = self.numbers
        if values is None or values.dtype.kind != "f":
            return
        wrong = ~lost & ~(np.abs(values) <= LARGEST)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(f"{self.at(row)}: {values[row]:g}; {fix}")


def leave_out(column: str) -> str:
    """How a column is left out, or its values are kept as names, for messages."""
    name = quoted(column)
    return f"leave the column out with --drop {name}, or keep its values as names with --categories {name}"


def _as_text(block: Any) -> Any:
    """Numbers as text: whole ones with all their digits and no point, and bool as Python writes it."""
    import pyarrow
    import pyarrow.compute as pc

    if pyarrow.types.is_boolean(block.type):
        return pc.if_else(block, "True", "False")
    if not (pyarrow.types.is_floating(block.type) or pyarrow.types.is_decimal(block.type)):
        return pc.cast(block, pyarrow.string())
    found = pc.dictionary_encode(pc.cast(block, pyarrow.float64()))
    texts = [repr(value).removesuffix(".0") for value in found.dictionary.to_pylist()]
    return pc.take(pyarrow.array(texts, pyarrow.string()), found.indices)
