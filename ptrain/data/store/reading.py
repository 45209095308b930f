"""Reading files of others: every way in which that goes wrong becomes a DataError of one line."""

import contextlib
import importlib
import os
import stat
import sys
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ptrain.errors import DataError, PtrainError

Item = TypeVar("Item")

SMALL = 64 * 2**20
"""Bytes that an array may declare whatever the size of its file."""
RATIO = 1100
"""How many times its size a file may unpack to beyond that: deflate reaches 1032 on constant data."""


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
        raise DataError(f"{path}: damaged ({one_line(error)}); expected {kind}: fetch or write it again") from None
    except OSError as error:
        # gzip's own errors are OSErrors without a number
        reason = error.strerror or one_line(error)
        raise DataError(f"{path}: cannot be read ({reason}); expected {kind} that every rank can read") from None
    except MemoryError:
        raise DataError(f"{path}: does not fit into memory; expected {kind} that does: cut it into parts") from None


@contextmanager
def decoding(origin: str, kind: str) -> Iterator[None]:
    """Turn whatever a library of others raises over damaged content into a DataError: no list of it is complete.

    Warnings of the library count as damage neither here nor on the terminal.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PtrainError:
        raise
    except MemoryError:
        raise DataError(f"{origin}: does not fit into memory; expected {kind} that does: cut it into parts") from None
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"[:200]
        raise DataError(f"{origin}: damaged ({reason}); expected {kind}: fetch or write it again") from None


def need_content(path: Path, kind: str) -> int:
    """The size of a file in bytes; raises DataError where it is missing, empty, or no regular file."""
    found = need_file(path, kind)
    if found.st_size == 0:
        raise DataError(f"{path}: is empty; expected {kind}: fetch it again")
    return found.st_size


def need_file(path: Path, kind: str) -> os.stat_result:
    """What the system knows of a regular file, which may be empty; raises DataError for anything else.

    To be called before any open: that of a FIFO would wait for a writer.
    """
    found = _stat(path, "file", kind)
    if stat.S_ISDIR(found.st_mode):
        raise DataError(f"{path}: is a folder; expected {kind}: name the file in it")
    if not stat.S_ISREG(found.st_mode):
        sort = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}.get(stat.S_IFMT(found.st_mode), "a device")
        raise DataError(f"{path}: is {sort}; expected {kind}: store the data in a regular file first")
    return found


def need_folder(path: Path, kind: str) -> None:
    """Raise DataError unless ``path`` is a folder."""
    if not stat.S_ISDIR(_stat(path, "folder", kind).st_mode):
        raise DataError(f"{path}: is no folder; expected {kind}: check the path")


def _stat(path: Path, what: str, kind: str) -> os.stat_result:
    try:
        with reading(path, kind):
            return path.stat()
    except ValueError:  # a zero byte, which no path can have
        raise DataError(f"{path}: no such {what}; expected {kind}: check the path") from None


def check_expansion(origin: str, declared: int, stored: int) -> None:
    """Raise DataError where a file of ``stored`` bytes declares values of far more bytes than it can honestly hold."""
    if declared > max(SMALL, RATIO * stored):
        raise DataError(
            f"{origin}: declares {declared} bytes of values in {stored} bytes on disk; expected at most {RATIO} times "
            "as many: damaged, or made to fill the memory; write it again"
        )


def need_package(module: str, origin: str, extra: str | None = "data") -> ModuleType:
    """A module that is loaded late; raises DataError with the command that installs it where it is missing.

    ``extra`` is the optional dependency of ptrain that it belongs to, None where it comes with ptrain.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        wanted = package if extra is None else f"'ptrain[{extra}]'"
        raise DataError(
            f"{origin}: needs {package}, which cannot be imported ({one_line(error)}); install it: pip install {wanted}"
        ) from None


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Silence what a library in C writes on stderr itself; what is wrong is told by the error that it returns."""
    with contextlib.suppress(AttributeError):  # no stderr at all
        sys.stderr.flush()
    with open(os.devnull, "wb") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
    try:
        with quiet_callbacks():
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def quiet_callbacks() -> Iterator[None]:
    """Drop errors inside functions that a library in C calls, such as text of a damaged file that is no UTF-8."""
    # Python prints what is raised where C called it, since it cannot go on from there
    kept = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = kept


def quietly(values: Iterable[Item]) -> Iterator[Item]:
    """Yield the values of a library in C, with its callbacks quiet while it makes them."""
    iterator, end = iter(values), object()
    while True:
        with quiet_callbacks():
            value = next(iterator, end)
        if value is end:
            return
        yield cast("Item", value)


def no_values(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """An array without values for a shape with a 0 in it, whose other dimensions may be too large for numpy."""
    try:
        return np.empty(shape, dtype)
    except ValueError:
        return np.empty(tuple(min(size, 1) for size in shape), dtype)


def one_line(error: BaseException) -> str:
    """What an exception says, for a message of one line."""
    return " ".join(str(error).split())[:200]
