"""Missing values of tables and arrays: the mean of the feature over the training split takes their place."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from ptrain.data.samples import DataSet, Samples, Source, Split, row_ranges
from ptrain.data.store import cache
from ptrain.errors import DataError
from ptrain.files import replacing
from ptrain.sums.exact import exact_sum

_BLOCK_BYTES = 8 * 2**20
_CHUNK_ROWS = 2**14
_VERSION = 2


def filled(dataset: DataSet) -> DataSet:
    """The data set with every missing value (NaN) replaced by the mean of its feature over the training split.

    Only with --missing mean. Means come from exact sums, so they do not depend on ranks. They go into the
    schema; filled features go into the cache, memory-mapped.
    """
    schema = dataset.schema
    if schema is None or schema.get("missing") != "mean" or schema["fill"] is not None:
        return dataset
    train = dataset.train
    key = cache.key_of([_VERSION, cache.array_sha256(train.samples.features), dataset.split_sha256])
    names = dataset.feature_names or ()
    fill, lost = cache.remembered("means", key, lambda: _means(train, dataset.name, names))
    new = {id(samples): _fill(samples, fill) for samples in dataset.all_samples}
    splits: dict[str, Any] = {
        name: replace(split, samples=new[id(split.samples)]) for name, split in dataset.splits.items()
    }
    note = (
        f"{dataset.name}: {lost:,} missing values of the training split become the mean of their feature, as others do"
    )
    notes = (*dataset.notes, note) if lost else dataset.notes
    return replace(dataset, schema={**schema, "fill": fill}, notes=notes, **splits)


def filled_with(source: Source, fill: list[float]) -> Source:
    """The source with these means, of the training split of a network, in the place of missing values."""
    parts = {"train": source.train, **source.held_out}
    full: dict[str, Any] = {name: _fill(samples, fill) for name, samples in parts.items()}
    return replace(source, **full)


def _means(train: Split, name: str, names: tuple[str, ...]) -> tuple[list[float], int]:
    """The mean of each feature over the training split without its missing values, and how many of these there are.

    Means are rounded once, to the type in which values are filled in.
    """
    means, lost, features = [], 0, train.samples.features
    width = features.shape[1]
    step = max(1, _BLOCK_BYTES // (4 * _CHUNK_ROWS))
    for first in range(0, width, step):
        columns = slice(first, min(first + step, width))
        counts, sums = [0] * (columns.stop - first), [Fraction(0)] * (columns.stop - first)
        for start in range(0, train.size, _CHUNK_ROWS):
            positions = np.arange(start, min(start + _CHUNK_ROWS, train.size))
            block = np.asarray(features[train.indices(positions), columns], dtype=np.float64)
            for number, values in enumerate(block.T):
                kept = values[~np.isnan(values)]
                counts[number] += len(kept)
                sums[number] += exact_sum(kept)
        for number, (count, total) in enumerate(zip(counts, sums, strict=True)):
            lost += train.size - count
            if count == 0:
                column = names[first + number] if names else None
                what = f"feature {first + number}" if column is None else f"column {column}"
                raise DataError(
                    f"{name}, {what}: no value in the training split, so it has no mean; expected at least one: leave "
                    f"it out{'' if column is None else f' with --drop {column}'}"
                )
            means.append(float(_type(features).type(float(total) / count)))
    return means, lost


def _fill(samples: Samples, fill: list[float]) -> Samples:
    """Samples without NaN; the features come from the cache."""
    features = samples.features
    dtype = _type(features)
    key = cache.key_of([_VERSION, "fill", cache.array_sha256(features), fill])
    means = np.array(fill, dtype=dtype)

    def make(path: Path, _: bool) -> None:
        header = {"descr": dtype.str, "fortran_order": False, "shape": features.shape}
        with replacing(path) as temporary, temporary.open("wb") as file:
            npy_format.write_array_header_1_0(file, header)
            for rows in row_ranges(range(len(features)), 8 * features.shape[1], _BLOCK_BYTES):
                block = np.asarray(features[rows.start : rows.stop], dtype=dtype)
                file.write(np.where(np.isnan(block), means, block).astype(dtype).tobytes())

    path = cache.made("filled", f"{key}.npy", make)
    return replace(samples, features=np.load(path, mmap_mode="r", allow_pickle=False))


def _type(features: NDArray[np.generic]) -> np.dtype[Any]:
    """The smallest type that holds what these features are, and means."""
    return np.dtype("<f4" if np.can_cast(features.dtype, np.float32) else "<f8")
