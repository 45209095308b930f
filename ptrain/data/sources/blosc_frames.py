"""Chunks of Zarr that Blosc packed: c-blosc trusts the lengths inside a frame and reads past its end where they lie."""

import struct
from typing import Any

import numpy as np

from ptrain.data.sources.arrays import READ_BYTES
from ptrain.data.store.reading import need_package

_HEADER = struct.Struct("<4B3I")  # versions, flags, type size; bytes unpacked, of a block, packed
_STORED = 2  # flag: the values are not compressed


def check_frame(frame: bytes) -> None:
    """Raise ValueError unless every length and offset in a frame of Blosc 1 stays inside it.

    Source: the format's description, README_HEADER.rst of c-blosc.
    """
    if len(frame) < _HEADER.size:
        raise ValueError(f"a Blosc frame of {len(frame)} bytes")
    _, _, flags, type_size, unpacked, block, packed = _HEADER.unpack_from(frame)
    if packed > len(frame) or packed < _HEADER.size:
        raise ValueError(f"a Blosc frame says that it has {packed} bytes and has {len(frame)}")
    if unpacked > READ_BYTES or type_size == 0:
        raise ValueError(f"a Blosc frame declares {unpacked} bytes of values of {type_size} bytes")
    if unpacked == 0:
        return
    if block == 0 or block > unpacked:
        raise ValueError(f"a Blosc frame of {unpacked} bytes in blocks of {block}")
    if flags & _STORED:
        if packed < _HEADER.size + unpacked:
            raise ValueError(f"a Blosc frame of {packed} bytes stores {unpacked}")
        return
    first = _HEADER.size + 4 * -(-unpacked // block)
    if first > packed:
        raise ValueError("a Blosc frame ends inside the list of its blocks")
    starts = np.frombuffer(frame, "<i4", -(-unpacked // block), _HEADER.size)
    if (starts < first).any() or (starts > packed - 4).any():
        raise ValueError("a Blosc frame has blocks outside of it")


def guard() -> None:
    """Let numcodecs check every frame before c-blosc sees it; Zarr reads all its versions through that class."""
    made: Any = need_package("numcodecs.blosc", "zarr").Blosc
    if hasattr(made, "unguarded"):
        return
    made.unguarded = made.decode

    def decode(self: Any, buf: Any, out: Any = None) -> Any:
        check_frame(bytes(buf))
        return self.unguarded(buf, out)

    made.decode = decode
