"""How a table of text is written: packing, encoding, what separates its columns, the decimal point, the heading.

Nothing of it can be told by flags: what the first lines leave no doubt of is taken and said, all else is refused.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ptrain.data.sources.table_bytes import opened, packing_of, read
from ptrain.data.sources.table_numbers import number_of
from ptrain.data.store.cache import stamp
from ptrain.data.store.reading import decoding
from ptrain.errors import DataError

HEAD_BYTES = 2**20
_HEAD_LINES = 1000
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_UNNAMED = re.compile(r"Unnamed: \d+(\.\d+)*")


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What has to be known to read a file of text as a table."""

    packing: str | None
    """gzip, bz2 or zstd."""
    encoding: str
    delimiter: str
    decimal: str
    names: tuple[str, ...]
    index: dict[str, str]
    """Columns that are no features by themselves, and why."""
    skip: int
    """Lines before the first row."""
    longest: int
    """Characters of the longest line looked at."""
    notes: tuple[str, ...]


def dialect_of(path: Path, kind: str, known: Collection[str] = ()) -> Dialect:
    """Look at the first MiB of a file. Raises DataError where there is no heading, or more than one way to read it.

    A line with all the ``known`` names is the heading, whatever it looks like.
    """
    found = stamp(path, f"a .{kind} file")
    if found.size == 0:
        raise DataError(f"{path}: is empty; expected a heading with the columns' names and a line a sample")
    packing = packing_of(path)
    with decoding(str(path), f"a .{kind} file"), opened(path, packing) as file:
        start = read(file, HEAD_BYTES)
        whole = not read(file, 1)
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    lines = _lines(path, start, encoding, whole)
    first, named, notes = _preamble(path, lines)
    sample = [line for line in lines[first : first + _HEAD_LINES] if line.strip()]
    cut, usual = not whole or len(lines) > first + _HEAD_LINES, "\t" if kind == "tsv" else ","
    single = lines[first].strip() in known
    delimiter = named or (usual if single else _delimiter(path, sample, usual, cut, first + 1))
    if delimiter not in (named, usual):
        notes.append(f"{path.name}: columns are separated by {SEPARATORS[delimiter]}")
    rows = _rows(path, sample, delimiter, cut, first + 1)
    heading = _heading(path, rows, known, first + 1)
    names, index = _names(heading, f"{path}, line {first + 1}")
    decimal = _decimal(rows[1:]) if delimiter != "," else "."
    if decimal == ",":
        notes.append(f"{path.name}: numbers have a decimal comma")
    return Dialect(
        packing=packing,
        encoding=encoding,
        delimiter=delimiter,
        decimal=decimal,
        names=names,
        index=index,
        skip=first + 1,
        longest=max(map(len, lines)),
        notes=tuple(notes),
    )


def _lines(path: Path, start: bytes, encoding: str, whole: bool) -> list[str]:
    """The first lines, each with its end; the last one that is not whole is left out."""
    if not whole:
        start = start[: max(start.rfind(b"\n"), start.rfind(b"\r")) + 1] or start
    if encoding == "utf-16":
        start = start[: len(start) // 2 * 2]
    try:
        text = start.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise DataError(f"{path}: is no proper UTF-16; expected UTF-8: write it again") from None
        raise _not_utf8(path, start, error) from None
    if "\0" in text:
        raise DataError(f"{path}: holds zero bytes; expected text: convert it, such as with iconv -f UTF-16LE -t UTF-8")
    lines = list(io.StringIO(text, newline=""))
    if not whole and encoding == "utf-16":
        lines = lines[:-1]
    if not any(line.strip() for line in lines) or (not whole and len(lines) < 2 and not text.endswith(("\n", "\r"))):
        raise DataError(
            f"{path}: no line of text in the first {len(start):,} bytes; expected a heading of columns' names"
        )
    return lines


def _not_utf8(path: Path, start: bytes, error: UnicodeDecodeError) -> DataError:
    before = start[: error.start]
    line = 1 + len(before.splitlines()) - (not before.endswith((b"\n", b"\r")) and bool(before))
    place = error.start - max(before.rfind(b"\n"), before.rfind(b"\r"))
    return not_utf8(path, line, start[error.start], place)


def not_utf8(path: Path, line: int, byte: int, place: int) -> DataError:
    """The error of a byte that is no UTF-8; line and place count from 1."""
    return DataError(
        f"{path}, line {line}: byte 0x{byte:02x} at position {place} is not UTF-8; expected UTF-8: "
        "convert the file, such as with iconv -f LATIN1 -t UTF-8"
    )


def _preamble(path: Path, lines: list[str]) -> tuple[int, str | None, list[str]]:
    """The number of the heading's line, from 0, the separator that Excel's first line names, and what is to be said."""
    first = next(number for number, line in enumerate(lines) if line.strip())
    delimiter = None
    named = re.fullmatch(r'"?sep=(.)"?\s*', lines[first], re.IGNORECASE)
    if named:
        delimiter, first = named[1], first + 1
    notes: list[str] = []
    start = first
    while first < len(lines) and (lines[first].startswith("#") or not lines[first].strip()):
        first += 1
    if first > start and lines[first - 1].startswith("#") and first < len(lines):
        words = [re.split(r"[,;\t|]", line.strip()) for line in lines[first - 1 : first + 1]]
        if len(words[0]) == len(words[1]) > 1 and any(number_of(word.strip()) is not None for word in words[1]):
            first -= 1  # the heading itself, as numpy.savetxt writes it
    if first == len(lines):
        raise DataError(f"{path}: no line of text; expected a heading of columns' names")
    comments = sum(line.startswith("#") for line in lines[start:first])
    if comments:
        notes.append(f"{path.name}: lines of comment (#) before the heading, which are left out: {comments}")
    return first, delimiter, notes


def _cells(lines: Sequence[str], delimiter: str, cut: bool) -> list[list[str]]:
    """The values of these lines; the last row is left out where it may go on behind them, in a quoted value."""
    rows = [cells for cells in csv.reader(lines, delimiter=delimiter) if cells]
    return rows[:-1] if cut and len(rows) > 1 else rows


def _delimiter(path: Path, lines: Sequence[str], usual: str, cut: bool, line: int) -> str:
    """What separates the columns: what cuts every line into as many values, two or more; the most of them."""
    widths = {}
    for delimiter in SEPARATORS:
        with suppress(csv.Error):
            found = [len(cells) for cells in _cells(lines, delimiter, cut)]
            widths[delimiter] = (len(set(found)) == 1 and found[0] > 1, found[0], delimiter == usual)
    best = max(widths, key=lambda delimiter: widths[delimiter], default=usual)
    if widths.get(best, (False, 1, True))[1] > 1:
        return best
    counts = {len(line.split()) for line in lines}
    if len(lines[0].split()) > 1 and min(counts) > 1 and max(counts) - min(counts) <= 1:
        raise DataError(
            f"{path}, line {line}: columns are separated by blanks; expected {', '.join(SEPARATORS.values())}: "
            "write it again"
        )
    return usual


def _rows(path: Path, lines: Sequence[str], delimiter: str, cut: bool, line: int) -> list[list[str]]:
    """The first rows, that of the heading among them."""
    try:
        rows = _cells(lines, delimiter, cut)
    except csv.Error as error:
        raise DataError(f"{path}, line {line}: {error}; expected a heading of columns' names in one line") from None
    blank = (cell for row in rows for cell in row if cell[:1] == " ")
    apart = next((cell for cell in blank if re.fullmatch(r' +"[^"]*("\s*)?', cell)), None)
    if apart is not None:
        raise DataError(
            f"{path}: a blank before a quote, as in {apart!r}; expected quotes right behind "
            f"{SEPARATORS.get(delimiter, delimiter)}: remove the blank"
        )
    return rows


def _heading(path: Path, rows: Sequence[Sequence[str]], known: Collection[str], line: int) -> list[str]:
    """The names in the first row. Raises DataError where it is none of names."""
    if any("\n" in name or "\r" in name for name in rows[0]):
        raise DataError(f"{path}, line {line}: a name with a line break; expected all names in one line: mend it")
    names = [unicodedata.normalize("NFC", name.strip()) for name in rows[0]]  # as it is typed; Macs write it otherwise
    if names[0].startswith("#") and len(names) > 1:
        names[0] = names[0].lstrip("# ") or names[0]
    if not (known and set(known) <= set(names)) and _are_data(names, rows[1:]):
        raise DataError(
            f"{path}, line {line}: holds values, such as {names[0]!r}; expected the columns' names: add a line of them "
            "on top"
        )
    return names


def _decimal(rows: Sequence[Sequence[str]]) -> str:
    """The decimal point: a comma where numbers have one, which cannot be that of thousands, and none has a point."""
    values = {value.strip() for row in rows for value in row}
    commas = {value for value in values if re.fullmatch(r"[+-]?\d*,\d+([eE][+-]?\d+)?", value)}
    points = any("." in value and number_of(value) is not None for value in values)
    sure = any(not re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", value) for value in commas)
    return "," if sure and not points else "."


def _names(names: Sequence[str], where: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The columns' names, and why some are no features. Raises DataError where two are alike or one is missing."""
    index = {
        name: "has the heading that pandas gives a column without one" for name in names if _UNNAMED.fullmatch(name)
    }
    last = max((number for number, name in enumerate(names) if name), default=0)
    made: dict[str, None] = {}
    for number, name in enumerate(names):
        if not name and 0 < number < last:
            raise DataError(f"{where}: column {number + 1} has no name; expected one for each column: name it")
        if not name:
            name = f"column {number + 1}"
            index[name] = "has no heading"
        if name in made:
            raise DataError(
                f"{where}: two columns are named {name}; expected different names: rename one, or, if this is a row of "
                "values, add a line of names on top"
            )
        made[name] = None
    return tuple(made), index


def _are_data(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether what should be a heading is a row of values: numbers, and texts that are values further down as well."""
    numbers = [number_of(name) is not None or number_of(name, ",") is not None for name in names]
    count = list(map(str, range(len(names))))
    if [name for name in names if name] in (count, [*count[1:], str(len(names))], count[:-1]):
        return False  # what pandas and R call columns without names
    below: list[set[str]] = [set() for _ in names]
    for row in rows:
        for seen, value in zip(below, row, strict=False):
            seen.add(value.strip())
    again = [bool(name) and name in seen for name, seen in zip(names, below, strict=True)]
    known = sum(number or repeated for number, repeated in zip(numbers, again, strict=True))
    texts_again = sum(repeated and not number for number, repeated in zip(numbers, again, strict=True))
    return known == len(names) or (len(names) > 1 and 2 * texts_again >= len(names))
