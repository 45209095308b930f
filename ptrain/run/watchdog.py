"""Names the rank that hangs: a thread of every rank that sees whether the work still moves."""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ptrain.errors import EXIT_DEFECT
from ptrain.files import write_file

HANG = ".hang"
"""Folder below the run directory for the reports of ranks that waited too long."""
LEAST_SECONDS = 300.0
TIMES_LONGEST = 100.0
"""The default limit: this many times the longest stretch of work so far, and at least LEAST_SECONDS."""


def default_limit(longest: float) -> float:
    """Seconds without a sign of progress after which a rank counts as hanging."""
    return max(LEAST_SECONDS, TIMES_LONGEST * longest)


class Watchdog:
    """Ends the job where no progress is made for too long, and says which rank did not arrive.

    No message travels while all is well. When this rank has waited too long, it writes what it was doing into a file
    of ``folder``, which all ranks share; the ranks without such a file, and those that were computing and not waiting
    for others, are the ones to look at.

    ``folder``: made when needed. ``processes``: host and pid of every rank, in rank order. ``limit``: seconds without
    progress, or None for ``default_limit``. ``leave``: ends the process; replaced in tests.
    """

    def __init__(
        self,
        folder: Path,
        rank: int,
        processes: Sequence[Mapping[str, Any]],
        limit: float | None,
        leave: Callable[[int], NoReturn] = os._exit,
    ):
        self.folder, self.rank, self.processes, self.limit, self._leave = folder, rank, processes, limit, leave
        self._doing, self._waits, self._since = "starting", False, time.monotonic()
        self._longest = 0.0
        self._main = threading.get_ident()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def heartbeat(self, doing: str, waits: bool) -> None:
        """Say what this rank does from now on; ``waits`` where it cannot go on without the other ranks."""
        # No lock, as it is called several times a step: the watching thread may meet a mixture of old and new fields,
        # which moves one limit by one stretch of work at most.
        now = time.monotonic()
        self._longest = max(self._longest, now - self._since)
        self._doing, self._waits, self._since = doing, waits, now

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            limit = self.limit if self.limit is not None else default_limit(self._longest)
            left = self._since + limit - time.monotonic()
            if left <= 0:
                self._report(limit)
                return
            if self._end.wait(min(left, 1.0)):
                return

    def _report(self, limit: float) -> None:
        """Tell the others, name the ranks that did not arrive, print this rank's stack, and end the process."""
        doing = self._doing
        report = {"rank": self.rank, "doing": doing, "waits": self._waits}
        pause = min(5.0, limit / 4)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_file(self.folder / f"rank-{self.rank}.json", json.dumps(report))
        except OSError as error:
            _print(f"ptrain: warning: {self.folder} cannot be written ({error.strerror}): ranks are not compared")
        # Ranks started to wait at different moments: each gives the others time to say that they wait as well.
        time.sleep(pause)
        reports = self._reports()
        if self.rank == min([self.rank, *reports]):
            _print(accusation(reports, self.processes, doing, limit))
        # The message above all stacks, and every rank's stack out before the first death ends the job.
        time.sleep(pause / 2)
        frame = sys._current_frames().get(self._main)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else "it has ended\n"
        _print(f"{_named(self.rank, self.processes)}, {doing}, stack of its main thread:\n{stack}")
        time.sleep(pause / 2)
        # Not sys.exit: the main thread hangs in a library and would never see it.
        self._leave(EXIT_DEFECT)

    def _reports(self) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        for path in self.folder.glob("rank-*.json"):
            try:
                content = json.loads(path.read_text())
                found[int(content["rank"])] = content
            except (OSError, ValueError, KeyError):
                continue  # a rank whose report cannot be read counts as silent
        return found


def accusation(
    reports: Mapping[int, Mapping[str, Any]], processes: Sequence[Mapping[str, Any]], doing: str, limit: float
) -> str:
    """Name the ranks that did not arrive: silent ones, and those that wait for nobody."""
    silent = [rank for rank in range(len(processes)) if rank not in reports]
    busy = [rank for rank, report in sorted(reports.items()) if not report["waits"]]
    named = [f"{_named(rank, processes)} gives no sign of life" for rank in silent]
    named += [f"{_named(rank, processes)} is still {reports[rank]['doing']}" for rank in busy]
    if not named:
        named = ["all ranks wait for each other: a message was lost, or the network is down"]
    return f"ptrain: error: no progress for {limit:.3g} s, {doing}: {'; '.join(named)} (see --step-timeout)"


def _named(rank: int, processes: Sequence[Mapping[str, Any]]) -> str:
    return f"rank {rank} on {processes[rank]['host']} (pid {processes[rank]['pid']})"


def _print(text: str) -> None:
    # One write, so that the ranks' texts do not mix within a line.
    os.write(2, (text.rstrip("\n") + "\n").encode())
