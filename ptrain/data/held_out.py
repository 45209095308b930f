"""Orders of samples for splits that look at labels or groups: training, validation and test are ranges of them.

Memory while one is made: about 40 bytes a sample. It is then kept in the cache and memory-mapped.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptrain.data.permutation import KeyedPermutation
from ptrain.data.samples import Samples
from ptrain.data.store import cache
from ptrain.errors import DataError
from ptrain.files import replacing
from ptrain.keys import derive_key

Sizes = tuple[int, int, int]
"""Samples for training, validation and test."""


def listed(
    samples: Samples, split: str, *, test_fraction: float, validation: float, seed: int, name: str
) -> tuple[NDArray[np.int64], Sizes, str]:
    """The order (N,), the sizes of training, validation and test in it, and the SHA-256 of both.

    stratified keeps the share of every class; groups and blocks keep samples with the same group together. Raises
    DataError where there are no groups, or too few to have one in every split.
    """
    values, choose = (samples.labels, _stratified) if split == "stratified" else (samples.groups, _by_group)
    if values is None:
        fix = "a scene (GeoTIFF, ENVI, .mat)" if split == "blocks" else "a table with --group COLUMN"
        raise DataError(f"--split {split}: {name} has no {split}; expected {fix}, or another --split")
    key = cache.key_of(["split", 1, split, cache.array_sha256(values), test_fraction, validation, seed])

    def make(path: Path, _: bool) -> None:
        order, sizes = choose(values, test_fraction, validation, seed, name)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate([order, np.array(sizes, dtype=np.int64)]), allow_pickle=False)

    stored = np.load(cache.made("splits", f"{key}.npy", make), mmap_mode="r", allow_pickle=False)
    order, sizes = stored[:-3], tuple(stored[-3:].tolist())
    if len(order) != len(samples):
        raise DataError(f"{cache.root()}: is damaged; remove it, it is made again")
    return order, sizes, key


def _stratified(
    labels: NDArray[np.integer], test_fraction: float, validation: float, seed: int, name: str
) -> tuple[NDArray[np.int64], Sizes]:
    """Hold out the same share of every class, rounded half up; a class with one sample is for training."""
    shuffled = KeyedPermutation(len(labels), derive_key(seed, "split"))(np.arange(len(labels), dtype=np.int64))
    classes = np.asarray(labels)[shuffled]
    num_classes = int(classes.max()) + 1
    counts = np.bincount(classes, minlength=num_classes)
    num_test = _shares(test_fraction, counts)
    num_validation = _shares(validation, counts - num_test)
    # the rank of a sample among those of its class decides where it goes, so the shuffled order stays within a split
    by_class = np.argsort(classes, kind="stable")
    rank = np.empty(len(labels), dtype=np.int64)
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return _ordered(shuffled, rank < num_test[classes], rank < (num_test + num_validation)[classes])


def _by_group(
    groups: NDArray[np.integer], test_fraction: float, validation: float, seed: int, name: str
) -> tuple[NDArray[np.int64], Sizes]:
    """Hold out whole groups, in a keyed order, as long as that brings the share of samples nearer to what is asked."""
    _, numbers, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    needed = 1 + (test_fraction > 0) + (validation > 0)
    if len(counts) < needed:
        raise DataError(
            f"{name}: {len(counts)} groups; expected at least {needed}, one for each split: "
            "use another --group, or --split random"
        )
    order = KeyedPermutation(len(counts), derive_key(seed, "split/groups"))(np.arange(len(counts), dtype=np.int64))
    goes_to = np.zeros(len(counts), dtype=np.int64)
    left = len(numbers)
    for number, fraction, others in ((2, test_fraction, needed - 1), (1, validation, 1)):
        if fraction > 0:
            left -= _take(goes_to, order, counts, fraction * left, number, others)
    split = goes_to[numbers]
    natural = np.arange(len(numbers), dtype=np.int64)
    return _ordered(natural, split == 2, split >= 1)


def _take(
    goes_to: NDArray[np.int64],
    order: NDArray[np.int64],
    counts: NDArray[np.int64],
    wanted: float,
    number: int,
    others: int,
) -> int:
    """Give groups that have no split yet to split ``number``, leaving ``others`` groups; return their samples."""
    free = [group for group in order.tolist() if goes_to[group] == 0]
    taken = 0
    chosen: list[int] = []
    for group in free:
        count = int(counts[group])
        if len(free) - len(chosen) > others and abs(taken + count - wanted) <= abs(taken - wanted):
            taken += count
            chosen.append(group)
    chosen = chosen or [min(free, key=lambda group: int(counts[group]))]
    goes_to[chosen] = number
    return int(counts[chosen].sum())


def _shares(fraction: float, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The share of each class, rounded half up, at least 1 of 2 and never all."""
    if fraction <= 0:
        return np.zeros_like(counts)
    wanted = np.maximum(1, np.floor(fraction * counts + 0.5).astype(np.int64))
    least: NDArray[np.int64] = np.minimum(wanted, np.maximum(counts - 1, 0))
    return least


def _ordered(
    samples: NDArray[np.int64], test: NDArray[np.bool_], held_out: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], Sizes]:
    """Return training, validation and test samples one after the other. ``held_out`` is validation and test."""
    parts = samples[~held_out], samples[held_out & ~test], samples[test]
    return np.concatenate(parts), (len(parts[0]), len(parts[1]), len(parts[2]))
