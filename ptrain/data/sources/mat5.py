"""MATLAB's .mat files of version 5, which MATLAB writes with -v6 and, compressed, with -v7: numeric variables alone.

A file is a header of 128 bytes and elements, each a type, a size and content. An element is a matrix, or a zlib stream
with a matrix in it. A matrix is elements again: flags, dimensions, name, values in MATLAB's order (columns first). Read
here and not by scipy, whose reader runs past its buffers on damaged files. Source: The MathWorks, "MAT-File Format".
"""

import math
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptrain.errors import DataError

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_VALUES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_KINDS = {
    1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 6: "double", 7: "single", 8: "int8", 9: "uint8",
    10: "int16", 11: "uint16", 12: "int32", 13: "uint32", 14: "int64", 15: "uint64", 16: "function", 17: "opaque",
}  # fmt: skip
NUMBERS = {
    "double": "f8", "single": "f4", "logical": "?", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2",
    "int32": "i4", "uint32": "u4", "int64": "i8", "uint64": "u8",
}  # fmt: skip
"""MATLAB's classes of real numbers."""
_COMPLEX, _LOGICAL = 0x08, 0x02
_MOST_VARIABLES = 10_000
_MOST_DIMENSIONS = 32
_NAME = 63  # letters, by MATLAB's own limit
_CHUNK = 2**18


class Variable(NamedTuple):
    """A variable as its header has it."""

    name: str
    shape: tuple[int, ...]
    """As in MATLAB."""
    kind: str
    """MATLAB's class, such as double or struct."""
    stored: np.dtype[Any] = np.dtype("f8")
    """Type of the values in the file, which may be narrower than the class."""
    offset: int = 0
    """Of the values, in the file or in what the element unpacks to."""
    packed: tuple[int, int] | None = None
    """Offset and size of the zlib stream."""


def variables(path: Path, stream: BinaryIO, size: int) -> dict[str, Variable]:
    """The variables of a file by name, from their headers. Raises DataError where it is damaged."""
    header = stream.read(_HEADER)
    order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
    if order is None or struct.unpack(f"{order}H", header[124:126])[0] != 0x0100:
        raise DataError(
            f"{path}: no header of a .mat file of version 5, 7 or 7.3; expected one: save it with -v7.3, or it is "
            "damaged"
        )
    found: dict[str, Variable] = {}
    offset = _HEADER
    while offset < size:
        if len(found) >= _MOST_VARIABLES:
            raise DataError(f"{path}: more than {_MOST_VARIABLES} variables; expected fewer: save what is needed")
        stream.seek(offset)
        head = _Part(path, stream, 8, False, order)
        kind, length = head.number(), head.number()
        start = offset + 8
        if length > size - start:
            raise DataError(
                f"{path}: an element of {length} bytes at byte {offset} of {size}; expected a whole file: it is "
                "truncated or damaged, save or fetch it again"
            )
        part = _Part(path, stream, length, kind == _COMPRESSED, order)
        packed = (start, length) if kind == _COMPRESSED else None
        inner = struct.unpack(f"{order}II", part.read(8))[0] if packed else kind
        if inner != _MATRIX:
            raise DataError(f"{path}: an element of type {kind} at byte {offset}; expected a matrix: it is damaged")
        variable = _matrix(path, part, packed)
        found[variable.name] = variable
        offset = start + length
    return found


def values(path: Path, variable: Variable, stream: BinaryIO) -> NDArray[np.generic]:
    """The values of a variable, in MATLAB's shape and the type that they are stored in.

    They are mapped where they are not compressed; else they are unpacked whole.
    """
    count = math.prod(variable.shape)
    if variable.packed is None:
        return np.memmap(stream, variable.stored, "r", variable.offset, variable.shape, "F")
    start, length = variable.packed
    stream.seek(start)
    part = _Part(path, stream, length, True)
    part.read(variable.offset)
    content = part.read(count * variable.stored.itemsize)
    return np.frombuffer(content, variable.stored).reshape(variable.shape, order="F")


class _Part:
    """Reads an element of a file, or what a zlib stream there unpacks to, no further than it is asked for.

    ``offset`` is how far it is: in the file, or in what was unpacked. ``order`` is the byte order of numbers.
    """

    def __init__(self, path: Path, stream: BinaryIO, length: int, packed: bool, order: str = "<") -> None:
        self.path, self.stream, self.left, self.order = path, stream, length, order
        self.zlib, self.rest = zlib.decompressobj() if packed else None, b""
        self.offset = 0 if packed else stream.tell()

    def read(self, count: int) -> bytes:
        """Read so many bytes; raises DataError where they are not there."""
        content = bytearray() if self.zlib else bytearray(self._raw(count))
        while self.zlib and len(content) < count and not self.zlib.eof:
            self.rest = self.rest or self._raw(_CHUNK)
            if not self.rest:
                break
            content += self.zlib.decompress(self.rest, min(count - len(content), _CHUNK))
            self.rest = self.zlib.unconsumed_tail
        if len(content) < count:
            raise DataError(
                f"{self.path}: ends too early; expected a .mat file: it is truncated, save or fetch it again"
            )
        self.offset += len(content)
        return bytes(content)

    def _raw(self, count: int) -> bytes:
        content = self.stream.read(min(count, self.left))
        self.left -= len(content)
        return content

    def number(self) -> int:
        """The next 4 bytes, without sign."""
        return int(struct.unpack(f"{self.order}I", self.read(4))[0])

    def tag(self) -> tuple[int, int, bool]:
        """Type and size of the next element, and whether its content, of up to 4 bytes, is inside the tag."""
        first = self.number()
        return (first & 0xFFFF, first >> 16, True) if first >> 16 else (first, self.number(), False)

    def element(self, kind: int, most: int) -> bytes:
        """The content of the next element, which is of this type and of at most so many bytes."""
        code, size, small = self.tag()
        if code != kind or size > (4 if small else most):
            raise DataError(
                f"{self.path}: an element of type {code} with {size} bytes; expected type {kind}: it is damaged"
            )
        content = self.read(size)
        self.read((-size) % (4 if small else 8))  # elements start at multiples of 8 bytes
        return content


def _matrix(path: Path, part: _Part, packed: tuple[int, int] | None) -> Variable:
    """The variable whose flags, dimensions and name come next."""
    flags = struct.unpack(f"{part.order}I", part.element(6, 8)[:4].ljust(4, b"\0"))[0]
    shape = tuple(np.frombuffer(part.element(5, 4 * _MOST_DIMENSIONS), f"{part.order}i4").tolist())
    name = part.element(1, _NAME + 1).decode("latin-1").rstrip("\0")
    kind = "logical" if flags >> 8 & _LOGICAL else _KINDS.get(flags & 0xFF, f"number {flags & 0xFF}")
    kind = "complex" if flags >> 8 & _COMPLEX and kind in NUMBERS else kind
    if len(shape) < 2 or any(side < 0 for side in shape) or not name.isprintable():
        raise DataError(f"{path}: a variable of shape {shape}; expected two or more dimensions: the file is damaged")
    if kind not in NUMBERS or math.prod(shape) == 0:
        return Variable(name=name, shape=shape, kind=kind)
    code, size, _ = part.tag()
    stored = np.dtype(part.order + _VALUES[code]) if code in _VALUES else None
    if stored is None or size != math.prod(shape) * stored.itemsize:
        raise DataError(
            f"{path}:{name}: {size} bytes of values of type {code}; expected a number for each element of shape "
            f"{shape}: the file is damaged, save it again"
        )
    if packed is None and size > part.left:
        raise DataError(f"{path}:{name}: ends inside its values; expected {size} bytes: save or fetch the file again")
    return Variable(name=name, shape=shape, kind=kind, stored=stored, offset=part.offset, packed=packed)
