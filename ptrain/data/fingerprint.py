"""SHA-256 of a data set in fixed blocks of rows: the same on any number of ranks that share the work."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ptrain.data.plan import owned_shards
from ptrain.data.samples import DataSet, Samples

_BLOCK_BYTES = 4 * 2**20


def fingerprint_blocks(dataset: DataSet, part: int = 0, parts: int = 1) -> list[str]:
    """The hashes of the blocks of this part. What counts is shapes, types and content, not files or splits."""
    blocks = [(samples, start) for samples in dataset.all_samples for start in range(0, len(samples), _rows(samples))]
    owned = owned_shards(len(blocks), parts, part)
    return [_hash(samples, start) for samples, start in blocks[owned.start : owned.stop]]


def combine_fingerprints(parts: Sequence[Sequence[str]]) -> str:
    """The SHA-256 of the data set from the blocks of all parts, in the order of the parts."""
    return hashlib.sha256("\n".join(block for part in parts for block in part).encode()).hexdigest()


def _rows(samples: Samples) -> int:
    row_bytes: int = samples.features.shape[1] * samples.features.itemsize
    return max(1, _BLOCK_BYTES // row_bytes)


def _hash(samples: Samples, start: int) -> str:
    rows = slice(start, start + _rows(samples))
    digest = hashlib.sha256()
    for array in (samples.features, samples.labels):
        digest.update(f"{array.shape} {_little(array[:0]).dtype.str} {start}\n".encode())
        digest.update(_little(array[rows]).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _little(block: NDArray[np.generic]) -> NDArray[np.generic]:
    """A block as contiguous little-endian memory, so that the byte order of a file does not count."""
    return np.ascontiguousarray(block, dtype=block.dtype.newbyteorder("<"))
