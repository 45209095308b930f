"""The bytes of a table of text: as they lie there, or unpacked while they are read."""

import io
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from ptrain.data.sources.table_numbers import SAFE_DIGITS
from ptrain.data.store.reading import check_expansion, need_package
from ptrain.errors import DataError

_PART_BYTES = 2**20
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xfd7zXZ": "packed by xz",
    b"7z\xbc\xaf": "a 7z archive",
}


def opened(path: Path, packing: str | None) -> BinaryIO:
    """The bytes of a file, unpacked. Its reads raise OSError or pyarrow's errors where it is damaged."""
    file = path.open("rb")
    if packing is None:
        return file
    pyarrow = need_package("pyarrow", str(path), None)
    unpacked: BinaryIO = _Unpacked(pyarrow.CompressedInputStream(pyarrow.PythonFile(file), packing), path)  # type: ignore[assignment]
    return unpacked


def text_of(path: Path, packing: str | None, encoding: str) -> TextIO:
    """The text of a file with its line breaks, for a second look at it: what is no text is replaced."""
    return io.TextIOWrapper(opened(path, packing), encoding=encoding, errors="replace", newline="")


class _Unpacked(io.RawIOBase):
    """What comes out of a packed file; raises DataError where that is more than it can honestly hold."""

    def __init__(self, stream: Any, path: Path) -> None:
        super().__init__()
        self._stream, self._path, self._size, self._count = stream, path, path.stat().st_size, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill as much of the buffer as there is."""
        found = self._stream.read(len(buffer))
        self._count += len(found)
        check_expansion(str(self._path), self._count, self._size)
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        """Close the file as well."""
        self._stream.close()
        super().close()


def packing_of(path: Path) -> str | None:
    """How a file is packed: gzip, bz2, zstd or not at all. Raises DataError for an archive."""
    with path.open("rb") as file:
        start = file.read(6)
    for mark, what in _ARCHIVES.items():
        if start.startswith(mark):
            raise DataError(f"{path}: is {what}; expected a table of text: unpack it, or save it as CSV")
    return next((packing for mark, packing in _PACKED.items() if start.startswith(mark)), None)


def read(file: BinaryIO, size: int) -> bytes:
    """The next bytes of a file, as many as are asked for where there are so many."""
    parts, left = [], size
    while left and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def may_hold_codes(file: BinaryIO, delimiter: str) -> bool:
    """Whether a value may be a whole number that loses something as a number: zeros in front, or many digits.

    To be read through, which costs about 3 ms a MiB. The text is UTF-8.
    """
    before = np.isin(np.arange(256), [*b'\n\r\t "', *delimiter.encode()])
    tail = b"\n"
    while part := file.read(_PART_BYTES):
        found = np.frombuffer(tail + part, np.uint8)
        digits = (found >= ord("0")) & (found <= ord("9"))
        zeros = np.flatnonzero(found[1:-1] == ord("0"))
        if (before[found[zeros]] & digits[zeros + 2]).any():
            return True
        many = digits
        for length in (1, 2, 4, 8):  # runs of 2, 4, 8, 16 digits
            many = many[:-length] & many[length:]
        if many.any():
            return True
        tail = (tail + part)[-SAFE_DIGITS:]
    return False
