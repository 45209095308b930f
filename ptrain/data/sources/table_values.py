"""The values of a block of a column: texts without blanks around them, numbers, and which of them are missing."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.sources.table_files import MISSING, Table, number_of
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
        raise MissingValueError(f"{self.at(row)}: no value; expected one in every row: {fix}, or complete the file")

    @cached_property
    def is_text(self) -> bool:
        """Whether these are texts, which may be stored by a dictionary."""
        import pyarrow

        kind = self.block.type
        kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
        return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))

    @cached_property
    def texts(self) -> tuple[Any, NDArray[np.bool_]]:
        """Texts without blanks around them, null where one is missing, and which those are."""
        import pyarrow
        import pyarrow.compute as pc

        texts = pc.utf8_trim_whitespace(pc.cast(self.block, pyarrow.string()))
        lost = pc.or_kleene(pc.is_null(texts), pc.is_in(texts, value_set=pyarrow.array(MISSING)))
        return pc.if_else(lost, pyarrow.scalar(None, pyarrow.string()), texts), lost.to_numpy(zero_copy_only=False)

    @cached_property
    def numbers(self) -> tuple[NDArray[Any] | None, NDArray[np.bool_]]:
        """Numbers and bool as float64, 0 where one is missing (null or a spelling of NaN), and which are missing.

        None in place of the numbers where a text is none.
        """
        import pyarrow
        import pyarrow.compute as pc

        if self.is_text:
            texts, lost = self.texts
            try:
                return _without_nan(pc.cast(texts, pyarrow.float64()))
            except pyarrow.ArrowInvalid:
                return None, lost
        is_float = self.block.type == pyarrow.float64()
        return _without_nan(self.block if is_float else pc.cast(self.block, pyarrow.float64(), safe=False))

    def positions(self, known: list[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Where each text is among the known ones, -1 where it is none of them; which are missing; which unknown."""
        import pyarrow
        import pyarrow.compute as pc

        texts, lost = self.texts
        found = pc.fill_null(pc.index_in(texts, value_set=pyarrow.array(known)), -1).to_numpy()
        return found, lost, (found < 0) & ~lost

    def shown(self, row: int) -> Any:
        """A value as Python has it, for messages."""
        return (self.texts[0] if self.is_text else self.block)[row].as_py()

    def first_no_number(self) -> int:
        """The first row whose text is no number."""
        texts = enumerate(self.texts[0].to_pylist())
        return next(row for row, text in texts if text is not None and number_of(text) is None)

    def need_finite(self, fix: str) -> None:
        """Raise DataError where a number is infinite or too large for float32."""
        values, lost = self.numbers
        if values is None or values.dtype.kind != "f":
            return
        wrong = ~lost & ~(np.abs(values) <= LARGEST)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(f"{self.at(row)}: {values[row]:g}; {fix}")


def _without_nan(block: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    values: NDArray[Any] = block.to_numpy(zero_copy_only=False)
    lost = np.isnan(values)
    return (np.where(lost, 0.0, values) if lost.any() else values), lost
