"""Tables of text, CSV and TSV, by pyarrow. Memory: a block of the file and its columns."""

import csv
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ptrain.data.sources.table_bytes import may_hold_codes, opened, text_of
from ptrain.data.sources.table_dialect import Dialect, dialect_of, not_utf8
from ptrain.data.sources.table_files import BLOCK_BYTES, NotTyped, Table, shortened
from ptrain.data.store.cache import need_same, stamp
from ptrain.data.store.reading import decoding, need_package, quiet_callbacks, quietly
from ptrain.errors import DataError

_LARGEST_BLOCK = 32 * 2**20


def open_text(path: Path, kind: str, missing: tuple[str, ...], known: Collection[str] = ()) -> Table:
    """A file of text with a heading, which has the ``known`` names. Raises DataError where there is none."""
    dialect = dialect_of(path, kind, known)
    file = _TextFile(path=path, kind=kind, dialect=dialect, missing=missing)
    return Table(
        path=path,
        kind=kind,
        columns=dialect.names,
        read=file.batches,
        position=file.line_of,
        index=dialect.index,
        notes=dialect.notes,
        decimal=dialect.decimal,
        missing=missing,
        may_hold_codes=file.may_hold_codes,
    )


@dataclass(frozen=True, kw_only=True)
class _TextFile:
    path: Path
    kind: str
    dialect: Dialect
    missing: tuple[str, ...]

    @property
    def block(self) -> int:
        """Bytes that are parsed at a time: a line has to lie within them."""
        return min(_LARGEST_BLOCK, max(BLOCK_BYTES, 64 * self.dialect.longest))

    def batches(self, columns: Sequence[str], numbers: Collection[str]) -> Iterator[Any]:
        """Yield record batches of strings, and of float64 for the columns that are ``numbers``."""
        pyarrow, arrow_csv = (need_package(name, str(self.path), None) for name in ("pyarrow", "pyarrow.csv"))
        found = stamp(self.path)
        wrong: list[Any] = []  # the row that has too many or too few values
        last: Any = None

        def remember(row: Any) -> str:
            wrong.append(row)
            return "error"

        dialect, names = self.dialect, self.dialect.names
        options = (
            arrow_csv.ReadOptions(
                use_threads=False,
                block_size=self.block,
                column_names=names,
                skip_rows=dialect.skip,
                encoding="utf8" if dialect.encoding == "utf-8-sig" else dialect.encoding,
            ),
            arrow_csv.ParseOptions(
                delimiter=dialect.delimiter,
                newlines_in_values=True,
                invalid_row_handler=remember,
                ignore_empty_lines=len(names) > 1,  # in a single column an empty line is a row without a value
            ),
            arrow_csv.ConvertOptions(
                column_types={name: pyarrow.float64() if name in numbers else pyarrow.string() for name in names},
                null_values=list(self.missing),
                include_columns=list(columns),
                strings_can_be_null=False,
                decimal_point=dialect.decimal,
            ),
        )
        try:
            with opened(self.path, dialect.packing) as file:
                with quiet_callbacks():
                    batches = arrow_csv.open_csv(file, *options)
                for batch in quietly(batches):
                    last = batch if batch.num_rows else last
                    yield batch
        except UnicodeError:
            raise DataError(f"{self.path}: is no proper UTF-16; expected UTF-8: write it again") from None
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

    def may_hold_codes(self) -> bool:
        """Whether whole numbers may lose something as numbers; of UTF-16 that is not looked for."""
        with decoding(str(self.path), f"a .{self.kind} file"), opened(self.path, self.dialect.packing) as file:
            return self.dialect.encoding == "utf-16" or may_hold_codes(file, self.dialect.delimiter)

    def line_of(self, row: int) -> str:
        """Say in which line a row starts: a quoted value may hold line breaks, and empty lines are no rows."""
        skip, single = self.dialect.skip, len(self.dialect.names) == 1
        if row < 0:
            return f"line {skip}"
        before, count = skip, -1
        with text_of(self.path, self.dialect.packing, self.dialect.encoding) as file, suppress(csv.Error):
            reader = csv.reader(islice(file, skip, None), delimiter=self.dialect.delimiter)
            for cells in reader:
                count += bool(cells) or single
                if count == row:
                    return f"line {before + 1}"
                before = skip + reader.line_num
        return f"row {row + 1}"

    def _bad_text(self, error: Exception, wrong: list[Any]) -> DataError:
        """What pyarrow found wrong with the text as a DataError with its line."""
        if wrong:
            row = wrong[0]
            place = None if row.number is None else row.number - 1 - self.dialect.skip
            more = row.actual_columns == row.expected_columns + 1 and place == 0
            return DataError(
                f"{self.path}, {'a line' if place is None else self.line_of(place)}: {row.actual_columns} values; "
                f"expected {row.expected_columns}, one a column of the heading: complete or remove the line"
                + (", or give the first column, of row names, a name" if more else "")
            )
        text = shortened(error)
        if "UTF8" in text or "UTF-8" in text:
            return self._bad_byte()
        if "straddling" in text:
            return DataError(
                f"{self.path}: a line or quoted value of more than {self.block:,} bytes; expected lines of text: "
                "look for a quote that is never closed"
            )
        return DataError(f"{self.path}: {text}; expected a table of text with a heading: mend or write it again")

    def _bad_byte(self) -> DataError:
        with decoding(str(self.path), f"a .{self.kind} file"), opened(self.path, self.dialect.packing) as file:
            for number, line in enumerate(file, 1):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    return not_utf8(self.path, number, line[error.start], error.start + 1)
        return DataError(f"{self.path}: is not UTF-8; expected UTF-8: convert it with iconv")
