"""Start a crashed local run again from its last checkpoint: ``ptrain train --ranks N --restarts K``."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

from ptrain.errors import EXIT_DIVERGED, EXIT_DONE, EXIT_INPUT, EXIT_REQUEUE

FINAL = (EXIT_DONE, EXIT_INPUT, EXIT_DIVERGED, EXIT_REQUEUE, 128 + signal.SIGINT)
"""Exit codes after which starting again would change nothing, or is not wanted."""


def newest_checkpoint(run_dir: Path) -> str:
    """The name of the newest checkpoint, empty where there is none."""
    return max((path.name for path in (run_dir / "checkpoints").glob("step-*")), default="")


def supervise(start: Callable[[int, bool], int], run_dir: Path, ranks: int, restarts: int) -> int:
    """Call ``start(ranks, again)`` until it ends in good order or was started again ``restarts`` times.

    Returns the last exit code. ``again`` says whether the run is to be continued.

    Where a start got no further than the one before, the next has one rank less: a core, a GPU or a share of the
    memory may be gone. The result does not depend on the number of ranks.
    """
    before = newest_checkpoint(run_dir)
    code = start(ranks, False)
    for attempt in range(1, restarts + 1):
        if code in FINAL:
            return code
        reached = newest_checkpoint(run_dir)
        if attempt > 1 and reached == before and ranks > 1:
            ranks -= 1
        before = reached
        told = f"ptrain: the run ended with exit code {code}; restart {attempt} of {restarts} on {ranks} ranks from"
        print(told, reached or "the beginning", file=sys.stderr, flush=True)
        code = start(ranks, True)
    return code
