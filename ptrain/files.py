"""The one way to write a file or a folder so that it is there whole or not at all, also after a crash.

What is written lies beside its target under a hidden name that no other process uses. Its content is made durable, then
it is renamed, then the rename is made durable. A reader sees what was there before or what is there now, never a part.
What file systems need besides (a cluster's NFS, say) belongs here and nowhere else. Every function raises OSError.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME_BYTES = 200
"""Bytes of the target's name that a temporary name repeats: the whole stays below the 255 of most file systems."""
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)
"""What CIFS, FUSE and folders without read permission answer to the fsync of a folder."""


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file, text as UTF-8; one that is there is replaced."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a free name beside ``path`` for the block to write a file or a folder to: at its end it becomes ``path``.

    Where the block raises, nothing of it is left, and what was at ``path`` stays.
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        publish(temporary, path)
    finally:
        discard(temporary)


def temporary_name(path: Path) -> Path:
    """Choose a free, hidden name beside ``path``, for writers that ``replacing`` does not fit."""
    # Random: the ranks of a job may have the same process id, on hosts of the same name where these are containers.
    start = os.fsencode(path.name)[:_NAME_BYTES].decode(errors="ignore")
    return path.with_name(f".{start}.{os.urandom(8).hex()}.tmp")


def publish(temporary: Path, path: Path) -> None:
    """Make a file, or a folder and all files in it, durable and give it its name; what had this name is replaced."""
    # Content first: after a power cut the new name could otherwise lead to an empty file.
    for folder, _, names in os.walk(temporary, topdown=False):
        for name in names:
            _sync(Path(folder, name))
        _sync_folder(Path(folder))
    if not temporary.is_dir():
        _sync(temporary)
    aside: list[Path] = []
    try:
        while True:
            try:
                temporary.rename(path)
                break
            except OSError as error:
                # A folder takes the name of an empty one only. Again and again, since another process may be as quick.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                aside.append(temporary_name(path))
                with contextlib.suppress(FileNotFoundError):
                    path.rename(aside[-1])
        _sync_folder(path.parent)  # or the rename may be undone by a power cut
    finally:
        for former in aside:
            discard(former)


def discard(temporary: Path) -> None:
    """Remove what was not published. An error here is of no use to anybody: the one that led here is."""
    if temporary.is_dir() and not temporary.is_symlink():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_leftovers(folder: Path, name: str) -> None:
    """Remove what killed processes left of targets called ``name`` (a pattern of glob) that nobody writes now."""
    for leftover in folder.glob(f".{name}.*.tmp"):
        discard(leftover)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    try:
        _sync(path)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
