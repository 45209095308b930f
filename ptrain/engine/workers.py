"""Threads of a rank: each computes whole shards, or a slice of a vector, with single-threaded kernels.

What one shard computes therefore never depends on the number of threads, without any trust in how a matrix library
shares a product out.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


class Workers:
    """``count`` threads, the caller's own among them."""

    def __init__(self, count: int):
        torch.set_num_threads(1)
        self.count = count
        self._pool = (
            ThreadPoolExecutor(count - 1, initializer=torch.set_num_threads, initargs=(1,)) if count > 1 else None
        )

    def run(self, task: Callable[[int], None]) -> None:
        """Call ``task(0) … task(count - 1)``, each in its thread; return when all are done, raise what they raise."""
        if self._pool is None:
            task(0)
            return
        futures = [self._pool.submit(task, index) for index in range(1, self.count)]
        task(0)
        for future in futures:
            future.result()

    def part(self, items: range, index: int, multiple: int = 1) -> range:
        """Return worker ``index``'s contiguous part of ``items``, cut at multiples of ``multiple``."""
        units = -(-len(items) // multiple)
        start, stop = (units * i // self.count * multiple for i in (index, index + 1))
        return items[start:stop]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
