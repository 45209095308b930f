"""No process outlives the one that started it, however that one ended."""

import os
import signal
import sys
from collections.abc import Mapping

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def follow_parent(number: int, parent: int | None = None) -> None:
    """Ask the kernel to send this process signal ``number`` when its parent ends. Linux only, elsewhere nothing.

    ``parent`` is the parent's process id where it is known: a parent in a container may have the 1 of an orphanage.
    """
    if sys.platform == "linux":
        import ctypes  # here, since most processes never need it

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
        ended_before = os.getppid() == 1 if parent is None else os.getppid() != parent
        if ended_before:
            os.kill(os.getpid(), number)


def follow_launcher(environ: Mapping[str, str]) -> None:
    """End with mpirun in a rank that ``ptrain --ranks`` started: mpirun tells its ranks unless it is killed itself."""
    if "PTRAIN_JOB_ID" in environ:
        follow_parent(signal.SIGKILL)
