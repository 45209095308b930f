"""SIGTERM, SIGUSR1 and Ctrl-C ask for a stop at the next step boundary; the handlers only set a flag."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Signals:
    """Whether a stop was asked for."""

    def __init__(self) -> None:
        self._requested = False

    def requested(self) -> bool:
        """Whether a signal arrived on this rank."""
        return self._requested

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the request; a second Ctrl-C interrupts at once."""
        # Only a flag: a handler runs between two instructions of the main thread, in the middle of a step.
        self._requested = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_on_signals() -> Iterator[Signals]:
    """Handle the signals inside the block and restore the former handlers behind it."""
    signals = Signals()
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    former = {number: signal.signal(number, signals.handle) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
