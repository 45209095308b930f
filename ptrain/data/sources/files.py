"""Reading files of others: every way in which that goes wrong becomes a DataError of one line."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptrain.errors import DataError


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn what a reader raises about ``path`` into a DataError that says what kind of file was expected."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected {kind}: check the path") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder; expected {kind}: name the file in it") from None
    except EOFError:
        raise DataError(f"{path}: ends too early; expected {kind}: the file is truncated, fetch it again") from None
    except (zlib.error, zipfile.BadZipFile, RuntimeError) as error:
        # RuntimeError: an encrypted archive, or a compression that zipfile does not know
        raise DataError(f"{path}: damaged ({_line(error)}); expected {kind}: fetch or write it again") from None
    except OSError as error:
        # gzip's own errors are OSErrors without a number
        reason = error.strerror or _line(error)
        raise DataError(f"{path}: cannot be read ({reason}); expected {kind} that every rank can read") from None


def need_content(path: Path, kind: str) -> int:
    """Return the size of a file in bytes; raises DataError where it is missing, empty or a folder."""
    with reading(path, kind):
        if path.is_dir():
            raise IsADirectoryError
        size = path.stat().st_size
    if size == 0:
        raise DataError(f"{path}: is empty; expected {kind}: fetch it again")
    return size


def no_values(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Return an array without values for a shape with a 0 in it, whose other dimensions may be too large for numpy."""
    try:
        return np.empty(shape, dtype)
    except ValueError:
        return np.empty(tuple(min(size, 1) for size in shape), dtype)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
