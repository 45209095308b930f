"""The .npy files of a conversion: rows are written where they belong, the headers when all is known."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.samples import row_ranges
from ptrain.data.store.stream import Stream
from ptrain.errors import DataError

_HEADER_BYTES = 128
"""What numpy takes for the header of one or two dimensions; left free until the number of rows is known."""
_COPY_ROWS = 2**18
_TYPES = ("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8")


class RowFiles(ExitStack):
    """The files of a split while its rows are written: features.npy, and labels and groups as bare int64.

    ``write_integers`` makes labels.npy and groups.npy of these, as often as it is asked: a conversion may be
    interrupted there as well.
    """

    def __init__(self, stream: Stream, partial: Path, prefix: str):
        super().__init__()
        self.stream, self._start = stream, f"{partial}/{prefix}"
        self._open: dict[str, int] = {}

    def write(
        self, row: int, features: NDArray[np.generic], labels: NDArray[np.int64], groups: NDArray[Any] | None
    ) -> None:
        """Write rows from ``row`` on."""
        if features.shape != (len(labels), self.stream.num_features):
            raise DataError(
                f"{self.stream.name}: rows of {features.shape[1]} features with {len(labels)} labels at sample {row}; "
                f"expected {len(features)} rows of {self.stream.num_features} features: the file is damaged, write it "
                "again"
            )
        if not np.can_cast(features.dtype, self.stream.dtype, "same_kind"):
            raise DataError(
                f"{self.stream.name}: {features.dtype} at sample {row} where others are {self.stream.dtype}; expected "
                "one type for all samples: convert them"
            )
        self._put("features.npy", _HEADER_BYTES, row, np.ascontiguousarray(features, dtype=self.stream.dtype))
        self._put("labels.int64", 0, row, labels)
        if groups is not None:
            self._put("groups.int64", 0, row, np.ascontiguousarray(groups, dtype=np.int64))

    def sync(self) -> None:
        """Bring what was written to the disk."""
        for file in self._open.values():
            os.fdatasync(file)

    def _put(self, name: str, header: int, row: int, block: NDArray[Any]) -> None:
        if name not in self._open:
            self._open[name] = os.open(f"{self._start}{name}", os.O_WRONLY | os.O_CREAT, 0o666)
            self.callback(os.close, self._open[name])
        view = block.reshape(-1).view(np.uint8).data
        offset = header + row * (block.nbytes // max(1, len(block)))
        while view:  # one call writes at most 2 GiB, and less where the disk is nearly full
            written = os.pwrite(self._open[name], view, offset)
            view, offset = view[written:], offset + written


def write_header(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Write the header of a .npy file of version 1.0, whose room was left free."""
    text = str({"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    header = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little") + text.encode()
    # numpy asks for a newline at the end and a multiple of 64 bytes
    with path.open("r+b") as file:
        file.write(header.ljust(_HEADER_BYTES - 1) + b"\n")
        file.truncate(_HEADER_BYTES + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)


def write_integers(path: Path, parts: list[tuple[int, NDArray[np.int64] | None]]) -> None:
    """Write labels or groups in the smallest type that holds them; each part has rows, and an order to be put in."""
    rows = sum(count for count, _ in parts)
    stored = np.memmap(path.with_suffix(".int64"), np.int64, "r", 0, (rows,)) if rows else np.zeros(0, np.int64)

    def blocks() -> Iterator[NDArray[np.int64]]:
        first = 0
        for count, order in parts:
            for part in row_ranges(range(first, first + count), 1, _COPY_ROWS):
                block = stored[part.start : part.stop]
                yield block if order is None else order[block]
            first += count

    low, high = 0, 0
    for block in blocks():
        low, high = min(low, int(block.min())), max(high, int(block.max()))
    dtype = smallest_type(low, high)
    with path.open("wb") as file:
        file.write(bytes(_HEADER_BYTES))
        for block in blocks():
            file.write(block.astype(dtype).tobytes())
    write_header(path, dtype, (rows,))


def smallest_type(low: int, high: int) -> np.dtype[Any]:
    """The smallest integer type that holds these numbers of 64 bits."""
    fits = (name for name in _TYPES if np.iinfo(name).min <= low and high <= np.iinfo(name).max)
    return np.dtype(next(fits, "<i8"))
