"""A file as named columns, before anything is said of what they mean: text, NumPy's files, Parquet."""

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.errors import DataError
from ptrain.evaluation.files.headings import Evidence, evidence
from ptrain.evaluation.files.lines import read_lines

_EXPECTED = "expected FILE.csv, FILE.npy, FILE.npz or FILE.parquet"


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """One column, or one array of several values a sample."""

    heading: str | None
    values: NDArray[Any]
    """(samples,) text, as in a text file, or numbers; or (samples, width) numbers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CellTable:
    """The content of a file."""

    path: Path
    flag: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...] = ()
    """The cells of a text file whose first line may be a heading; then ``columns`` is empty until that is settled."""
    lines: tuple[int, ...] = ()
    """The number in the file of each row."""
    gaps: tuple[int, ...] = ()
    """Before which rows a text file has empty lines."""
    heading: Evidence = "none"

    @property
    def origin(self) -> str:
        """How messages name the file."""
        return f"{self.flag} {self.path}"

    def place(self, row: int) -> str:
        """How messages name a row."""
        return f"line {self.lines[row]}" if self.lines else f"row {row}"

    def settled(self, has_heading: bool) -> "CellTable":
        """The columns of a text file, once it is known whether its first line is a heading."""
        headings = self.rows[0] if has_heading else (None,) * len(self.rows[0])
        rows, lines = self.rows[has_heading:], self.lines[has_heading:]
        cells = list(zip(*rows, strict=True)) if rows else [()] * len(headings)
        columns = (
            Column(heading=heading, values=np.array(values, dtype=np.str_))
            for heading, values in zip(headings, cells, strict=True)
            if heading or any(values) or len(cells) == 1  # a separator at the end of every line makes no column
        )
        gaps = tuple(gap - has_heading for gap in self.gaps)
        return replace(self, columns=tuple(columns), lines=lines, gaps=gaps)


def read_table(path: Path, flag: str) -> CellTable:
    """Read a file; ``flag`` names it in messages. Raises DataError."""
    if path.suffix in (".npy", ".npz"):
        return CellTable(path=path, flag=flag, columns=_read_numpy(path, flag))
    if path.suffix in (".parquet", ".pq"):
        return CellTable(path=path, flag=flag, columns=_read_parquet(path, flag))
    lines = read_lines(path, flag)
    if not lines.rows:
        raise DataError(f"{flag} {path}: holds no samples; expected at least one")
    return CellTable(
        path=path,
        flag=flag,
        columns=(),
        rows=tuple(map(tuple, lines.rows)),
        lines=tuple(lines.numbers),
        gaps=lines.gaps,
        heading=evidence(lines.rows),
    )


def _read_numpy(path: Path, flag: str) -> tuple[Column, ...]:
    try:
        content = np.load(path, allow_pickle=False)
        arrays = {None: content} if isinstance(content, np.ndarray) else {name: content[name] for name in content.files}
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{flag} {path}: cannot be read ({reason}); expected a {path.suffix} file") from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        what = f"is no {path.suffix} file, or holds Python objects"
        raise DataError(f"{flag} {path}: {what}; expected plain numbers or text") from None
    array = next(iter(arrays.values())) if len(arrays) == 1 else None
    if array is not None and array.dtype.names is None:
        arrays = {None: array}  # the name of the only array says nothing
    elif array is not None:
        arrays = {name: array[name] for name in array.dtype.names}
    return tuple(Column(heading=name, values=_plain(values, path, flag)) for name, values in arrays.items())


def _plain(array: NDArray[Any], path: Path, flag: str) -> NDArray[Any]:
    """Text, whole numbers or floats, of one or two dimensions; bytes are text."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    kind = array.dtype.kind
    if kind == "S":
        array = np.char.decode(array, "utf-8", "backslashreplace")
    if array.ndim not in (1, 2) or kind not in "biufUS":
        raise DataError(
            f"{flag} {path}: {array.dtype} of shape {array.shape}: expected class numbers or names (samples,), or "
            "probabilities (samples, classes)"
        )
    return array.astype(np.int64) if kind == "b" else array


def _read_parquet(path: Path, flag: str) -> tuple[Column, ...]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise DataError(
            f"{flag} {path}: reading Parquet needs pyarrow; expected it installed, or {_EXPECTED}"
        ) from None
    try:
        table = parquet.read_table(path)
    except (OSError, ArrowException) as error:
        raise DataError(f"{flag} {path}: cannot be read ({str(error).splitlines()[0]}); {_EXPECTED}") from None
    columns = []
    for name in table.column_names:
        values = table[name].to_pylist()
        if None in values:
            raise DataError(f"{flag} {path}: no {name} in row {values.index(None)}; expected a value in every row")
        array = np.array(values)
        columns.append(
            Column(heading=name, values=array if array.dtype.kind in "iuf" else np.array(list(map(str, values))))
        )
    return tuple(columns)
