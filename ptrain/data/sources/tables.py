"""Tables: CSV, TSV and Parquet. Numbers stay columns, text becomes one column a category, a column names the class.

The schema says how a table becomes features, so that predict and evaluate read other tables the same way. A file of
text is read twice, once to see what its columns hold and once to convert it. Memory: a block of the file (1 MiB, more
where lines are longer than 16 KiB) and 8 MiB of features.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ptrain.config import DataConfig
from ptrain.data.sources import table_notes as notes
from ptrain.data.sources.table_columns import Choice, choose, scan
from ptrain.data.sources.table_files import MISSING, Table, open_parquet_file, quoted
from ptrain.data.sources.table_numbers import is_code, number_of, whole_of
from ptrain.data.sources.table_reader import Reader, feature_names
from ptrain.data.sources.table_text import open_text
from ptrain.data.store import cache
from ptrain.data.store.rows import smallest_type
from ptrain.data.store.stream import Request, Stream
from ptrain.errors import DataError

_VERSION = 2
_FLOAT32_WHOLE = 2.0**24
"""Up to here float32 has every whole number."""
_FLOAT32_LARGE = 2.0**16
"""From here on float32 has steps of 0.008 and more."""
_FLOAT32_NARROW = 2.0**-8
"""Range of a column, by its largest value, below which float32 leaves fewer than 16 bits to tell values apart."""


def open_table(kind: str, path: str, missing: tuple[str, ...] = MISSING, known: Collection[str] = ()) -> Table:
    """A table of the kind csv, tsv or parquet; ``known`` are names that its heading has."""
    file = Path(path).expanduser()
    return open_parquet_file(file, missing) if kind == "parquet" else open_text(file, kind, missing, known)


def missing_values(config: DataConfig) -> tuple[str, ...]:
    """The spellings of a missing value that --missing-values asks for."""
    text = config.missing_values
    if text is None:
        return MISSING
    return ("",) if text == "empty" else ("", *(word.strip() for word in text.split(",") if word.strip()))


def _open(kind: str, spec: str, request: Request) -> Stream:
    """The stream of a table; its columns are those of --target, --features and --drop, or of the schema."""
    schema, config = request.schema, request.config
    if schema is None and not request.labelled:
        raise DataError(
            f"{spec}: a table, but the run was trained on arrays, whose columns have no names; "
            "expected features as arrays: FILE.npy or FILE.npz"
        )
    if schema is not None and schema.get("kind") != "table":
        raise DataError(f"{spec}: a table, but the run was trained on none; expected data as in training")
    if schema is None:
        known = [name for name in (config.target,) if name is not None and number_of(name) is None]
        table = open_table(kind, spec, missing_values(config), known)
        schema, rows, remarks = _infer(table, config)
    else:
        used = [column["name"] for column in schema["columns"]]
        table = open_table(kind, spec, tuple(schema.get("missing_values", MISSING)), used)
        _need_columns(table, schema, labelled=request.labelled)
        rows, remarks = None, _remarks(table, schema, labelled=request.labelled)
    # other files may hold what the type of the training data does not, but need no more digits
    stored = np.dtype(schema["type"])
    wide = "<f4" if np.can_cast(stored, "<f4") else "<f8"
    dtype = stored if request.schema is None else np.dtype(wide)
    reader = Reader(table, schema, dtype, request.labelled)
    complete = schema["missing"] != "drop" or not request.labelled or (request.schema is None and not schema["dropped"])
    return Stream(
        name=f"{table.kind}:{table.path}",
        description=f"table {table.path.name}: {len(schema['columns'])} columns, target {schema['target']['name']}",
        files=(table.path,),
        options={"schema": schema, "labelled": request.labelled, "applied": request.schema is not None}
        | {"version": _VERSION},
        dtype=dtype,
        num_features=len(feature_names(schema)),
        feature_names=feature_names(schema),
        class_names=tuple(map(str, schema["target"]["values"])),
        schema=schema,
        num_samples=rows if complete else None,
        train=reader.blocks,
        pieces=reader.pieces() if complete else None,
        notes=(*table.notes, *remarks.notes),
        warnings=remarks.warnings,
        named=None if request.labelled else notes.names_of(table, schema),
    )


def _infer(table: Table, config: DataConfig) -> tuple[dict[str, Any], int, notes.Remarks]:
    """The schema of a table, from one pass over it, its rows, and what is to be said; the cache knows it by content."""
    choice = choose(table, config)
    content = cache.file_sha256(cache.stamp(table.path))
    key = cache.key_of([_VERSION, table.kind, content, table.columns, table.missing, config.missing, asdict(choice)])
    found = cache.remembered("columns", key, lambda: scan(table, choice, config.missing))
    used = {name: found["columns"][name] for name in choice.features}
    columns = [
        {"name": name}
        | ({"kind": "number"} if one["kind"] == "number" else {"kind": "category", "values": one["values"]})
        for name, one in used.items()
    ]
    kept = {*choice.features, choice.target, choice.group}
    schema = {
        "kind": "table",
        "columns": columns,
        "target": {"name": choice.target, **_classes(table, choice, found["columns"][choice.target])},
        "group": choice.group,
        "missing": config.missing,
        "missing_values": list(table.missing),
        "dropped": bool(found["incomplete"]) and config.missing == "drop",
        "ignored": [name for name in table.columns if name not in kept],
        "type": _stored([one for one in used.values() if one["kind"] == "number"], found, config.missing).str,
        "fill": None,
    }
    return schema, found["rows"], notes.of_training(table, choice, found, config.missing)


def _stored(numbers: list[dict[str, Any]], found: dict[str, Any], missing: str) -> np.dtype[Any]:
    """The type of all features: the smallest integers, or float32, or float64 where that would lose differences."""
    filled = bool(found["incomplete"]) and missing == "mean"
    if all(one["whole"] for one in numbers) and not filled:
        low = min([0.0, *(one["low"] for one in numbers)])
        high = max([1.0, *(one["high"] for one in numbers)])
        return smallest_type(int(low), int(high))
    return np.dtype("<f8" if any(map(_needs_float64, numbers)) else "<f4")


def _needs_float64(column: Mapping[str, Any]) -> bool:
    """Whether float32 would make different values of a column equal, or nearly so."""
    low, high = column["low"], column["high"]
    largest = max(abs(low), abs(high))
    if column["whole"]:
        return bool(largest > _FLOAT32_WHOLE)
    return bool(largest >= _FLOAT32_LARGE or 0 < high - low < largest * _FLOAT32_NARROW)


def _classes(table: Table, choice: Choice, found: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the target: sorted texts, or where all of them are whole numbers those, by size."""
    texts: list[str] = found["values"]
    if choice.target in choice.categories:
        return {"numbers": False, "values": texts}
    wholes = [whole_of(text, table.decimal) for text in texts]
    if None not in wholes:
        return {"numbers": True, "values": sorted({whole for whole in wholes if whole is not None})}
    broken = next(
        (text for text, whole in zip(texts, wholes, strict=True) if whole is None and not is_code(text)), None
    )
    if broken is not None and all(number_of(text, table.decimal) is not None for text in texts):
        raise DataError(
            f"{table.path}, column {choice.target}: {broken} is no class; expected names or whole numbers: "
            "choose another --target, turn the values into classes, or keep them as names with "
            f"--categories {quoted(choice.target or '')}"
        )
    return {"numbers": False, "values": texts}


def _need_columns(table: Table, schema: Mapping[str, Any], *, labelled: bool) -> None:
    wanted = [column["name"] for column in schema["columns"]] + ([schema["target"]["name"]] if labelled else [])
    absent = [name for name in wanted if name not in table.columns]
    if absent:
        raise DataError(
            f"{table.path}: no column {', '.join(absent[:10])}; expected the columns of the training data: "
            f"{', '.join(wanted[:20])}"
        )


def _remarks(table: Table, schema: Mapping[str, Any], *, labelled: bool) -> notes.Remarks:
    """What is to be said of a table that is read by a schema; rows without a value are counted in a pass of its own."""
    found = None
    if labelled and schema["missing"] == "drop":
        names = tuple(column["name"] for column in schema["columns"])
        texts = tuple(column["name"] for column in schema["columns"] if column["kind"] == "category")
        choice = Choice(features=names, target=schema["target"]["name"], group=None, categories=texts)
        content = cache.file_sha256(cache.stamp(table.path))
        key = cache.key_of(
            [_VERSION, "gaps", table.kind, content, table.columns, table.missing, names, texts, choice.target]
        )
        found = cache.remembered("columns", key, lambda: scan(table, choice, "drop", strict=False))
    return notes.of_other(table, schema, found, labelled=labelled)


open_csv, open_tsv, open_parquet = (partial(_open, kind) for kind in ("csv", "tsv", "parquet"))
