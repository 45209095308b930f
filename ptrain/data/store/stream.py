"""What a reader of a file format hands over: blocks of rows, read once and in bounded memory."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.config import DataConfig

Block = tuple[NDArray[np.generic], NDArray[np.generic], NDArray[np.generic] | None]
"""features (n, F), labels (n,) integers or str (dtype U), groups (n,) integers or str, or None: n is at most a few
thousand rows / some MiB."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """Samples that are read in order, block by block, each time ``train`` or ``test`` is called."""

    name: str
    """Such as csv:/path/file.csv, for messages and records."""
    description: str
    """One line: what the samples are."""
    files: tuple[Path, ...]
    """Every file whose content matters: hashed for the cache, and looked at again after reading."""
    options: Mapping[str, Any]
    """Everything else that the result depends on, as JSON has it: part of the cache key."""
    dtype: np.dtype[Any]
    """Stored type of the features."""
    num_features: int
    image_shape: tuple[int, ...] | None = None
    feature_range: tuple[float, float] | None = None
    feature_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    """None: the labels are class numbers, or the sorted distinct strings found while reading."""
    schema: Mapping[str, Any] | None = None
    """What predict needs to read unlabelled files the same way, as JSON has it; stored with the model."""
    num_samples: int | None = None
    """Of ``train``; None where it is known only after reading."""
    train: Callable[[], Iterator[Block]]
    test: Callable[[], Iterator[Block]] | None = None
    """The source's own test split."""
    pieces: tuple[tuple[int, Callable[[], Iterator[Block]]], ...] | None = None
    """The rows of ``train`` in pieces, with the number of rows of each, that ranks can read independently."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a reader, besides the path."""

    config: DataConfig
    """The [data] section: a reader looks at the fields that concern it, such as labels, target or neighborhood."""
    schema: Mapping[str, Any] | None = None
    """That of a trained network (``Stream.schema``), where the file must be read the same way."""
    labelled: bool = True
    """False for samples to predict: labels need not be there and are 0."""
