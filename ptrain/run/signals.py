"""SIGTERM, SIGUSR1 and Ctrl-C ask for a stop at the next step boundary; the handlers only set a flag."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Handle the signals inside the block and restore the former handlers behind it; yield what says if one arrived."""
    requested = False

    def handle(number: int, _frame: FrameType | None) -> None:
        # Only a flag: a handler runs between two instructions of the main thread, in the middle of a step.
        nonlocal requested
        requested = True
        if number == signal.SIGINT:  # a second Ctrl-C interrupts at once
            signal.signal(signal.SIGINT, signal.default_int_handler)

    former = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    try:
        yield lambda: requested
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
