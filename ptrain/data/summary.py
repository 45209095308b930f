"""What ``ptrain data info`` says about samples: ranges, missing values, classes, and samples that occur twice."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.samples import DataSet, Samples, Split, row_ranges

_BLOCK_BYTES = 8 * 2**20
_PRIME = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd: multiplying by it loses nothing
_SHIFT = np.uint64(29)


def ranges(samples: Samples) -> dict[str, Any]:
    """Return for each feature low, high, mean and the number of missing (NaN) and infinite values; arrays of (F,)."""
    width = samples.features.shape[1]
    low, high, total = np.full(width, np.inf), np.full(width, -np.inf), np.zeros(width)
    missing, infinite = np.zeros(width, np.int64), np.zeros(width, np.int64)
    for rows in _parts(samples):
        block = np.asarray(samples.features[rows.start : rows.stop], dtype=np.float64)
        lost, wrong = np.isnan(block), np.isinf(block)
        missing += lost.sum(axis=0)
        infinite += wrong.sum(axis=0)
        finite = ~(lost | wrong)
        np.minimum(low, np.where(finite, block, np.inf).min(axis=0), out=low)
        np.maximum(high, np.where(finite, block, -np.inf).max(axis=0), out=high)
        total += np.where(finite, block, 0.0).sum(axis=0)
    counts = len(samples) - missing - infinite
    return {
        "low": np.where(counts > 0, low, np.nan),
        "high": np.where(counts > 0, high, np.nan),
        "mean": np.where(counts > 0, total / np.maximum(counts, 1), np.nan),
        "missing": missing,
        "infinite": infinite,
    }


def duplicates(dataset: DataSet) -> dict[str, int]:
    """How many samples of validation and test have the features of a training sample, bit by bit.

    Rows are compared by a hash of 64 bits: for 10 million samples the chance of one false hit is about 10**-5. Memory:
    16 bytes a sample. The number within training is there as well, under ``train``.
    """
    hashes = {id(samples): row_hashes(samples) for samples in dataset.all_samples}

    def of(split: Split) -> NDArray[np.uint64]:
        return hashes[id(split.samples)][split.indices(np.arange(split.size))]

    train = np.unique(of(dataset.train))
    found = {name: int(np.isin(of(split), train).sum()) for name, split in dataset.splits.items() if name != "train"}
    return {"train": dataset.train.size - len(train)} | found


def row_hashes(samples: Samples) -> NDArray[np.uint64]:
    """A hash of each row of features: (N,)."""
    found = np.empty(len(samples), dtype=np.uint64)
    for rows in _parts(samples):
        block = np.ascontiguousarray(samples.features[rows.start : rows.stop])
        row = block.view(np.uint8).reshape(len(rows), -1)
        padded = np.zeros((len(rows), -(-row.shape[1] // 8) * 8), np.uint8)
        padded[:, : row.shape[1]] = row
        mixed = np.full(len(rows), _PRIME)
        for column in padded.view(np.uint64).T:
            mixed = (mixed ^ column) * _PRIME
            mixed ^= mixed >> _SHIFT
        found[rows.start : rows.stop] = mixed
    return found


def _parts(samples: Samples) -> Iterator[range]:
    return row_ranges(range(len(samples)), 8 * samples.features.shape[1], _BLOCK_BYTES)
