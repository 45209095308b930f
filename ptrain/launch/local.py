"""Start ranks on this machine through mpirun, and stay with them until they end."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from ptrain.errors import EXIT_REQUEUE, LaunchError
from ptrain.launch import mpirun
from ptrain.launch.env import RankInfo
from ptrain.launch.noise import NoiseFilter
from ptrain.launch.orphans import follow_parent

GRACE = 5.0  # seconds that mpirun has to end its ranks and itself; Open MPI 5 takes half a second
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)

# Hydra exits with the bare number of the signal that ended a rank, and tells of it on stdout. These are no exit codes
# of ptrain.
HYDRA_SIGNALS = (signal.SIGABRT, signal.SIGBUS, signal.SIGKILL, signal.SIGUSR1, signal.SIGSEGV, signal.SIGTERM)


def must_start(ranks: int | None, info: RankInfo) -> bool:
    """Whether ``--ranks`` asks this process to start ranks, rather than to be one.

    Raises LaunchError where a launcher started another number of ranks already.
    """
    if ranks is None or ranks == info.size:
        return False
    if info.size > 1:
        raise LaunchError(
            f"--ranks {ranks} under {info.launcher}, which started {info.size}: "
            "leave --ranks out, or start ptrain once",
            agreed=True,
        )
    return True


def start(program: Sequence[str], ranks: int, environ: Mapping[str, str]) -> int:
    """Run a program on ``ranks`` ranks of this machine and return their exit code.

    SIGTERM, SIGUSR1, SIGHUP and the first SIGINT ask the ranks to stop at a step boundary (exit code 75); the second
    SIGINT ends them at once (130). A rank that a signal ended gives 128 plus its number. Raises LaunchError where
    there is no working mpirun.
    """
    launcher = mpirun.find(environ)
    variables = mpirun.environment(
        launcher,
        ranks,
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        environ,
        root=os.geteuid() == 0,
        job_id=uuid.uuid4().hex,
        columns=shutil.get_terminal_size().columns if os.isatty(1) else 0,
    )
    parent = os.getpid()
    # Open MPI's mpirun kills its ranks when it is asked to end; Hydra only asks them, but they notice its death.
    farewell = signal.SIGKILL if launcher.kind == "mpich" else signal.SIGTERM
    # A session of its own: Ctrl-C on the terminal reaches only us, and the ranks stop in good order.
    process = subprocess.Popen(
        mpirun.command(launcher, ranks, program),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=variables,
        start_new_session=True,
        preexec_fn=lambda: follow_parent(farewell, parent),
    )
    assert process.stderr is not None
    noise = NoiseFilter()
    pump = threading.Thread(target=_pump, args=(process.stderr, noise), daemon=True)
    pump.start()
    try:
        with _passing_on(process) as asked:
            process.wait()
    finally:
        _end(process)
        pump.join(GRACE)
    if process.returncode == -signal.SIGKILL:
        _write(b"error: mpirun was ended by signal 9 (SIGKILL), and its ranks with it\n")
    ended_by = noise.signal
    if launcher.kind == "mpich" and process.returncode in HYDRA_SIGNALS:
        ended_by = process.returncode
    return exit_code(process.returncode, ended_by, asked)


def exit_code(returned: int, rank_signal: int | None, asked: Sequence[int]) -> int:
    """Return ptrain's exit code from mpirun's, the signal that ended a rank, and the signals we were sent."""
    if asked.count(signal.SIGINT) > 1:
        return 128 + signal.SIGINT
    ended_by = rank_signal if rank_signal is not None else max(-returned, 0)
    # Asked before the ranks could listen: they stopped, before their first step.
    if asked and ended_by == signal.SIGUSR1:
        return EXIT_REQUEUE
    return 128 + ended_by if ended_by else returned


@contextlib.contextmanager
def _passing_on(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Pass signals on to the ranks while the block runs; the list is of those that came."""
    asked: list[int] = []

    def receive(number: int, _frame: Any) -> None:
        asked.append(number)
        if asked.count(signal.SIGINT) > 1:
            process.terminate()
            last_resort = threading.Timer(GRACE, process.kill)
            last_resort.daemon = True
            last_resort.start()
            return
        if number == signal.SIGINT:
            os.write(2, b"\nstopping at the next step; Ctrl-C again ends at once\n")
        process.send_signal(signal.SIGUSR1)

    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN or number != signal.SIGHUP:  # nohup stays in force
            signal.signal(number, receive)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _pump(source: IO[bytes], noise: NoiseFilter) -> None:
    """Copy mpirun's stderr to ours without its noise, until it ends."""
    while data := os.read(source.fileno(), 1 << 16):
        _write(noise.feed(data))
    _write(noise.close())


def _write(data: bytes) -> None:
    # Where nobody reads our stderr any more, the ranks must not block on it.
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(2, data) :]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End mpirun, and it its ranks, where it still runs."""
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
