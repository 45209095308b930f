"""A table as batches of chosen columns, and Parquet files by pyarrow. Memory: a batch of 4,096 rows, or a page."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ptrain.data.store.cache import Stamp, need_same, stamp
from ptrain.data.store.reading import need_package, one_line
from ptrain.errors import DataError

MISSING = ("", "NA", "N/A", "#N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?")
"""Spellings of a missing value in a file of text."""
BLOCK_BYTES = 2**20
_GUESS_ROWS = 100
_BATCH_ROWS = 4096
_FOOTER_BYTES = 256 * 2**20
_SIMPLE = ("int", "uint", "float", "double", "halffloat", "bool", "decimal", "string", "large_string", "dictionary")


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A file of named columns, read as record batches."""

    path: Path
    kind: str
    """csv, tsv or parquet."""
    columns: tuple[str, ...]
    read: Callable[[Sequence[str], Collection[str]], Iterator[Any]]
    """Yields batches of these columns, in order. Of text the second ones are parsed, which may raise NotTyped."""
    position: Callable[[int], str]
    """Says where a row is, counted from 0, such as ``line 18``."""
    pieces: tuple[tuple[int, Callable[[Sequence[str]], Iterator[Any]]], ...] | None = None
    """Parts that can be read on their own, with their rows."""

    def batches(self, columns: Sequence[str], numbers: Collection[str]) -> Iterator[Any]:
        """Yield record batches of these columns, in order; those that are ``numbers`` are parsed while they are read.

        From a value on that is no number all columns come as text.
        """
        done = 0
        try:
            for batch in self.read(columns, numbers):
                yield batch
                done += batch.num_rows
        except NotTyped:
            for batch in self.read(columns, ()):
                skip = min(done, batch.num_rows)
                done -= skip
                if skip < batch.num_rows:
                    yield batch.slice(skip)

    def guessed(self, columns: Sequence[str]) -> list[str]:
        """The columns of a file of text whose first values are numbers or missing."""
        first = None if self.kind == "parquet" else next(self.read(columns, ()), None)
        if first is None:
            return []
        seen = {name: map(str.strip, first.column(name).slice(0, _GUESS_ROWS).to_pylist()) for name in columns}
        return [name for name, texts in seen.items() if all(map(_is_number, texts))]


def _is_number(text: str) -> bool:
    number = number_of(text)
    return text in MISSING or (number is not None and math.isfinite(number))


class NotTyped(Exception):
    """A value in a column of numbers is no number."""


def number_of(text: str) -> float | None:
    """A text as a number as pyarrow reads it, or None."""
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None


def open_parquet_file(path: Path) -> Table:
    """A Parquet file; each of its row groups is a piece. Raises DataError for columns of nested types."""
    found = stamp(path, "a Parquet file")
    with _parquet(path, found) as file:
        schema = file.schema_arrow
        types = {field.name: str(field.type) for field in schema}
        if len(types) < len(schema.names):
            raise DataError(f"{path}: two columns of the same name; expected different names: rename one")
        groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]

    def read(columns: Sequence[str], group: list[int] | None = None) -> Iterator[Any]:
        for name in columns:
            kind = types[name]
            if not kind.startswith(_SIMPLE) or "<" in kind.removeprefix("dictionary<values=string"):
                raise DataError(
                    f"{path}, column {name}: is of type {kind}; expected numbers, bool or text: "
                    f"turn it into such columns, or leave it out with --drop {name}"
                )
        with _parquet(path, found) as file:
            for batch in file.iter_batches(_BATCH_ROWS, group, list(columns), use_threads=False):
                batch.validate(full=True)  # text of a damaged file need not be UTF-8
                yield batch

    return Table(
        path=path,
        kind="parquet",
        columns=tuple(schema.names),
        read=lambda columns, _: read(columns),
        position=lambda row: f"row {row + 1}",
        pieces=tuple((rows, partial(read, group=[number])) for number, rows in enumerate(groups)),
    )


@contextmanager
def _parquet(path: Path, found: Stamp) -> Iterator[Any]:
    """Open a Parquet file; what pyarrow raises about it becomes a DataError, and so does a change while it is open."""
    pyarrow, parquet = (need_package(name, str(path)) for name in ("pyarrow", "pyarrow.parquet"))
    try:
        with path.open("rb") as stream:
            yield parquet.ParquetFile(
                pyarrow.PythonFile(stream),
                pre_buffer=False,  # it would read a whole row group at once
                buffer_size=BLOCK_BYTES,
                thrift_string_size_limit=_FOOTER_BYTES,
                thrift_container_size_limit=_FOOTER_BYTES,
            )
        need_same(found)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        need_same(found)
        raise DataError(
            f"{path}: {shortened(error)}; expected a Parquet file: it is damaged or truncated, fetch or write it again"
        ) from None


def shortened(error: BaseException) -> str:
    """What pyarrow says, for a message of one line."""
    return one_line(error)[:160] or type(error).__name__
