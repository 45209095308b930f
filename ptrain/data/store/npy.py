"""A .npy file, memory-mapped. Pickled objects are never read."""

import math
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from ptrain.data.store.reading import need_content, no_values, one_line, reading
from ptrain.errors import DataError

_KIND = "a .npy file"


def read(path: Path) -> NDArray[np.generic]:
    """The array of a .npy file as a read-only memory map; raises DataError for anything else."""
    size = need_content(path, _KIND)
    with reading(path, _KIND), path.open("rb") as stream:
        dtype, shape, fortran = read_header(stream, str(path))
        offset = stream.tell()
        need_bytes(str(path), size - offset, dtype, shape)
        if math.prod(shape) == 0:
            return no_values(shape, dtype)
        return np.memmap(stream, dtype, "r", offset, shape, "F" if fortran else "C")


def read_header(stream: BinaryIO, origin: str) -> tuple[np.dtype[np.generic], tuple[int, ...], bool]:
    """Type, shape and whether the order is Fortran's of the .npy content that starts here."""
    try:
        version = npy_format.read_magic(stream)
        header = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers that Python 2 wrote
            shape, fortran, dtype = header(stream)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile):
        raise
    except Exception as error:
        # the header is text that numpy parses as Python: beside ValueError it may raise what a parser raises
        reason = one_line(error)[:120]
        raise DataError(f"{origin}: not an array of numpy ({reason}); expected what numpy.save writes") from None
    if dtype.hasobject:
        raise DataError(
            f"{origin}: holds pickled Python objects, which are never read; expected numbers: "
            "convert the array, such as with astype(float), and save it again"
        )
    return dtype, shape, fortran


def need_bytes(origin: str, found: int, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
    """Raise DataError unless exactly the bytes of this shape are there, before memory is taken for them."""
    declared = math.prod(shape) * dtype.itemsize
    if found != declared or any(size < 0 for size in shape):
        raise DataError(
            f"{origin}: {found} bytes of values; expected {declared} for {dtype} of shape {shape}: "
            "the file is truncated or damaged, write it again"
        )
