"""Text with a sample a line: its cells, whatever separates them."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptrain.errors import DataError

SEPARATORS = "\t;,|"
"""By preference: the first that cuts every line into as many cells."""
_GZIP = b"\x1f\x8b"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Lines:
    """The cells of a file, without empty lines; every line has as many as the first."""

    rows: list[list[str]]
    numbers: list[int]
    """The number of each line in the file, from 1."""
    gaps: tuple[int, ...]
    """Before which rows the file has empty lines; those at its end do not count."""


def is_number(cell: str) -> bool:
    """Whether a cell is a finite number in ASCII digits, without separators: nan, inf and 1_000 are not."""
    return _NUMBER.fullmatch(cell) is not None


def listing(names: Sequence[str], most: int = 8) -> str:
    """The first of some names, for a message."""
    return f"{', '.join(names[:most])}{', …' if len(names) > most else ''}"


def read_lines(path: Path, flag: str) -> Lines:
    """Read a text file: UTF-8 or UTF-16 by its mark, perhaps gzipped. ``flag`` names it in messages.

    Raises DataError where it cannot be read or its lines differ in the number of cells.
    """
    text = list(io.StringIO(_text(path, flag), newline=""))
    first = text[0].strip() if text else ""
    separators = [separator for separator in SEPARATORS if separator in next(filter(str.strip, text), "")]
    if first[:4].lower() == "sep=" and len(first) == 5:  # Excel's own first line
        text, separators = text[1:], [first[4]]
    try:
        ways = [_parse(text, separator) for separator in separators or ","]
    except csv.Error as error:
        raise DataError(f"{flag} {path}: is no CSV file ({error}); expected FILE.csv or FILE.npy") from None
    found = next((lines for lines in ways if len({len(row) for row in lines.rows}) == 1), ways[0])
    for number, row in zip(found.numbers, found.rows, strict=True):
        if len(row) != len(found.rows[0]):
            raise DataError(
                f"{flag} {path}: {len(row)} cells in line {number}: expected {len(found.rows[0])}, as in line "
                f"{found.numbers[0]}"
            )
    return found if separators else _between_spaces(found)


def _text(path: Path, flag: str) -> str:
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{flag} {path}: cannot be read ({reason}); expected a file FILE.csv or FILE.npy") from None
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{flag} {path}: is no CSV file in UTF-8 ({error}); expected FILE.csv or FILE.npy") from None


def _parse(text: list[str], separator: str) -> Lines:
    rows: list[list[str]] = []
    numbers: list[int] = []
    gaps: list[int] = []
    reader, empty = csv.reader(text, delimiter=separator, skipinitialspace=True), False
    for row in reader:
        cells = [cell.strip() for cell in row]
        if not any(cells) and row != [""]:  # [""] is a cell in quotes: a class that is missing
            empty = True
            continue
        if empty:
            gaps.append(len(rows))
        empty = False
        rows.append(cells)
        numbers.append(reader.line_num)
    return Lines(rows=rows, numbers=numbers, gaps=tuple(gaps))


def _between_spaces(lines: Lines) -> Lines:
    """Cells that spaces separate, as numpy.savetxt writes numbers and many lists have file names and classes."""
    rows = [row[0].split() for row in lines.rows]
    width = len(rows[0]) if rows else 0
    if width < 2 or any(len(row) != width for row in rows):
        return lines
    numbers = all(is_number(cell) for row in rows for cell in row)
    names = width == 2 and all(row[1].isdecimal() for row in rows) and len({row[0] for row in rows}) == len(rows) > 1
    return Lines(rows=rows, numbers=lines.numbers, gaps=lines.gaps) if numbers or names else lines
