"""Where converted data are kept, and how several ranks and jobs make one thing once.

The folder is $PTRAIN_CACHE, else ptrain in $XDG_CACHE_HOME or ~/.cache. Everything in it can be made again: removing it
costs time only. Names are SHA-256 of what an entry was made from, so nothing in it is ever out of date.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptrain.data.store.reading import need_file, reading
from ptrain.errors import DataError
from ptrain.files import write_file

_CHUNK_ROWS = 2**16
_LARGE = 64 * 2**20  # less is hashed within a tenth of a second
_AT_REST = 10 * 10**9  # nanoseconds: coarse clocks of network file systems and FAT step by up to 2 s
# what NFS without a lock daemon, Lustre without flock and FUSE answer
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_known: dict["Stamp", str] = {}


class Stamp(NamedTuple):
    """A file as it was found; another one under the same path means that it was changed."""

    path: Path
    device: int
    inode: int
    size: int
    modified: int
    """In nanoseconds."""


def root(environ: Mapping[str, str] = os.environ) -> Path:
    """The cache folder."""
    return Path(environ["PTRAIN_CACHE"]) if environ.get("PTRAIN_CACHE") else user_cache(environ)


def user_cache(environ: Mapping[str, str]) -> Path:
    """The folder ptrain in the user's cache folder."""
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ptrain"


def stamp(path: Path, kind: str = "a file of data") -> Stamp:
    """The stamp of a regular file that can be read; raises DataError for anything else, a FIFO included."""
    found = need_file(path, kind)
    with reading(path, kind):
        path.open("rb").close()  # whether it may be read is known only by trying
    return Stamp(path=path, device=found.st_dev, inode=found.st_ino, size=found.st_size, modified=found.st_mtime_ns)


def need_same(before: Stamp) -> None:
    """Raise DataError where the file was written, replaced or removed since ``before``."""
    with contextlib.suppress(DataError):
        if stamp(before.path) == before:
            return
    raise DataError(
        f"{before.path}: was changed while it was read; expected a file at rest: start again when it is written"
    )


def file_sha256(found: Stamp) -> str:
    """The SHA-256 of a file's content; computed once a process. Raises DataError where it changes meanwhile.

    That of a large file is remembered in the cache by its stamp, unless the file was just written: a change within the
    same tick of the clock would not show.
    """
    if found not in _known:
        key = key_of([str(found.path.absolute()), *found[1:]])
        lasts = found.size >= _LARGE and time.time_ns() - found.modified > _AT_REST
        _known[found] = remembered("hashes", key, lambda: _hashed(found)) if lasts else _hashed(found)
    return _known[found]


def _hashed(found: Stamp) -> str:
    with reading(found.path, "a file of data"):
        digest = content_sha256(found.path)
    need_same(found)
    return digest


def content_sha256(path: Path) -> str:
    """The SHA-256 of what is in a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(content: Any) -> str:
    """The SHA-256 of something that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def array_sha256(array: NDArray[np.generic]) -> str:
    """The SHA-256 of an array's shape, type and content, whatever its byte order."""
    digest = hashlib.sha256(f"{array.shape} {array.dtype.newbyteorder('<').str}".encode())
    for start in range(0, len(array), _CHUNK_ROWS):
        block = array[start : start + _CHUNK_ROWS]
        digest.update(np.ascontiguousarray(block, dtype=block.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def made(kind: str, key: str, make: Callable[[Path, bool], None], folder: Path | None = None) -> Path:
    """The entry ``key`` of the cache, made by exactly one of the processes that ask for it at the same time.

    ``make(path, alone)`` must put it there atomically, by renaming. ``alone`` is False on file systems without locks,
    where two processes may make the same thing: then it needs temporary names of its own. A process that dies
    releases its lock. Raises DataError where the cache cannot be written.
    """
    base = root() if folder is None else folder
    path = base / kind / key
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent / f".{key}.lock") as alone:
            if not path.exists():  # another process may have made it while this one waited
                make(path, alone)
    except OSError as error:
        raise DataError(
            f"the cache {base} cannot be written ({error.strerror or error}); expected a folder with room for the "
            "converted data: free space, or set PTRAIN_CACHE to another folder"
        ) from None
    return path


def remembered(kind: str, key: str, compute: Callable[[], Any]) -> Any:
    """The JSON entry ``key`` of the cache, computed by the first that asks for it."""
    found = made(kind, f"{key}.json", lambda path, _: write_file(path, json.dumps(compute())))
    return json.loads(found.read_bytes())


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold an exclusive lock; yields False where the file system has none."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            yield False
            return
        try:
            yield True
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)
