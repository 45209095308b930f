"""From a source to a data set: training, validation and test are cut."""

import hashlib
import json
import math
from dataclasses import replace

from ptrain.data.held_out import listed
from ptrain.data.matching import by_name
from ptrain.data.permutation import KeyedPermutation
from ptrain.data.samples import DataSet, Source, Split
from ptrain.errors import DataError
from ptrain.keys import derive_key


def cut(source: Source, *, test_fraction: float, validation: float, seed: int, split: str = "random") -> DataSet:
    """The data set of a source with its splits, as ranges of one order of the samples.

    The order is a keyed permutation for ``random``, else a list (see ptrain.data.held_out). Splits that the source
    has of its own are used whole, in their natural order; its validation split is the test where it has no other.
    Labels without names become classes (see ptrain.data.matching).
    Raises DataError where a split would be left without samples, and where the splits do not fit together.
    """
    source, own = _own_splits(by_name(source), validation)
    total = len(source.train)
    test_fraction = 0.0 if "test" in own else test_fraction
    validation = 0.0 if "validation" in own else validation
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
    held_out, test = own.get("validation", held_out), own.get("test", test)
    names = source.class_names or ()
    sizes = [num_train, num_validation, num_test, None if "test" not in own else own["test"].size]
    sizes += [own["validation"].size] if "validation" in own else []
    order = content or (None if permutation is None else seed)
    return DataSet(
        **source.about | {"class_names": names},
        train=train,
        validation=held_out,
        test=test,
        num_features=source.train.features.shape[1],
        num_classes=len(names),
        split_sha256=hashlib.sha256(json.dumps([sizes, order]).encode()).hexdigest(),
    )


def _own_splits(source: Source, validation: float) -> tuple[Source, dict[str, Split]]:
    """The source with what is to be said of its own splits, and these by name."""
    own = source.held_out
    notes, warnings = source.notes, source.warnings
    if list(own) == ["validation"]:
        own = {"test": own["validation"]}
        notes += (
            f"{source.name} has a validation split and no test split: it is the test split here, and takes no part in "
            "training",
        )
    elif "validation" in own and validation > 0:
        warnings += (f"--validation {validation:g} is not used: {source.name} has a validation split of its own",)
    splits = {name: Split(samples, 0, len(samples)) for name, samples in own.items()}
    width = source.train.features.shape[1]
    for name, split in splits.items():
        found = split.samples.features.shape[1]
        if found != width:
            raise DataError(
                f"{split.samples.origin}: {found} features a sample in the {name} split but {width} in "
                f"{source.train.origin}: expected the same number"
            )
    return replace(source, notes=notes, warnings=warnings), splits


def share(fraction: float, total: int) -> int:
    """Return ``fraction`` of ``total``, rounded half up, and at least 1 where the fraction is above 0."""
    return max(1, math.floor(fraction * total + 0.5)) if fraction > 0 else 0
