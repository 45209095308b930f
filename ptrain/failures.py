"""How a process ends after an error: the message printed once for the whole job, the exit code, and no hanging rank."""

import contextlib
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Mapping

from ptrain.errors import EXIT_DEFECT, PtrainError, StopRequested

EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE

GRACE = 2.0  # seconds that rank 0 has to print the same error and to end the others through the launcher


def end(error: BaseException, environ: Mapping[str, str]) -> int:
    """Print ``error`` as the command line shows it and return the exit code.

    In a job of several ranks an error that is not marked as agreed ends the process here and now: the other ranks may
    be waiting in a collective operation, and an orderly end would wait for them in the MPI library's finalize.
    """
    from ptrain.launch import env

    rank, size = 0, 1  # stays where the launcher's variables contradict each other: that is the error to print
    with contextlib.suppress(PtrainError):
        info = env.detect(environ)
        rank, size = info.rank, info.size
    code, message = describe(error, rank, size)
    agreed = size == 1 or (isinstance(error, PtrainError) and error.agreed)
    if rank != 0 or not agreed:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the launcher sends it as soon as a rank leaves with a code
    if rank != 0:
        time.sleep(GRACE / 2 if agreed else GRACE)  # rank 0 has yet to print
    if rank == 0 or not (agreed or isinstance(error, KeyboardInterrupt)):
        _print(message)
    if not agreed:
        os._exit(code)
    return code


def describe(error: BaseException, rank: int, size: int) -> tuple[int, str]:
    """The exit code and the text for an error of one rank; an empty text is printed by nobody."""
    here = f"rank {rank} on {os.uname().nodename}"
    if isinstance(error, PtrainError):
        prefix = "ptrain: " if isinstance(error, StopRequested) else "ptrain: error: "
        where = f"{here}: " if size > 1 and rank > 0 and not error.agreed else ""
        return error.exit_code, f"{prefix}{where}{' '.join(str(error).split())}\n"
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED, "ptrain: interrupted\n"
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        return EXIT_BROKEN_PIPE, ""
    lines = "".join(traceback.format_exception(error))
    cause = traceback.format_exception_only(error)[-1].strip()
    return EXIT_DEFECT, f"{lines}ptrain: error: {here}: {cause} (not foreseen; please report it with the lines above)\n"


def _print(message: str) -> None:
    try:
        sys.stdout.flush()
        sys.stderr.write(message)
        sys.stderr.flush()
    except (BrokenPipeError, ValueError):  # nobody reads any more; what is buffered must not fail again at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _reader_is_gone() -> bool:
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
