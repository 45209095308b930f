"""Tables of text, CSV and TSV, by pyarrow. Memory: a block of the file and its columns."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ptrain.data.sources.table_files import BLOCK_BYTES, MISSING, NotTyped, Table, shortened
from ptrain.data.store.cache import need_same, stamp
from ptrain.data.store.reading import need_package, quiet_callbacks, quietly
from ptrain.errors import DataError

_LARGEST_BLOCK = 32 * 2**20
_HEADER_BYTES = 2**20
_SEPARATORS = {"semicolons": ";", "tabs": "\t", "commas": ","}


def open_text(path: Path, kind: str, delimiter: str) -> Table:
    """A file of text with a header in its first line. Raises DataError where there is none."""
    names, skip, longest = _header(path, kind, delimiter)
    # a line has to lie within a block
    block = min(_LARGEST_BLOCK, max(BLOCK_BYTES, 64 * longest))
    file = _TextFile(path=path, kind=kind, delimiter=delimiter, names=names, skip=skip, block=block)
    return Table(path=path, kind=kind, columns=names, read=file.batches, position=file.line_of)


@dataclass(frozen=True, kw_only=True)
class _TextFile:
    path: Path
    kind: str
    delimiter: str
    names: tuple[str, ...]
    skip: int
    """Lines before the first row."""
    block: int
    """Bytes that are parsed at a time."""

    def batches(self, columns: Sequence[str], numbers: Collection[str]) -> Iterator[Any]:
        """Yield record batches of strings, and of float64 for the columns that are ``numbers``."""
        pyarrow, arrow_csv = (need_package(name, str(self.path)) for name in ("pyarrow", "pyarrow.csv"))
        found = stamp(self.path)
        wrong: list[Any] = []  # the row that has too many or too few values
        last: Any = None

        def remember(row: Any) -> str:
            wrong.append(row)
            return "error"

        options = (
            arrow_csv.ReadOptions(
                use_threads=False, block_size=self.block, column_names=self.names, skip_rows=self.skip
            ),
            arrow_csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=remember),
            arrow_csv.ConvertOptions(
                column_types={name: pyarrow.float64() if name in numbers else pyarrow.string() for name in self.names},
                null_values=list(MISSING),
                include_columns=list(columns),
                strings_can_be_null=False,
            ),
        )
        try:
            with self.path.open("rb") as file:
                with quiet_callbacks():
                    batches = arrow_csv.open_csv(file, *options)
                for batch in quietly(batches):
                    last = batch if batch.num_rows else last
                    yield batch
        except pyarrow.ArrowException as error:
            need_same(found)
            if numbers and "conversion error to double" in str(error):
                raise NotTyped from None
            raise self._bad_text(error, wrong) from None
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"{self.path}: cannot be read ({reason}); expected a .{self.kind} file") from None
        need_same(found)
        if last is not None and any(str(column[-1]).endswith("\n") for column in last.columns):
            raise DataError(
                f"{self.path}: ends inside a quoted value; expected a closing quote: the file is truncated, or mend it"
            )

    def line_of(self, row: int) -> str:
        """Say in which line a row starts: a quoted value may hold line breaks, and empty lines are no rows."""
        if row < 0:
            return f"line {self.skip}"
        before, count = self.skip, -1
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file, suppress(csv.Error):
            reader = csv.reader(islice(file, self.skip, None), delimiter=self.delimiter)
            for cells in reader:
                count += bool(cells)
                if count == row:
                    return f"line {before + 1}"
                before = self.skip + reader.line_num
        return f"row {row + 1}"

    def _bad_text(self, error: Exception, wrong: list[Any]) -> DataError:
        """What pyarrow found wrong with the text as a DataError with its line."""
        if wrong:
            row = wrong[0]
            line = self.line_of(row.number - 1 - self.skip) if row.number is not None else "a line"
            return DataError(
                f"{self.path}, {line}: {row.actual_columns} values; expected {row.expected_columns}, one a column of "
                "the header: complete or remove the line"
            )
        text = shortened(error)
        if "UTF8" in text or "UTF-8" in text:
            return _find_bad_byte(self.path)
        if "straddling" in text:
            return DataError(
                f"{self.path}: a line or quoted value of more than {self.block:,} bytes; expected lines of text: "
                "look for a quote that is never closed"
            )
        return DataError(f"{self.path}: {text}; expected a table of text with a header: mend or write it again")


def _header(path: Path, kind: str, delimiter: str) -> tuple[tuple[str, ...], int, int]:
    """The columns' names, the lines up to the first row, and the length of the longest line looked at."""
    found = stamp(path, f"a .{kind} file")
    if found.size == 0:
        raise DataError(f"{path}: is empty; expected a header with the columns' names and a line a sample")
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path}: is UTF-16; expected UTF-8: convert it, such as with iconv -f UTF-16 -t UTF-8")
    lines = start.splitlines(keepends=True)[: -1 if found.size > len(start) else None]
    first = next((number for number, line in enumerate(lines) if line.strip(b"\xef\xbb\xbf \r\n")), None)
    if first is None:
        raise DataError(
            f"{path}: no line of text in the first {len(start):,} bytes; expected a header of columns' names"
        )
    try:
        text = io.StringIO(lines[first].decode("utf-8-sig"), newline="")
        names = tuple(map(str.strip, next(csv.reader(text, delimiter=delimiter, strict=True))))
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
    for word, character in _SEPARATORS.items():
        if len(names) == 1 and character in names[0]:
            expected = "tabs in a .tsv file" if kind == "tsv" else "commas in a .csv file"
            raise DataError(
                f"{path}, line {line}: columns are separated by {word}; expected {expected}: write it again"
            )


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
        f"{path}, line {line}: byte 0x{byte:02x} at position {error.start + 1} is not UTF-8; expected UTF-8: "
        "convert the file, such as with iconv -f LATIN1 -t UTF-8"
    )
