"""CSV, TSV and Parquet files by pyarrow, as batches of chosen columns. Memory: a block of the file and its columns."""

import csv
import io
import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptrain.data.store.cache import Stamp, need_same, stamp
from ptrain.data.store.reading import need_package, quiet_callbacks, quietly
from ptrain.errors import DataError

MISSING = ("", "NA", "N/A", "#N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?")
"""Spellings of a missing value in a file of text."""
_BLOCK_BYTES = 2**20
_LARGEST_BLOCK = 32 * 2**20
_HEADER_BYTES = 2**20
_LOOK = 100
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
    place: Callable[[int], str]
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
        """Return the columns of a file of text whose first values are numbers or missing."""
        first = None if self.kind == "parquet" else next(self.read(columns, ()), None)
        if first is None:
            return []
        seen = {name: map(str.strip, first.column(name).slice(0, _LOOK).to_pylist()) for name in columns}
        return [name for name, texts in seen.items() if all(text in MISSING or _is_number(text) for text in texts)]


class NotTyped(Exception):
    """A value in a column of numbers is no number."""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def open_text(path: Path, kind: str, delimiter: str) -> Table:
    """Return a file of text with a header in its first line. Raises DataError where there is none."""
    names, skip, longest = _header(path, kind, delimiter)

    def read(columns: Sequence[str], numbers: Collection[str]) -> Iterator[Any]:
        return _text_batches(path, kind, delimiter, names, skip, longest, columns, numbers)

    return Table(path=path, kind=kind, columns=names, read=read, place=lambda row: _line_of(path, delimiter, skip, row))


def open_parquet_file(path: Path) -> Table:
    """Return a Parquet file; each of its row groups is a piece. Raises DataError for columns of nested types."""
    found = stamp(path, "a Parquet file")
    with _parquet(path, found) as file:
        schema = file.schema_arrow
        types = {field.name: str(field.type) for field in schema}
        if len(types) < len(schema.names):
            raise DataError(f"{path}: two columns of the same name; expected different names: rename one")
        groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]

    def read(columns: Sequence[str], group: list[int] | None = None) -> Iterator[Any]:
        for name in columns:
            _need_simple(path, name, types[name])
        with _parquet(path, found) as file:
            for batch in file.iter_batches(
                batch_size=_BATCH_ROWS, columns=list(columns), row_groups=group, use_threads=False
            ):
                batch.validate(full=True)  # text of a damaged file need not be UTF-8
                yield batch

    def piece(number: int) -> Callable[[Sequence[str]], Iterator[Any]]:
        return lambda columns: read(columns, [number])

    return Table(
        path=path,
        kind="parquet",
        columns=tuple(schema.names),
        read=lambda columns, _: read(columns),
        place=lambda row: f"row {row + 1}",
        pieces=tuple((rows, piece(number)) for number, rows in enumerate(groups)),
    )


def _need_simple(path: Path, name: str, kind: str) -> None:
    if not kind.startswith(_SIMPLE) or "<" in kind.removeprefix("dictionary<values=string"):
        raise DataError(
            f"{path}, column {name}: is of type {kind}; expected numbers, bool or text: "
            f"turn it into such columns, or leave it out with --drop {name}"
        )


@contextmanager
def _parquet(path: Path, found: Stamp) -> Iterator[Any]:
    """Open a Parquet file; what pyarrow raises about it becomes a DataError, and so does a change while it is open."""
    pyarrow = need_package("pyarrow", str(path))
    parquet = need_package("pyarrow.parquet", str(path))
    try:
        with path.open("rb") as stream:
            file = parquet.ParquetFile(
                pyarrow.PythonFile(stream),
                pre_buffer=False,
                buffer_size=_BLOCK_BYTES,
                thrift_string_size_limit=_FOOTER_BYTES,
                thrift_container_size_limit=_FOOTER_BYTES,
            )
            yield file
        need_same(found)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        need_same(found)
        raise DataError(
            f"{path}: {_shortened(error)}; expected a Parquet file: it is damaged or truncated, fetch or write it again"
        ) from None


def _header(path: Path, kind: str, delimiter: str) -> tuple[tuple[str, ...], int, int]:
    """Return the columns' names, the lines up to the first row, and the length of the longest line looked at."""
    found = stamp(path, f"a .{kind} file")
    if found.size == 0:
        raise DataError(f"{path}: is empty; expected a header with the columns' names and a line a sample")
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path}: is UTF-16; expected UTF-8: convert it, such as with iconv -f UTF-16 -t UTF-8")
    lines = start.splitlines(keepends=True)
    if found.size > len(start):
        lines = lines[:-1]
    first = next((number for number, line in enumerate(lines) if line.strip(b"\xef\xbb\xbf \r\n")), None)
    if first is None:
        raise DataError(
            f"{path}: no line of text in the first {len(start):,} bytes; expected a header of columns' names"
        )
    try:
        text = lines[first].decode("utf-8-sig")
        names = tuple(
            name.strip() for name in next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
        )
    except UnicodeDecodeError as error:
        raise _not_utf8(path, first + 1, error) from None
    except csv.Error as error:
        raise DataError(f"{path}, line {first + 1}: {error}; expected a header of columns' names in one line") from None
    _check_names(path, kind, names, first + 1)
    return names, first + 1, max(map(len, lines))


def _check_names(path: Path, kind: str, names: tuple[str, ...], line: int) -> None:
    for number, name in enumerate(names, 1):
        if not name:
            raise DataError(
                f"{path}, line {line}: column {number} has no name; expected one for each column: "
                "name it, or write the file without an index (index=False in pandas)"
            )
        if name in names[: number - 1]:
            raise DataError(f"{path}, line {line}: two columns are named {name}; expected different names: rename one")
    if all(re.fullmatch(r"[-+.\deE]+|nan|inf", name) for name in names):
        raise DataError(f"{path}, line {line}: holds numbers; expected the columns' names: add a line of them on top")
    others = {"semicolons": ";", "tabs": "\t", "commas": ","}
    for word, character in others.items():
        if len(names) == 1 and character in names[0]:
            expected = "tabs in a .tsv file" if kind == "tsv" else "commas in a .csv file"
            raise DataError(
                f"{path}, line {line}: columns are separated by {word}; expected {expected}: write it again"
            )


def _text_batches(
    path: Path,
    kind: str,
    delimiter: str,
    names: tuple[str, ...],
    skip: int,
    longest: int,
    columns: Sequence[str],
    numbers: Collection[str],
) -> Iterator[Any]:
    """Yield record batches of strings, and of float64 for the columns that are ``numbers``."""
    pyarrow = need_package("pyarrow", str(path))
    arrow_csv = need_package("pyarrow.csv", str(path))
    found = stamp(path)
    wrong: list[Any] = []

    def remember(row: Any) -> str:
        wrong.append(row)
        return "error"

    block = min(_LARGEST_BLOCK, max(_BLOCK_BYTES, 64 * longest))
    last: Any = None
    try:
        with path.open("rb") as file:
            with quiet_callbacks():
                reader = arrow_csv.open_csv(
                    file,
                    read_options=arrow_csv.ReadOptions(
                        use_threads=False, block_size=block, column_names=names, skip_rows=skip
                    ),
                    parse_options=arrow_csv.ParseOptions(
                        delimiter=delimiter, newlines_in_values=True, invalid_row_handler=remember
                    ),
                    convert_options=arrow_csv.ConvertOptions(
                        column_types={
                            name: pyarrow.float64() if name in numbers else pyarrow.string() for name in names
                        },
                        null_values=list(MISSING),
                        include_columns=list(columns),
                        strings_can_be_null=False,
                    ),
                )
            for batch in quietly(reader):
                last = batch if batch.num_rows else last
                yield batch
    except pyarrow.ArrowException as error:
        need_same(found)
        if numbers and "conversion error to double" in str(error):
            raise NotTyped from None
        raise _bad_text(path, delimiter, skip, block, error, wrong) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); expected a .{kind} file") from None
    need_same(found)
    if last is not None and any(str(column[-1]).endswith("\n") for column in last.columns):
        raise DataError(
            f"{path}: ends inside a quoted value; expected a closing quote: the file is truncated, or mend it"
        )


def _bad_text(path: Path, delimiter: str, skip: int, block: int, error: Exception, wrong: list[Any]) -> DataError:
    """Return what pyarrow found wrong with the text as a DataError with its line."""
    if wrong:
        row = wrong[0]
        where = _line_of(path, delimiter, skip, row.number - 1 - skip) if row.number is not None else "a line"
        return DataError(
            f"{path}, {where}: {row.actual_columns} values; expected {row.expected_columns}, one a column of the "
            "header: complete or remove the line"
        )
    text = _shortened(error)
    if "UTF8" in text or "UTF-8" in text:
        return _find_bad_byte(path)
    if "straddling" in text:
        return DataError(
            f"{path}: a line or quoted value of more than {block:,} bytes; expected lines of text: "
            "look for a quote that is never closed"
        )
    return DataError(f"{path}: {text}; expected a table of text with a header: mend or write it again")


def _find_bad_byte(path: Path) -> DataError:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return _not_utf8(path, number, error)
    return DataError(f"{path}: is not UTF-8; expected UTF-8: convert it with iconv")


def _not_utf8(path: Path, line: int, error: UnicodeDecodeError) -> DataError:
    byte = error.object[error.start]
    return DataError(
        f"{path}, line {line}: byte 0x{byte:02x} at place {error.start + 1} is not UTF-8; expected UTF-8: "
        "convert the file, such as with iconv -f LATIN1 -t UTF-8"
    )


def _line_of(path: Path, delimiter: str, skip: int, row: int) -> str:
    """Say in which line a row starts: a quoted value may hold line breaks, and empty lines are no rows."""
    if row < 0:
        return f"line {skip}"
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for _ in range(skip):
            file.readline()
        reader = csv.reader(file, delimiter=delimiter)
        before, count = 0, -1
        try:
            for cells in reader:
                count += bool(cells)
                if count == row:
                    return f"line {skip + before + 1}"
                before = reader.line_num
        except csv.Error:
            pass
    return f"row {row + 1}"


def _shortened(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
