"""Threads of a rank: each computes whole shards, or a slice of a vector, with single-threaded kernels.

What one shard computes therefore never depends on the number of threads, without any trust in how a matrix library
shares a product out.
"""

import os
import threading
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from ptrain.native import calls
from ptrain.native.choice import instruction_set

SPINS = 20_000
"""Looks at a barrier before a thread sleeps: some hundred microseconds, longer than a wake-up by the kernel takes."""


class Workers:
    """``count`` threads, the caller's own among them. A barrier stands before and behind each task."""

    def __init__(self, count: int):
        torch.set_num_threads(1)  # or torch would share a shard's products out among threads of its own
        self.count = count
        self._task: Callable[[int], None] | None = None
        self._errors: list[BaseException] = []
        self._barrier: Callable[[], object] = (
            threading.Barrier(count).wait if instruction_set() is None else thread_barrier(count)
        )
        self._threads = [threading.Thread(target=self._work, args=(index,), daemon=True) for index in range(1, count)]
        for thread in self._threads:
            thread.start()

    def _work(self, index: int) -> None:
        torch.set_num_threads(1)
        while True:
            self._barrier()
            if self._task is None:
                return
            self._attempt(index)
            self._barrier()

    def _attempt(self, index: int) -> None:
        assert self._task is not None
        try:
            self._task(index)
        except BaseException as error:
            self._errors.append(error)

    def run(self, task: Callable[[int], None]) -> None:
        """Call ``task(0) … task(count - 1)``, each in its thread; return when all are done, raise what they raise."""
        if not self._threads:
            task(0)
            return
        self.begin(task)
        self._attempt(0)
        self.end()

    def begin(self, task: Callable[[int], None]) -> None:
        """Call ``task(1) … task(count - 1)``, each in its thread, and return at once; ``end`` comes next."""
        self._task = task
        self._barrier()

    def end(self) -> None:
        """Wait until all are done with the task begun; raise what they raise, a cause before its consequences."""
        self._barrier()
        if self._errors:
            errors, self._errors = sorted(self._errors, key=lambda e: isinstance(e, calls.GivenUpError)), []
            raise errors[0]

    def part(self, items: range, index: int, multiple: int = 1) -> range:
        """Worker ``index``'s contiguous part of ``items``, cut at multiples of ``multiple``."""
        units = -(-len(items) // multiple)
        start, stop = (units * i // self.count * multiple for i in (index, index + 1))
        return items[start:stop]

    def close(self) -> None:
        """End the threads."""
        if self._threads:
            self._task = None
            self._barrier()
            for thread in self._threads:
                thread.join()
            self._threads = []


def spins(sharing: int, cores: int) -> int:
    """How often one of ``sharing`` threads or ranks looks at a barrier before it sleeps: less without a core each."""
    return SPINS if sharing <= cores else SPINS // 200


def thread_barrier(count: int, given_up: NDArray[np.int32] | None = None) -> calls.Call:
    """Make the compiled barrier of ``count`` threads; see ``calls.barrier``."""
    words = torch.zeros(calls.BARRIER_WORDS, dtype=torch.int32)
    return calls.barrier(words, count, spins(count, len(os.sched_getaffinity(0))), given_up)
