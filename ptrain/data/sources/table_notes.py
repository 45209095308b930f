"""What people are told about a table: what was guessed, left out or not used, and what its rows are called."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, overload

from ptrain.data.samples import Named
from ptrain.data.sources.table_columns import Choice
from ptrain.data.sources.table_files import Table, quoted
from ptrain.data.sources.table_values import leave_out
from ptrain.errors import DataError

_MANY = 50
"""Categories from which on a column is worth a word."""
_SURE_ROWS = 20
"""Rows from which on a column that counts them is no chance."""
_ID = re.compile(r"(?i:id|.*[\W_]id)|.*[a-z]I[dD]")
_INDEX = re.compile(r"(?i)index|level_\d+|row|row[ _.]?(nr|number|index|names?)")
"""What pandas, Polars and R call the number of a row where it becomes a column."""


class Remarks(NamedTuple):
    """What is told as a note, and what as a warning."""

    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def of_training(table: Table, choice: Choice, found: Mapping[str, Any], missing: str) -> Remarks:
    """What is to be said of a table and its ``found`` columns, from which a schema is made."""
    notes, warnings = [*left_out(table, choice.features)], []
    for name in choice.features:
        one = found["columns"][name]
        if one["counts"] and found["rows"] >= _SURE_ROWS:
            warnings.append(
                f"column {name} counts the rows, {one['low']:.0f} to {one['high']:.0f}: if it is an index and no "
                f"measurement, leave it out with --drop {quoted(name)}"
            )
        elif one["kind"] == "number" and one["whole"] and (_ID.fullmatch(name) or _INDEX.fullmatch(name)):
            warnings.append(f"column {name} is taken as a measurement: if it is an index or an id, {leave_out(name)}")
        if one["kind"] == "text" and name not in choice.categories and _is_codes(one["values"]):
            notes.append(
                f"column {name} holds codes such as {one['values'][0]}: each of the {len(one['values'])} is a category"
            )
        elif one["kind"] == "text" and len(one["values"]) > _MANY:
            notes.append(f"column {name} becomes {len(one['values']):,} features, one a category")
    if missing == "mean" and any(one["kind"] == "text" and one["spellings"] for one in found["columns"].values()):
        warnings.append(f"the mean of the column takes the place of missing values: {_gaps(found)}")
    warnings += _alike(found, (*choice.features, choice.target))
    return Remarks(tuple(notes), (*warnings, *_dropped(found, missing)))


def of_other(table: Table, schema: Mapping[str, Any], found: Mapping[str, Any] | None, *, labelled: bool) -> Remarks:
    """What is to be said of a table that is read by a schema; ``found`` where rows may be left out."""
    known = {column["name"] for column in schema["columns"]} | {schema["target"]["name"], schema["group"]}
    known |= {*schema.get("ignored", table.columns), *table.index}
    named = None if labelled else names_of(table, schema)
    more = [name for name in table.columns if name not in known and (named is None or name != named.heading)]
    notes: tuple[str, ...] = ()
    if more:
        notes = (f"{table.path.name}: columns that the training data have not are not used: {_listed(more)}",)
    return Remarks(notes, () if found is None or not labelled else tuple(_dropped(found, "drop")))


def _alike(found: Mapping[str, Any], names: Sequence[str | None]) -> Iterator[str]:
    """Yield a warning for a column whose texts differ in upper and lower case or blanks alone, some of them."""
    for name in names:
        one = found["columns"][name]
        seen: dict[str, str] = {}
        for text in one["values"] if one["kind"] == "text" else ():
            other = seen.setdefault(" ".join(text.casefold().split()), text)
            if other != text:
                yield f"column {name}: {other!r} and {text!r} are different names here; are they the same?"
                break


def _is_codes(texts: Sequence[str]) -> bool:
    return all(text.isdecimal() for text in texts)


def left_out(table: Table, features: Sequence[str]) -> Iterator[str]:
    """Yield what is to be said of columns that are no features by themselves."""
    for name, why in table.index.items():
        if name not in features:
            yield f"{name if name.startswith('column ') else f'column {name}'} {why} and is left out"


def _dropped(found: Mapping[str, Any], missing: str) -> Iterator[str]:
    if missing == "drop" and found["incomplete"]:
        yield f"{found['incomplete']:,} of {found['rows']:,} rows are left out, as they have no value in {_gaps(found)}"


def _gaps(found: Mapping[str, Any]) -> str:
    """Which columns lack values, in how many rows, and what stands there instead."""
    gaps, are_words = [], False
    for name, one in found["columns"].items():
        in_words = one["kind"] == "text" and bool(one["spellings"])
        written = f", written {', '.join(one['spellings'])}" if in_words else ""
        are_words |= in_words
        if one["missing"]:
            gaps.append(f"{name} ({one['missing']:,} row{'s' * (one['missing'] > 1)}{written})")
    return _listed(gaps) + ("; if that is a value, --missing-values empty says so" if are_words else "")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def names_of(table: Table, schema: Mapping[str, Any]) -> Named | None:
    """What the rows of a table are called: a column of ids, or the index that it was written with, where it has one."""
    target = schema["target"]["name"]
    ids = [name for name in table.columns if _ID.fullmatch(name)]
    found = (name for name in (*ids, *table.index) if name != target and _is_readable(table, name))
    name = next(found, None)
    return None if name is None else Named(name, _Texts(table, name))


def _is_readable(table: Table, name: str) -> bool:
    """Whether a column is of a type that is read: the index may be one of dates."""
    try:
        next(table.read([name], ()), None)
    except DataError:
        return False
    return True


class _Texts(Sequence[str]):
    """A column as texts, read when the first of them is asked for."""

    def __init__(self, table: Table, column: str) -> None:
        self._table, self._column = table, column

    @cached_property
    def _values(self) -> Any:
        import pyarrow

        from ptrain.data.sources.table_values import Values

        blocks = (batch.column(self._column) for batch in self._table.batches([self._column], ()))
        texts = [Values(self._table, self._column, 0, block).texts[0] for block in blocks]
        return pyarrow.chunked_array(texts, pyarrow.string()).combine_chunks()

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [text or "" for text in self._values[index].to_pylist()]
        return self._values[index].as_py() or ""
