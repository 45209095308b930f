"""A table as features, as its schema says: blocks of rows with class numbers and groups."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.sources.table_files import Table
from ptrain.data.sources.table_numbers import whole_of
from ptrain.data.sources.table_values import Values
from ptrain.data.store.stream import Block, Pieces
from ptrain.errors import DataError

_BLOCK_BYTES = 8 * 2**20


def feature_names(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the features: the column's, or column=category."""
    pairs = ((one["name"], value) for one in schema["columns"] for value in one.get("values", [None]))
    return tuple(name if value is None else f"{name}={value}" for name, value in pairs)


@dataclass(frozen=True)
class Reader:
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
        numbers = {value: number for number, value in enumerate(known)}
        texts, codes, lost = block.encoded()
        found = np.array([numbers.get(text, -1) for text in texts] or [-1], dtype=np.int64)[codes]
        found[lost] = -1
        unknown = (found < 0) & ~lost
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
    known = {value: number for number, value in enumerate(target["values"])}
    texts, found, lost = block.encoded()
    values = [whole_of(text, block.table.decimal) for text in texts] if target["numbers"] else texts
    labels = np.array([known.get(value, -1) for value in values] or [0], dtype=np.int64)[found]
    unknown = (labels < 0) & ~lost
    if unknown.any():
        raise _no_class(block, int(np.argmax(unknown)), target)
    return np.where(lost, 0, labels), lost


def _no_class(block: Values, row: int, target: Mapping[str, Any]) -> DataError:
    value = block.texts[0][row].as_py()
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
