"""Classes by name: labels of other data become the numbers that a network, or the training samples, know."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.samples import Source
from ptrain.data.store.stream import Block, Stream
from ptrain.errors import DataError

Names = tuple[str, ...]
_SHOWN = 10


def by_name(opened: Stream | Source, class_names: Names) -> Stream | Source:
    """The same samples with the numbers of ``class_names`` as labels; what follows from it is noted.

    A source that does not know names has numbers already, or text that becomes numbers when it is read. Names that
    are just the numbers 0, 1, ... on one side say nothing about the other's: then the number counts, which is warned
    of. Raises DataError, here or while a stream is read, for a sample of a class that is none of them.
    """
    own = opened.class_names
    if own is None:
        return replace(opened, class_names=class_names) if isinstance(opened, Stream) else opened
    if own == class_names:
        return opened
    if not set(own) & set(class_names) and len(own) <= len(class_names) and (_plain(own) or _plain(class_names)):
        pairs = [f"{one} is {other}" for one, other in zip(own, class_names, strict=False)]
        text = f"{opened.name}: classes are matched by number, since one side has no names: {_listing(pairs)}"
        return replace(opened, class_names=class_names, warnings=(*opened.warnings, text))
    numbers = {name: number for number, name in enumerate(class_names)}
    table = np.array([numbers.get(name, -1) for name in own], dtype=np.int64)
    absent = [name for name in class_names if name not in own]
    text = f"{opened.name}: classes are matched by name"
    text += f"; it has no samples of {_listing(absent)}" if absent else ""
    look_up = partial(_numbers, table=table, own=own, class_names=class_names, origin=opened.name)
    found: dict[str, Any] = {"class_names": class_names, "notes": (*opened.notes, text)}
    if isinstance(opened, Source):
        splits = {"train": opened.train, **opened.held_out}
        found |= {name: replace(one, labels=look_up(one.labels)) for name, one in splits.items()}
        return replace(opened, **found)

    def matched(blocks: Callable[[], Iterator[Block]]) -> Callable[[], Iterator[Block]]:
        return lambda: ((x, y if y.dtype.kind in "US" else look_up(y), groups) for x, y, groups in blocks())

    found |= {name: matched(blocks) for name, blocks in {"train": opened.train, **opened.held_out}.items()}
    found["pieces"] = opened.pieces and tuple((rows, matched(blocks)) for rows, blocks in opened.pieces)
    return replace(opened, **found, options={**opened.options, "matched": own})


def _plain(names: Names) -> bool:
    """Whether these are names that ptrain gives to classes without names."""
    return names == tuple(map(str, range(len(names))))


def _listing(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + ", ..." * (len(names) > _SHOWN)


def _numbers(
    labels: NDArray[np.generic], table: NDArray[np.int64], own: Names, class_names: Names, origin: str
) -> NDArray[np.int64]:
    """The number of each label, by a table from one's own numbers to those of ``class_names``, -1 for none."""
    numbers = labels.astype(np.int64)
    inside = (numbers >= 0) & (numbers < len(table))
    found = np.where(inside, table[np.where(inside, numbers, 0)], -1)
    if (found < 0).any():
        label = int(numbers[int(np.argmin(found))])
        name = own[label] if 0 <= label < len(own) else str(label)
        raise DataError(
            f"{origin}: class {name!r} is none of the classes of the training samples; expected "
            f"{_listing(class_names)}: leave its samples out, or train with them"
        )
    return found
