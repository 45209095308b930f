"""Tables: CSV, TSV and Parquet. Numbers stay columns, text becomes one column a category, a column names the class.

The schema says how a table becomes features, so that predict and evaluate read other tables the same way. A file of
text is read twice, once to see what its columns hold and once to convert it. Memory: a block of the file (1 MiB, more
where lines are longer than 16 KiB) and 8 MiB of features.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.config import DataConfig
from ptrain.data.sources.table_columns import Choice, choose, scan
from ptrain.data.sources.table_files import Table, number_of, open_parquet_file
from ptrain.data.sources.table_text import open_text
from ptrain.data.sources.table_values import Values
from ptrain.data.store import cache
from ptrain.data.store.rows import smallest_type
from ptrain.data.store.stream import Block, Pieces, Request, Stream
from ptrain.errors import DataError

_BLOCK_BYTES = 8 * 2**20
_VERSION = 1


def open_table(kind: str, path: str) -> Table:
    """A table of the kind csv, tsv or parquet."""
    file = Path(path).expanduser()
    return open_parquet_file(file) if kind == "parquet" else open_text(file, kind, "," if kind == "csv" else "\t")


def _open(kind: str, spec: str, request: Request) -> Stream:
    """The stream of a table; its columns are those of --target, --features and --drop, or of the schema."""
    table = open_table(kind, spec)
    schema, rows = request.schema, None
    if schema is None and not request.labelled:
        raise DataError(
            f"{table.path}: a table, but the run was trained on arrays, whose columns have no names; "
            "expected features as arrays: FILE.npy or FILE.npz"
        )
    if schema is None:
        schema, rows = _infer(table, request.config)
    elif schema.get("kind") != "table":
        raise DataError(f"{table.path}: a table, but the run was trained on none; expected data as in training")
    else:
        _need_columns(table, schema, labelled=request.labelled)
    # other files may hold what the type of the training data does not
    dtype = np.dtype(schema["type"])
    if request.schema is not None:
        dtype = np.dtype("<f4" if np.can_cast(dtype, np.float32) else "<f8")
    reader = _Reader(table, schema, dtype, request.labelled)
    complete = schema["missing"] != "drop" or (request.schema is None and not schema["dropped"])
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
    )


def _infer(table: Table, config: DataConfig) -> tuple[dict[str, Any], int]:
    """The schema of a table, from one pass over it, and its rows; the cache remembers it by content."""
    choice = choose(table, config)
    content = cache.file_sha256(cache.stamp(table.path))
    key = cache.key_of([_VERSION, table.kind, content, choice.features, choice.target, choice.group, config.missing])
    found = cache.remembered("columns", key, lambda: scan(table, choice, config.missing))
    used = {name: found["columns"][name] for name in choice.features}
    numbers = [one for one in used.values() if one["kind"] == "number"]
    columns = [
        {"name": name}
        | ({"kind": "number"} if one["kind"] == "number" else {"kind": "category", "values": one["values"]})
        for name, one in used.items()
    ]
    lost = any(one["missing"] for one in found["columns"].values())
    whole = all(one["whole"] for one in numbers) and not (lost and config.missing == "mean")
    low = min([0.0, *(one["low"] for one in numbers)])
    high = max([1.0, *(one["high"] for one in numbers)])
    stored = smallest_type(int(low), int(high)) if whole else _float_type(numbers)
    schema = {
        "kind": "table",
        "columns": columns,
        "target": {"name": choice.target, **_classes(table, choice, found["columns"][choice.target])},
        "group": choice.group,
        "missing": config.missing,
        "dropped": lost and config.missing == "drop",
        "type": stored.str,
        "fill": None,
    }
    return schema, found["rows"]


def _float_type(numbers: Sequence[Mapping[str, Any]]) -> np.dtype[Any]:
    """float32, or float64 where that rounds a column, such as time stamps, to more than a 2**16th of its range."""
    low, high = (np.array([one[end] for one in numbers]) for end in ("low", "high"))
    wide = (high > low) & (np.maximum(-low, high) > 256 * (high - low))
    return np.dtype("<f8" if wide.any() else "<f4")


def _classes(table: Table, choice: Choice, found: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the target: sorted texts, or where all of them are whole numbers those, by size."""
    texts: list[str] = found["values"]
    numbers = {number_of(text) for text in texts}
    if None in numbers:
        return {"numbers": False, "values": texts}
    values = sorted(number for number in numbers if number is not None)
    broken = next((value for value in values if not value.is_integer()), None)
    if broken is not None:
        raise DataError(
            f"{table.path}, column {choice.target}: {broken:g} is no class; expected names or whole numbers: "
            "choose another --target, or turn the values into classes"
        )
    return {"numbers": True, "values": [int(value) for value in values]}


def feature_names(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the features: the column's, or column=category."""
    pairs = ((one["name"], value) for one in schema["columns"] for value in one.get("values", [None]))
    return tuple(name if value is None else f"{name}={value}" for name, value in pairs)


def _need_columns(table: Table, schema: Mapping[str, Any], *, labelled: bool) -> None:
    wanted = [column["name"] for column in schema["columns"]] + ([schema["target"]["name"]] if labelled else [])
    absent = [name for name in wanted if name not in table.columns]
    if absent:
        raise DataError(
            f"{table.path}: no column {', '.join(absent[:10])}; expected the columns of the training data: "
            f"{', '.join(wanted[:20])}"
        )


@dataclass(frozen=True)
class _Reader:
    """Reads a table as its schema says."""

    table: Table
    schema: Mapping[str, Any]
    dtype: np.dtype[Any]
    labelled: bool

    def pieces(self) -> Pieces | None:
        """The parts of the file that can be read on their own, as it has no rows that are left out."""
        if self.table.pieces is None:
            return None
        starts = accumulate((rows for rows, _ in self.table.pieces), initial=0)
        pieces = zip(self.table.pieces, starts, strict=False)
        return tuple((rows, partial(self.blocks, read, start)) for (rows, read), start in pieces)

    def blocks(self, read: Callable[[Sequence[str]], Iterator[Any]] | None = None, start: int = 0) -> Iterator[Block]:
        """Yield features, class numbers and groups, of the whole table or of the piece that ``read`` yields."""
        schema = self.schema
        target = schema["target"]["name"] if self.labelled else None
        group = schema["group"] if self.labelled and schema["group"] in self.table.columns else None
        names = [column["name"] for column in schema["columns"]]
        used = list(dict.fromkeys(name for name in [*names, target, group] if name is not None))
        numbers = {column["name"] for column in schema["columns"] if column["kind"] == "number"} - {target, group}
        rows = max(1, _BLOCK_BYTES // max(1, len(feature_names(schema)) * max(self.dtype.itemsize, 8)))
        for whole in self.table.batches(used, numbers) if read is None else read(used):
            for first in range(0, whole.num_rows, rows):
                batch = whole.slice(first, rows)
                block = self._block(batch, start, target, group)
                start += batch.num_rows
                if len(block[0]):
                    yield block

    def _block(self, batch: Any, start: int, target: str | None, group: str | None) -> Block:
        def column_of(name: str) -> Values:
            return Values(self.table, name, start, batch.column(name))

        drops_rows = self.schema["missing"] == "drop" and target is not None
        features, lost = self._features(column_of, batch.num_rows, drops_rows)
        labels = np.zeros(batch.num_rows, dtype=np.int64)
        if target is not None:
            labels, without = _labels(column_of(target), self.schema["target"])
            if without.any() and not drops_rows:
                column_of(target).refuse_missing(int(np.argmax(without)), True)
            lost |= without
        groups = None if group is None else _groups(column_of(group))
        if not drops_rows:
            return features, labels, groups
        return features[~lost], labels[~lost], None if groups is None else groups[~lost]

    def _features(
        self, column_of: Callable[[str], Values], rows: int, drops_rows: bool
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """All features (rows, F), and which rows lack one."""
        missing, fill = self.schema["missing"], self.schema["fill"]
        features = np.zeros((rows, len(feature_names(self.schema))), self.dtype)
        lost, first = np.zeros(rows, dtype=np.bool_), 0
        for column in self.schema["columns"]:
            block = column_of(column["name"])
            values, without = _feature(block, column)
            stop = first + values.shape[1]
            if without.any():
                if missing != "mean" and not drops_rows:
                    raise _no_value(block, without, "one in")
                if missing == "mean":
                    values = values.astype(np.float64)
                    values[without] = math.nan if fill is None else fill[first:stop]
                lost |= without
            features[:, first:stop] = values
            first = stop
        return features, lost


def _feature(block: Values, column: Mapping[str, Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The features (rows, n) of a column, and in which rows it has no value."""
    if column["kind"] == "category":
        known = column["values"]
        found, lost, unknown = block.positions(known)
        if unknown.any():
            row = int(np.argmax(unknown))
            raise DataError(
                f"{block.at(row)}: {block.texts[0][row].as_py()!r} is none of the {len(known)} categories of the "
                f"training data ({', '.join(known[:10])}{', ...' if len(known) > 10 else ''}); "
                "expected one of them: correct the value, or train again with it"
            )
        return (found[:, None] == np.arange(len(known))).astype(np.uint8), lost
    values, lost = block.numbers
    if values is None:
        row = block.first_no_number()
        raise DataError(f"{block.at(row)}: {block.shown(row)!r}; expected a number, as in the training data")
    block.need_finite("expected a finite number in float32: correct it")
    return values[:, None], lost


def _labels(block: Values, target: Mapping[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The number of the class of each row, and which rows have none."""
    if target["numbers"]:
        values, lost = block.numbers
        if values is None:
            raise _no_class(block, block.first_no_number(), target)
        known = np.array(target["values"], dtype=np.int64)
        found = np.searchsorted(known, values).clip(0, len(known) - 1)
        unknown = (known[found] != values) & ~lost
    else:
        found, lost, unknown = block.positions(target["values"])
    if unknown.any():
        raise _no_class(block, int(np.argmax(unknown)), target)
    return np.where(lost, 0, found).astype(np.int64), lost


def _no_class(block: Values, row: int, target: Mapping[str, Any]) -> DataError:
    value = block.shown(row) if target["numbers"] else block.texts[0][row].as_py()
    names = ", ".join(map(str, target["values"][:20]))
    return DataError(
        f"{block.at(row)}: class {value!r}; expected one of the training data's classes, {names}: "
        "correct it, or leave the row out"
    )


def _groups(block: Values) -> NDArray[Any]:
    texts, lost = block.texts
    if lost.any():
        raise _no_value(block, lost, "the group of")
    return np.array(texts.to_pylist())


def _no_value(block: Values, lost: NDArray[np.bool_], what: str) -> DataError:
    return DataError(f"{block.at(int(np.argmax(lost)))}: no value; expected {what} every row: complete the file")


open_csv, open_tsv, open_parquet = (partial(_open, kind) for kind in ("csv", "tsv", "parquet"))
