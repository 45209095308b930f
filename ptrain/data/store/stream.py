"""What a reader of a file format hands over: blocks of rows, read once and in bounded memory."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.config import DataConfig
from ptrain.data.samples import About, Named

Block = tuple[NDArray[np.generic], NDArray[np.generic], NDArray[np.generic] | None]
"""features (n, F), labels (n,) integers or str (dtype U), groups (n,) integers or str, or None: n is at most a few
thousand rows / some MiB."""

Pieces = tuple[tuple[int, Callable[[], Iterator[Block]]], ...]
"""Rows of each piece, and what reads them."""
_BLOCK_BYTES = 4 * 2**20
_BLOCK_ROWS = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream(About):
    """Samples that are read in order, block by block, each time ``train``, ``validation`` or ``test`` is called.

    Without ``class_names`` the labels are class numbers, or the sorted distinct strings found while reading.
    """

    files: tuple[Path, ...]
    """Every file whose content matters: hashed for the cache, and looked at again after reading."""
    options: Mapping[str, Any]
    """Everything else that the result depends on, as JSON has it: part of the cache key."""
    dtype: np.dtype[Any]
    """Stored type of the features."""
    num_features: int
    num_samples: int | None = None
    """Of ``train``; None where it is known only after reading."""
    num_offered: Mapping[str, int] | None = None
    """Rows of each split in the file, where those without a value are left out while they are read."""
    train: Callable[[], Iterator[Block]]
    validation: Callable[[], Iterator[Block]] | None = None
    """The source's own validation split."""
    test: Callable[[], Iterator[Block]] | None = None
    """The source's own test split."""
    pieces: Pieces | None = None
    """The rows of ``train`` in pieces, where ranks can read these independently."""
    counted: Callable[[], tuple[str, ...]] | None = None
    """Warnings that are known after reading, such as how many samples were left out."""
    named: Named | None = None
    """What the samples of ``train`` are called."""

    @property
    def held_out(self) -> "dict[str, Callable[[], Iterator[Block]]]":
        """The source's own splits besides ``train``, by name."""
        both = {"validation": self.validation, "test": self.test}
        return {name: blocks for name, blocks in both.items() if blocks is not None}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a reader, besides the path."""

    config: DataConfig
    """The [data] section: a reader looks at the fields that concern it, such as labels, target or neighborhood."""
    schema: Mapping[str, Any] | None = None
    """That of a trained network (``Stream.schema``), where the file must be read the same way."""
    class_names: tuple[str, ...] | None = None
    """Those of a trained network, or of the training samples, where these are other samples for it."""
    labelled: bool = True
    """False for samples to predict: labels need not be there and are 0."""


def blocks_of(
    count: int, width: int, dtype: np.dtype[Any], samples: Iterable[tuple[NDArray[Any], int]]
) -> Iterator[Block]:
    """Yield blocks of samples that are read one by one, each with its label."""
    rows, left = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // (width * dtype.itemsize))), iter(samples)
    for start in range(0, count, rows):
        size = min(rows, count - start)
        features, labels = np.empty((size, width), dtype), np.empty(size, np.int64)
        for row, (values, label) in enumerate(islice(left, size)):
            features[row], labels[row] = values.reshape(-1), label
        yield features, labels, None
