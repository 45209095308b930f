"""Columns of a table: which are used, and what each holds over the whole file."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptrain.config import DataConfig
from ptrain.data.sources.table import hint
from ptrain.data.sources.table_files import Table, quoted
from ptrain.data.sources.table_numbers import number_of, spelling_of
from ptrain.data.sources.table_summary import MAX_CATEGORIES, ColumnSummary, IsCodeError, odd_number
from ptrain.data.sources.table_values import Values
from ptrain.errors import DataError

_FEW = 50
"""Different texts that a column may have in any case; more than one in two rows are names or free text."""
_ALONE = 20
"""Rows up to which each may have a text of its own by chance."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The columns that are used."""

    features: tuple[str, ...]
    target: str | None
    group: str | None
    categories: tuple[str, ...] = ()
    """Those whose values are names also where they are numbers."""


def choose(table: Table, config: DataConfig) -> Choice:
    """The columns that --target, --features, --drop and --group ask for."""
    target = config.target
    if target is None:
        raise DataError(
            f"{table.path}: a table without --target; expected --target NAME, the column of the classes, one of "
            f"{_listed(table.columns)}"
        )
    _check_columns(table, "--target", [target])
    _check_columns(table, "--group", [] if config.group is None else [config.group])
    asked = {"--features": config.features, "--drop": config.drop, "--categories": config.categories}
    lists = {flag: [] if text is None else _names(flag, text) for flag, text in asked.items()}
    for flag, names in lists.items():
        _check_columns(table, flag, names)
    for flag, expected in (("--features", "the columns to learn from"), ("--drop", "other columns")):
        if target in lists[flag]:
            raise DataError(f"{flag} {asked[flag]}: holds {target}, the --target; expected {expected}")
    if config.split == "groups" and config.group is None:
        raise DataError(f"--split groups without --group: expected --group NAME, one of {_listed(table.columns)}")
    out = {target, config.group, *lists["--drop"], *table.index}
    features = tuple(lists["--features"]) or tuple(name for name in table.columns if name not in out)
    if not features:
        raise DataError(f"{table.path}: no columns left to learn from; expected at least one besides {target}")
    if len(set(features)) < len(features):
        raise DataError(f"--features {config.features}: names a column twice; expected each once")
    return Choice(features=features, target=target, group=config.group, categories=tuple(lists["--categories"]))


def _check_columns(table: Table, flag: str, names: Sequence[str]) -> None:
    for name in names:
        if name not in table.columns:
            near = hint(name, table.columns[:1000])
            raise DataError(
                f"{flag} {name}: no such column in {table.path}; {near}expected one of {_listed(table.columns)}"
            )


def _names(flag: str, text: str) -> list[str]:
    names = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    if not names or not all(names):
        raise DataError(f"{flag} {text}: expected columns' names separated by commas")
    return names


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def scan(table: Table, choice: Choice, missing: str, *, strict: bool = True) -> dict[str, Any]:
    """What the used columns hold over the whole file: kinds, ranges, categories, the number of rows.

    Raises DataError, naming the line and the column, for mixed kinds, infinities, numbers that float32 or float64
    cannot hold, texts that should be numbers or are no categories, and, where they are an error, missing values.
    Without ``strict`` these are only described.
    """
    as_text = set(choice.categories)
    while True:
        try:
            found = _scan(table, choice, missing, strict, as_text)
            break
        except IsCodeError as error:  # 0101 after numbers: these are codes as well
            as_text.add(error.column)
    if strict:
        _refuse_many(table, choice, found)
    return found


def _scan(table: Table, choice: Choice, missing: str, strict: bool, as_text: set[str]) -> dict[str, Any]:
    used = [name for name in (*choice.features, choice.target) if name is not None]
    columns = [
        ColumnSummary(
            table=table,
            name=name,
            is_target=name == choice.target,
            as_text=name in as_text,
            missing_is=missing,
            strict=strict,
        )
        for name in used
    ]
    read = list(dict.fromkeys([*used, choice.group] if choice.group is not None else used))
    rows = incomplete = 0
    guess = [name for name in table.guessed(read) if name not in (choice.target, choice.group, *as_text)]
    for batch in table.batches(read, guess):
        lost = np.zeros(batch.num_rows, np.bool_)
        for column in columns:
            lost |= column.add(Values(table, column.name, rows, batch.column(column.name)))
        rows += batch.num_rows
        incomplete += int(lost.sum())
    if rows == 0:
        raise DataError(f"{table.path}: has a heading but no rows; expected a row a sample")
    return {
        "rows": rows,
        "incomplete": incomplete,
        "columns": {column.name: column.described(rows) for column in columns},
    }


def _refuse_many(table: Table, choice: Choice, found: dict[str, Any]) -> None:
    """Raise DataError for columns of text that would become hundreds of features without a meaning."""
    many = {}
    for name, one in found["columns"].items():
        known: list[str] = one["values"] or []
        count: int = found["rows"] - one["missing"]
        crowded = len(known) > _FEW and 2 * len(known) > count
        alone = len(known) == count > _ALONE
        if name == choice.target and crowded:
            raise DataError(
                f"{table.path}, column {name}: {len(known):,} different classes in {count:,} rows, such as "
                f"{known[0]!r}; expected several rows of each class: choose another --target, or turn the values into "
                "classes"
            )
        if name == choice.target or one["kind"] != "text":
            continue
        way = None if name in choice.categories else spelling_of(known, table.decimal)
        if way is not None:
            odd = next(text for text in known if number_of(text, table.decimal) is None)
            raise odd_number(str(table.path), name, odd, way)
        if one["many"] or ((crowded or alone) and name not in choice.categories):
            many[name] = f"more than {MAX_CATEGORIES:,}" if one["many"] else f"{len(known):,}"
    if many:
        first = next(iter(many))
        others = "" if len(many) == 1 else f" (so have {_listed(list(many)[1:])})"
        names = (
            ""
            if any("more" in count for count in many.values())
            else (f", or keep its values as names with --categories {quoted(first)}")
        )
        raise DataError(
            f"{table.path}, column {first}: has {many[first]} different texts in {found['rows']:,} rows, such as "
            f"{found['columns'][first]['values'][0]!r}{others}; expected numbers or categories: leave names, ids and "
            f"free text out with --drop {_together(list(many))}{names}"
        )


def _together(names: Sequence[str]) -> str:
    """Several columns' names as --drop takes them, in a shell."""
    if len(names) == 1:
        return quoted(names[0])
    inner = ",".join('"' + name.replace('"', '""') + '"' if "," in name or '"' in name else name for name in names)
    return f"'{inner}'" if set(inner) & set(' "()&;|<>$#*?!') else inner
