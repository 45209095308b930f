"""Arrays of features and labels put together to a stream of blocks, in bounded memory."""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.labels import classes_of, need_labels
from ptrain.data.samples import row_ranges
from ptrain.data.sources.arrays import READ_BYTES, Array, Arrays, Pair, Rows
from ptrain.data.store.stream import Block, Request, Stream
from ptrain.errors import DataError

_BLOCK_BYTES = 4 * 2**20
_BLOCK_ROWS = 4096
_PIECES = 64  # so many ranks can share a file; each piece costs a record


def missing_of(request: Request) -> str:
    """What is done with samples that lack a value: error, mean or drop; as in training where there is a schema."""
    schema = request.schema or {}
    return str(request.config.missing if schema.get("kind") else schema.get("missing", request.config.missing))


def to_stream(arrays: Arrays, request: Request, *, in_pieces: bool = False) -> Stream:
    """The stream of arrays.

    ``in_pieces`` says that a part of the rows can be read without the rows before it, so that ranks can share them.
    Raises DataError where types and shapes cannot be trained on, before anything is read. A pass over the stream
    takes the memory of one read, at most READ_BYTES or one sample, and of one chunk of the file.
    """
    arrays.check()
    for pair in arrays.pairs.values():
        if pair.features.row_bytes > READ_BYTES:
            raise DataError(
                f"{pair.features.origin}: a sample of shape {pair.features.shape[1:]} takes {pair.features.row_bytes} "
                f"bytes: expected at most {READ_BYTES}; see that the samples are the first dimension"
            )
    features, missing, dtype = arrays.train.features, missing_of(request), arrays.dtype
    total, step = features.shape[0], _step(features)
    fill = (request.schema or {}).get("fill") if missing == "mean" else None
    drop = missing == "drop" and request.labelled
    reader = _Reader(dtype=dtype, drop=drop, fill=None if fill is None else np.array(fill, dtype))
    read = partial(reader.blocks, arrays.train)
    # in at most _PIECES pieces, each of whole reads
    spans = list(row_ranges(range(total), 1, step * -(-total // (step * _PIECES))))
    held_out: dict[str, Any] = {
        name: partial(reader.blocks, pair, range(pair.features.shape[0])) for name, pair in arrays.held_out.items()
    }
    coding = {} if not arrays.notes else {"said": arrays.notes}
    handled = {} if missing == "error" else {"missing": [missing, drop, fill]}
    # means are of no use where no value can be missing
    mean = {"missing": "mean", "fill": fill} if missing == "mean" and dtype.kind == "f" else {}
    schema = mean | ({"missing": "drop", "fill": None} if missing == "drop" else {})
    return Stream(
        name=arrays.name,
        description=f"arrays of {arrays.files[0]}",
        files=arrays.files,
        options={**(arrays.options or {}), **coding, **handled},
        dtype=dtype,
        num_features=math.prod(features.shape[1:]),
        image_shape=features.shape[1:] if len(features.shape) > 2 else None,
        num_samples=None if drop else total,
        num_offered={name: pair.features.shape[0] for name, pair in arrays.pairs.items()} if drop else None,
        schema=schema or None,
        notes=arrays.notes,
        warnings=arrays.warnings,
        train=partial(read, range(total)),
        pieces=tuple((len(span), partial(read, span)) for span in spans) if in_pieces and not drop else None,
        **held_out,
    )


def _step(features: Array) -> int:
    """How many rows are read at once: those of whole chunks, where a chunk fits into memory."""
    rows = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // features.row_bytes))
    at_once = max(1, READ_BYTES // features.row_bytes)
    return max(1, rows // features.chunk) * features.chunk if features.chunk <= at_once else at_once


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads blocks of some MiB, from reads that unpack every chunk of the file once where that fits into memory."""

    dtype: np.dtype[Any]
    """Of the samples of all splits."""
    drop: bool
    """Whether samples that lack a value or a label are left out."""
    fill: NDArray[np.generic] | None
    """What takes the place of missing values, (F,)."""

    def blocks(self, pair: Pair, span: range) -> Iterator[Block]:
        """Yield the samples of a span of rows."""
        features = pair.features
        rows, step = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // features.row_bytes)), _step(features)
        with features.open() as read:
            labels, groups = _classes(pair.labels, span, step), _groups(pair.groups, span, step)
            for reads in row_ranges(span, 1, step):
                block = read(reads.start, reads.stop)
                if block.shape != (len(reads), *features.shape[1:]) or block.dtype != features.dtype:
                    raise DataError(
                        f"{features.origin}: changed while it was read; expected {features.shape}: read it again"
                    )
                flat, (own, without), group = block.reshape(len(reads), -1), next(labels), next(groups)
                if not self.drop:
                    need_labels(without, "" if pair.labels is None else pair.labels.origin, reads.start)
                for first in range(0, len(reads), rows):
                    part = slice(first, first + rows)
                    kept = self._kept(flat[part], own[part], None if group is None else group[part], without[part])
                    if len(kept[0]):
                        yield kept

    def _kept(
        self,
        features: NDArray[np.generic],
        labels: NDArray[np.generic],
        groups: NDArray[np.generic] | None,
        without: NDArray[np.bool_],
    ) -> Block:
        """A block with means in the place of missing values, or without the samples that lack one."""
        if features.dtype.kind == "f" and (self.drop or self.fill is not None):
            lost = np.isnan(features)
            if self.fill is not None:
                features = np.where(lost, self.fill, features)
            else:
                without = without | lost.any(axis=1)
        features = features.astype(self.dtype, copy=False)
        if not self.drop or not without.any():
            return features, labels, groups
        return features[~without], labels[~without], None if groups is None else groups[~without]


def _classes(array: Array | None, span: range, step: int) -> Iterator[tuple[NDArray[np.generic], NDArray[np.bool_]]]:
    """Yield the labels of each read, as integers or text, and which samples have none; zeros where there are none."""
    with nullcontext(None) if array is None else array.open() as read:
        for part in row_ranges(span, 1, step):
            if array is None or read is None:
                yield np.zeros(len(part), np.uint8), np.zeros(len(part), np.bool_)
            else:
                yield classes_of(_rows(array, read, part), array.origin, part.start)


def _groups(array: Array | None, span: range, step: int) -> Iterator[NDArray[np.generic] | None]:
    """Yield the groups of each read, as integers or text; None for each where there are none."""
    if array is None:
        yield from repeat(None)
        return
    with array.open() as read:
        for part in row_ranges(span, 1, step):
            values, none = classes_of(_rows(array, read, part), array.origin, part.start)
            need_labels(none, array.origin, part.start)
            yield values


def _rows(array: Array, read: Rows, part: range) -> NDArray[np.generic]:
    values = read(part.start, part.stop)
    if values.shape[0] != len(part):
        raise DataError(f"{array.origin}: changed while it was read; expected a file at rest: try again")
    return values
