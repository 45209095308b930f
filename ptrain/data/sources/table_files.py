"""A table as batches of chosen columns, and Parquet files by pyarrow. Memory: a batch of 4,096 rows, or a page."""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ptrain.data.sources.table_numbers import is_code, number_of, whole_of
from ptrain.data.store.cache import Stamp, need_same, stamp
from ptrain.data.store.reading import need_package, one_line
from ptrain.errors import DataError

MISSING = ("", "NA", "N/A", "#N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?")
"""Spellings of a missing value, where --missing-values names no others."""
BLOCK_BYTES = 2**20
_GUESS_ROWS = 100
_BATCH_ROWS = 4096
_FOOTER_BYTES = 256 * 2**20
_NUMBERS = ("int", "uint", "float", "double", "halffloat", "bool", "decimal", "null")
_TEXTS = ("string", "large_string", "string_view")
_SIMPLE = (*_NUMBERS, *_TEXTS)


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
    index: Mapping[str, str] = field(default_factory=dict)
    """Columns that are no features by themselves, and why."""
    notes: tuple[str, ...] = ()
    """What was guessed about the file."""
    decimal: str = "."
    """The decimal point of numbers in text."""
    missing: tuple[str, ...] = MISSING
    """Spellings of a missing value."""
    may_hold_codes: Callable[[], bool] = lambda: False
    """Reads a file of text through, and says whether a whole number in it may lose something as a number."""

    @cached_property
    def missing_numbers(self) -> list[float]:
        """Numbers that stand for a missing value, such as -999."""
        numbers = (number_of(text, self.decimal) for text in self.missing)
        return [number for number in numbers if number is not None and math.isfinite(number)]

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
        """The columns of a file of text that hold numbers, by their first values.

        Not those of whole numbers where some in the file may be codes, such as 0101, of which nothing may be lost.
        """
        first = None if self.kind == "parquet" else next(self.read(columns, ()), None)
        if first is None:
            return []
        seen = {name: set(map(str.strip, first.column(name).slice(0, _GUESS_ROWS).to_pylist())) for name in columns}
        careful = self.may_hold_codes()
        return [name for name, texts in seen.items() if self._are_numbers(texts.difference(self.missing), careful)]

    def _are_numbers(self, texts: set[str], careful: bool) -> bool:
        if any(number_of(text, self.decimal) is None for text in texts):
            return False
        return not careful or any(whole_of(text, self.decimal) is None and not is_code(text) for text in texts)


class NotTyped(Exception):
    """A value in a column of numbers is no number."""


def open_parquet_file(path: Path, missing: tuple[str, ...] = MISSING) -> Table:
    """A Parquet file; each of its row groups is a piece. Columns of nested types are refused where they are read."""
    found = stamp(path, "a Parquet file")
    with _parquet(path, found) as file:
        schema = file.schema_arrow
        types = {field.name: str(field.type) for field in schema}
        if len(types) < len(schema.names):
            raise DataError(f"{path}: two columns of the same name; expected different names: rename one")
        groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        index = _index_of_pandas(schema.metadata or {}, schema.names)

    def read(columns: Sequence[str], group: list[int] | None = None) -> Iterator[Any]:
        for name in columns:
            kind = types[name]
            if not _plain(kind).startswith(_SIMPLE):
                raise DataError(
                    f"{path}, column {name}: is of type {kind}; expected numbers, bool or text: "
                    f"turn it into such columns, or leave it out with --drop {quoted(name)}"
                )
        with _parquet(path, found) as file:
            for batch in file.iter_batches(_BATCH_ROWS, group, list(columns), use_threads=False):
                batch.validate(full=True)  # text of a damaged file need not be UTF-8
                yield _decoded(batch.select(list(columns)))

    return Table(
        path=path,
        kind="parquet",
        columns=tuple(schema.names),
        read=lambda columns, _: read(columns),
        position=lambda row: f"row {row + 1}",
        pieces=tuple((rows, partial(read, group=[number])) for number, rows in enumerate(groups)),
        index=index,
        missing=missing,
    )


def _plain(kind: str) -> str:
    """The type of the values of a column, also where they are stored by a dictionary."""
    return kind.removeprefix("dictionary<values=") if kind.startswith("dictionary<values=") else kind


def _decoded(batch: Any) -> Any:
    """The batch with columns that are stored by a dictionary, or as views, as plain ones."""
    import pyarrow
    import pyarrow.compute as pc

    def plain(column: Any) -> Any:
        if pyarrow.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        is_text = str(column.type) in _TEXTS
        return pc.cast(column, pyarrow.string()) if is_text else column

    return pyarrow.RecordBatch.from_arrays([plain(column) for column in batch.columns], batch.schema.names)


def _index_of_pandas(metadata: Mapping[bytes, bytes], names: Sequence[str]) -> dict[str, str]:
    """The columns that were the index of a DataFrame, by what pandas wrote about them and by their names."""
    found = {name: "is the index of a DataFrame" for name in names if name.startswith("__index_level_")}
    try:
        columns = json.loads(metadata.get(b"pandas", b"{}"))["index_columns"]
    except (ValueError, KeyError, TypeError):
        columns = []
    named = [name for name in columns if isinstance(name, str) and name in names] if isinstance(columns, list) else []
    return found | dict.fromkeys(named, "is the index of a DataFrame")


def quoted(name: str) -> str:
    """A column's name as --drop takes it, in a shell."""
    if "," in name or '"' in name:
        return "'\"" + name.replace('"', '""') + "\"'"
    return f"'{name}'" if set(name) & set(" ()&;|<>$#*?!") else name


@contextmanager
def _parquet(path: Path, found: Stamp) -> Iterator[Any]:
    """Open a Parquet file; what pyarrow raises about it becomes a DataError, and so does a change while it is open."""
    pyarrow, parquet = (need_package(name, str(path), None) for name in ("pyarrow", "pyarrow.parquet"))
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
