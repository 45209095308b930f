"""From a source to a data set: training, validation and test are cut."""

import hashlib
import json
import math

from ptrain.data.held_out import listed
from ptrain.data.permutation import KeyedPermutation
from ptrain.data.samples import DataSet, Source, Split
from ptrain.errors import DataError
from ptrain.keys import derive_key


def cut(source: Source, *, test_fraction: float, validation: float, seed: int, split: str = "random") -> DataSet:
    """The data set of a source with its splits, as ranges of one order of the samples.

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
    about = source.about | {"class_names": names}
    return DataSet(
        **about,
        train=train,
        validation=held_out,
        test=test,
        num_features=source.train.features.shape[1],
        num_classes=len(names),
        split_sha256=hashlib.sha256(json.dumps([sizes, order]).encode()).hexdigest(),
    )


def share(fraction: float, total: int) -> int:
    """Return ``fraction`` of ``total``, rounded half up, and at least 1 where the fraction is above 0."""
    return max(1, math.floor(fraction * total + 0.5)) if fraction > 0 else 0
