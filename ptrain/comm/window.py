"""Memory that all ranks of a job share, where they are all on one machine."""

import contextlib
import mmap
import os
import tempfile
from pathlib import Path

import torch

from ptrain.comm.base import Communicator

FOLDER = Path("/dev/shm")  # noqa: S108
"""Files here are memory."""


def open_window(communicator: Communicator, num_bytes: int) -> tuple[torch.Tensor | None, str]:
    """Return ``num_bytes`` zeros of shared memory as a uint8 vector, or None and the reason. Every rank calls it.

    The file behind it has no name any more when this returns, so the memory is freed when the last rank ends, however
    it ends. All ranks get memory, or none does.
    """
    path, problem = _create(num_bytes) if communicator.info.rank == 0 else ("", "")
    path, problem = communicator.broadcast_object((path, problem))
    window = None
    try:
        if path:
            with open(path, "r+b", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as file:
                window = torch.frombuffer(mmap.mmap(file.fileno(), num_bytes), dtype=torch.uint8)
    except OSError as error:
        problem = f"{communicator.info.host} has no {path} of rank 0 ({error.strerror})"
    problems = [text for text in communicator.all_gather_object(problem) if text]
    if communicator.info.rank == 0 and path:
        with contextlib.suppress(OSError):
            os.unlink(path)
    return (None, problems[0]) if problems else (window, "")


def _create(num_bytes: int) -> tuple[str, str]:
    """The path of a new file of zeros, or an empty path and the reason."""
    path = ""
    try:
        descriptor, path = tempfile.mkstemp(prefix="ptrain-", dir=FOLDER)
        with os.fdopen(descriptor, "r+b") as file:
            # Fails now where there is not enough room, instead of with SIGBUS later.
            os.posix_fallocate(file.fileno(), 0, num_bytes)
    except OSError as error:
        if path:
            os.unlink(path)
        return "", f"no {num_bytes / 2**20:.1f} MiB in {FOLDER} ({error.strerror})"
    return path, ""
