"""Classes by name: labels become the numbers of the classes of a data set, a network or the training samples.

A source hands over numbers of classes that it names, or labels of any size as they are in the file.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.samples import Samples, Source, row_ranges
from ptrain.errors import DataError

Names = tuple[str, ...]
MOST = 10_000
"""Different labels; where there are more they are no classes."""
_SHOWN = 10
_FEW = 10  # samples: so many may well be an example with a class each
_AT_ONCE = 2**18
_DENSE = 2**16  # labels that are so near to each other are counted instead of sorted
_WHOLE = re.compile(r"0|-?[1-9][0-9]*")


def by_name(source: Source, class_names: Names | None = None) -> Source:
    """The same samples with numbers of named classes as labels: of ``class_names``, where those are known already.

    Labels without names are classes themselves, the different ones of the training samples by size, such as 1, 2, 3 or
    -1, 1. Among ``class_names`` they are found by their value or, where these are no numbers, by position. Names that
    are just the numbers 0, 1, ... on one side say nothing about the other's: then the number counts, which is warned
    of. Raises DataError for samples of a class that is none of them, and where there are too many classes.
    """
    own = source.class_names
    if own is not None and class_names in (None, own):
        return source
    names = tuple(map(str, different(source.train))) if class_names is None else class_names
    notes, warnings, named = source.notes, source.warnings, own
    if class_names is None:
        notes += () if _plain(names) else (f"{source.name}: the classes are its labels {_listing(names)}",)
        warnings += tuple(_doubts(source, names))
    elif own is None and not all(map(_WHOLE.fullmatch, names)):
        named = names
        warnings += (_by_number(source.name, tuple(map(str, range(len(names)))), names),)
    elif own is not None and not set(own) & set(names) and len(own) <= len(names) and (_plain(own) or _plain(names)):
        named = names
        warnings += (_by_number(source.name, own, names),)
    elif own is not None:
        absent = [name for name in names if name not in own]
        lacks = f"; it has no samples of {_listing(absent)}" if absent else ""
        notes += (f"{source.name}: classes are matched by name{lacks}",)
    name_of = str if named is None else partial(_at, named)
    parts: dict[str, Any] = {"train": source.train, **source.held_out}
    parts = {part: _renumbered(samples, name_of, names) for part, samples in parts.items()}
    return replace(source, **parts, class_names=names, notes=notes, warnings=warnings)


def values_of(class_names: Names) -> NDArray[np.int64]:
    """The number of each class outside ptrain: the label that it has in files of numbers, else its position."""
    if all(map(_WHOLE.fullmatch, class_names)) and all(abs(int(name)) < 2**63 for name in class_names):
        return np.array([int(name) for name in class_names], np.int64)
    return np.arange(len(class_names))


def different(samples: Samples) -> list[int]:
    """The different labels, by size. Raises DataError where there are too many for classes."""
    found: set[int] = set()
    for block in _blocks(samples):
        low, high = int(block.min()), int(block.max())
        if high - low < _DENSE:
            near = block - block.min() if block.dtype.kind == "u" else block.astype(np.int64) - low
            found |= {low + number for number in np.flatnonzero(np.bincount(near.astype(np.int64))).tolist()}
        else:
            found |= set(np.unique(block).tolist())
        if len(found) > MOST:
            raise DataError(
                f"{samples.labels_origin or samples.origin}: more than {MOST:,} different labels: expected classes; "
                "are these measured values, or numbers of samples?"
            )
    return sorted(found)


def _renumbered(samples: Samples, name_of: Callable[[int], str], names: Names) -> Samples:
    """Samples whose labels are the positions of their names; the labels are a copy only where numbers change."""
    positions = {name: position for position, name in enumerate(names)}
    labels = different(samples)
    unknown = next((label for label in labels if name_of(label) not in positions), None)
    if unknown is not None:
        raise DataError(
            f"{samples.labels_origin or samples.origin}: class {name_of(unknown)!r} of sample "
            f"{_first(samples, unknown)} is none of the classes of the training samples; expected {_listing(names)}: "
            "leave its samples out, or train with them"
        )
    found = [positions[name_of(label)] for label in labels]
    if found == labels:
        return samples
    values, numbers = np.array(labels, samples.labels.dtype), np.array(found, np.min_scalar_type(len(names) - 1))
    blocks = [numbers[np.searchsorted(values, block)] for block in _blocks(samples)]
    return replace(samples, labels=np.concatenate(blocks))


def _doubts(source: Source, names: Names) -> Iterator[str]:
    """Warnings where -1 is a class among others, as it often stands for none, and where no two labels are the same."""
    if "-1" in names and len(names) > 2:
        count = sum(int((block == -1).sum()) for block in _blocks(source.train))
        yield f"{source.name}: -1 is a class, of {count:,} samples; if it stands for none, leave these out"
    if len(names) == len(source.train) > _FEW:
        yield f"{source.name}: each of {len(names):,} samples has its own class: are the labels numbers of samples?"


def _by_number(name: str, own: Names, names: Names) -> str:
    pairs = [f"{one} is {other}" for one, other in zip(own, names, strict=False)]
    return f"{name}: classes are matched by number, since one side has no names: {_listing(pairs)}"


def _plain(names: Names) -> bool:
    """Whether these are names that ptrain gives to classes without names."""
    return names == tuple(map(str, range(len(names))))


def _listing(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + ", ..." * (len(names) > _SHOWN)


def _at(names: Names, label: int) -> str:
    return names[label] if 0 <= label < len(names) else str(label)


def _first(samples: Samples, label: int) -> int:
    """The first sample with this label."""
    found = (np.flatnonzero(block == label) + number * _AT_ONCE for number, block in enumerate(_blocks(samples)))
    return int(next(where[0] for where in found if where.size))


def _blocks(samples: Samples) -> Iterator[NDArray[np.integer]]:
    """Yield the labels, some at a time."""
    for rows in row_ranges(range(len(samples)), 1, _AT_ONCE):
        yield np.asarray(samples.labels[rows.start : rows.stop])
