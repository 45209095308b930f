"""Arrays of features and labels that are in memory or mapped: samples as they are there."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.labels import classes_of, is_one_hot, need_labels
from ptrain.data.samples import Source, make_samples
from ptrain.data.sources.arrays import Array, Arrays, Pair
from ptrain.errors import DataError


def to_source(arrays: Arrays) -> Source:
    """The samples of arrays that are in memory or mapped, as they are there.

    Raises DataError where types and shapes cannot be trained on.
    """
    arrays.check()
    features = arrays.train.features
    labels = {name: _labels_of(pair) for name, pair in arrays.pairs.items()}
    names = tuple(np.unique(labels["train"]).tolist()) if labels["train"].dtype.kind == "U" else None
    parts: dict[str, Any] = {}
    for name, pair in arrays.pairs.items():
        origin = pair.features.origin if pair.labels is None else pair.labels.origin
        numbers = labels[name] if names is None else _numbers(labels[name], names, origin)
        parts[name] = make_samples(_whole(pair.features), numbers, pair.features.origin, origin)[0]
    if arrays.train.groups is not None:
        groups = np.unique(_whole(arrays.train.groups), return_inverse=True)[1]
        parts["train"] = replace(parts["train"], groups=groups.reshape(-1))
    return Source(
        name=arrays.name,
        description=f"arrays of {arrays.files[0]}",
        image_shape=features.shape[1:] if len(features.shape) > 2 else None,
        class_names=names,
        notes=arrays.notes,
        warnings=arrays.warnings,
        **parts,
    )


def _whole(array: Array) -> NDArray[np.generic]:
    with array.open() as read:
        return read(0, array.shape[0])


def _labels_of(pair: Pair) -> NDArray[np.generic]:
    """All labels of a split, as integers or text."""
    if pair.labels is None:
        return np.zeros(pair.features.shape[0], np.int64)
    values = _whole(pair.labels)
    if values.dtype.kind in "iu" and not is_one_hot(values.shape):
        return values.reshape(-1)  # mapped ones are not read here
    labels, none = classes_of(values, pair.labels.origin)
    need_labels(none, pair.labels.origin)
    return labels


def _numbers(labels: NDArray[np.generic], names: tuple[str, ...], origin: str) -> NDArray[np.int64]:
    """The positions of texts among the names of the classes."""
    known = np.array(names)
    numbers = np.searchsorted(known, labels).clip(0, len(names) - 1)
    unknown = np.flatnonzero(known[numbers] != labels)
    if unknown.size:
        raise DataError(
            f"{origin}: class {str(labels[unknown[0]])!r} of sample {unknown[0]} is none of the classes of the "
            f"training samples; expected {', '.join(names[:10])}: leave its samples out, or train with them"
        )
    return numbers
