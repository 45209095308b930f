"""From samples to a data set: shapes and labels are made uniform, then training, validation and test are cut."""

import hashlib
import json
import math

import numpy as np
from numpy.typing import NDArray

from ptrain.data.held_out import listed
from ptrain.data.permutation import KeyedPermutation
from ptrain.data.samples import DataSet, Samples, Source, Split
from ptrain.errors import DataError
from ptrain.keys import derive_key

LABEL_LIMIT = 1000
"""A label is too large when it is at least this and at least the number of samples: then it is no class number."""


def make_samples(
    features: NDArray[np.generic], labels: NDArray[np.generic], origin: str, labels_origin: str | None = None
) -> tuple[Samples, tuple[int, ...] | None]:
    """Return flat samples, and the shape of one sample where it has more than one dimension.

    features: (N, ...), labels: (N,) or (N, 1). Features with more than two dimensions are seen as (N, F), not copied.
    Raises DataError for shapes and types that cannot be trained on.
    """
    if features.ndim < 2:
        raise DataError(
            f"{origin}: features of shape {features.shape}: expected one row a sample, such as (1000, 64); "
            "reshape them, and see that features and labels are not swapped"
        )
    check_feature_type(features, origin)
    image_shape = None
    if features.ndim > 2:
        if not features.flags.c_contiguous:
            raise DataError(
                f"{origin}: features of shape {features.shape} in Fortran order: expected C order; "
                "save them with numpy.ascontiguousarray"
            )
        image_shape = features.shape[1:]
        features = features.reshape(len(features), math.prod(image_shape))
    samples = Samples(features, whole_labels(labels, labels_origin or origin), origin, labels_origin)
    check_shapes(samples)
    return samples, image_shape


def check_feature_type(features: NDArray[np.generic], origin: str) -> None:
    """Raise DataError unless the features are bool, integers, or floats of at most 64 bits."""
    if features.dtype.kind not in "biuf" or features.dtype.itemsize > 8:
        kind = {"U": "text", "S": "text", "O": "Python objects", "c": "complex numbers"}.get(features.dtype.kind)
        raise DataError(
            f"{origin}: features are {kind or features.dtype}: expected bool, integers, or floats of at most 64 bits; "
            "convert them to numbers first"
        )


def whole_labels(labels: NDArray[np.generic], origin: str) -> NDArray[np.integer]:
    """Return labels as a vector of integers; whole floats are converted. Raises DataError where they are no numbers."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"{origin}: labels of shape {labels.shape}: expected one class number a sample; "
            "turn one-hot rows into numbers with argmax"
        )
    kind = labels.dtype.kind
    if kind == "b":
        return labels.view(np.uint8)
    if kind in "iu":
        return labels  # type: ignore[return-value]
    if kind != "f":
        raise DataError(f"{origin}: labels are {labels.dtype}: expected whole numbers 0, 1, 2, ...; number the classes")
    return whole_numbers(labels, origin)


def whole_numbers(labels: NDArray[np.generic], origin: str, first: int = 0) -> NDArray[np.int64]:
    """Return floats as integers; raises DataError for one that is not whole. ``first`` is the first sample's number."""
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64)
    wrong = np.flatnonzero(whole != labels)
    if wrong.size:
        raise DataError(
            f"{origin}: label {labels[wrong[0]]} of sample {first + wrong[0]} is not whole: expected class numbers "
            "0, 1, 2, ..."
        )
    return whole


def check_shapes(samples: Samples) -> None:
    """Raise DataError where there are no samples or features, where rows differ, or where labels are out of range."""
    rows, width = samples.features.shape
    labels_origin = samples.labels_origin or samples.origin
    if rows == 0 or width == 0:
        raise DataError(f"{samples.origin}: {rows} samples of {width} features: expected at least 1 of each")
    if rows != len(samples.labels):
        raise DataError(
            f"{samples.origin}: {rows} rows of features but {len(samples.labels)} labels in {labels_origin}: "
            "expected one label a row; check that the two belong together"
        )
    smallest, largest = int(samples.labels.min()), int(samples.labels.max())
    if smallest < 0:
        index = int(samples.labels.argmin())
        raise DataError(
            f"{labels_origin}: label {smallest} of sample {index} is negative: expected class numbers 0, 1, 2, ...; "
            "leave out samples without a class"
        )
    if largest >= max(LABEL_LIMIT, rows):
        index = int(samples.labels.argmax())
        raise DataError(
            f"{labels_origin}: label {largest} of sample {index} is too large for {rows} samples: expected class "
            f"numbers below {max(LABEL_LIMIT, rows)}; number the classes 0, 1, 2, ..."
        )


def cut(source: Source, *, test_fraction: float, validation: float, seed: int, split: str = "random") -> DataSet:
    """Return the data set of a source with its splits, as ranges of one order of the samples.

    The order is a keyed permutation for ``random``, else a list (see ptrain.data.held_out). Where the source has its
    own test split that is used whole, in its natural order. Raises DataError where a split would be left without
    samples, and where training and test do not fit together.
    """
    total = len(source.train)
    test_fraction = 0.0 if source.test is not None else test_fraction
    permutation = index = None
    content = ""
    if split == "random" or (test_fraction == 0 and validation == 0):
        num_test = share(test_fraction, total)
        num_validation = share(validation, total - num_test)
        num_train = total - num_test - num_validation
        permutation = KeyedPermutation(total, derive_key(seed, "split")) if 0 < num_train < total else None
    else:
        index, (num_train, num_validation, num_test), content = listed(
            source.train, split, test_fraction=test_fraction, validation=validation, seed=seed, name=source.name
        )
    if num_train < 1:
        raise DataError(
            f"{source.name}: {total} samples leave none for training beside {num_validation} for validation and "
            f"{num_test} for the test; lower --validation or --test-fraction"
        )
    train = Split(source.train, 0, num_train, permutation, index)
    middle = num_train + num_validation
    held_out = Split(source.train, num_train, middle, permutation, index) if num_validation else None
    test = Split(source.train, middle, total, permutation, index) if num_test else None
    if source.test is not None:
        if source.test.features.shape[1] != source.train.features.shape[1]:
            raise DataError(
                f"{source.test.origin}: {source.test.features.shape[1]} features a sample in the test split but "
                f"{source.train.features.shape[1]} in {source.train.origin}: expected the same number"
            )
        test = Split(source.test, 0, len(source.test))
    names = source.class_names or tuple(str(number) for number in range(int(source.train.labels.max()) + 1))
    sizes = [num_train, num_validation, num_test, None if source.test is None else len(source.test)]
    order = content or (None if permutation is None else seed)
    return DataSet(
        name=source.name,
        description=source.description,
        train=train,
        validation=held_out,
        test=test,
        num_features=source.train.features.shape[1],
        num_classes=len(names),
        class_names=names,
        image_shape=source.image_shape,
        feature_range=source.feature_range,
        feature_names=source.feature_names,
        schema=source.schema,
        split_sha256=hashlib.sha256(json.dumps([sizes, order]).encode()).hexdigest(),
    )


def share(fraction: float, total: int) -> int:
    """Return ``fraction`` of ``total``, rounded half up, and at least 1 where the fraction is above 0."""
    return max(1, math.floor(fraction * total + 0.5)) if fraction > 0 else 0
