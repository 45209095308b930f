"""Memory that all threads of all ranks of a machine work on, and how they share the parameters out."""

import bisect
import itertools
import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ptrain.comm.base import Communicator
from ptrain.comm.window import open_window
from ptrain.models.base import Layout, Memory
from ptrain.models.buffers import ShardBuffer, shard_stride
from ptrain.native import calls
from ptrain.native.threads import spins
from ptrain.steps.base import UnavailableError, Work

STRIP = 6
"""Rows of a weight's gradient that the kernel computes at once, TILE_ROWS of kernels.c: slices end at multiples."""
LINE = 16
"""4-byte words of a cache line: what different threads write lies on different ones."""
PAGE = 1024
"""4-byte words of a page."""


def cut(layout: Layout, threads: int) -> list[range]:
    """Cut the parameter vector into contiguous slices, one a thread, of much the same size; some may be empty.

    A slice begins with a parameter or at a multiple of STRIP rows of a weight: no bias is cut.
    """
    edges = [0]
    for slot in layout.slots:
        step = STRIP * slot.shape[1] if slot.source else slot.count
        edges += range(slot.offset, slot.offset + slot.count, step)
    edges.append(layout.length)
    ends = []
    for thread in range(1, threads):
        wanted = layout.length * thread // threads
        after = bisect.bisect(edges, wanted)
        ends.append(min(edges[after - 1 : after + 1], key=lambda edge: abs(edge - wanted)))
    return [range(start, stop) for start, stop in itertools.pairwise([0, *ends, layout.length])]


class SharedMemory:
    """The window of a step by slices. Moves the vectors of ``work.state`` into it.

    Raises UnavailableError, on all ranks, where they cannot have it. Every rank calls it.
    """

    def __init__(self, work: Work):
        rank, size, total = work.comm.info.rank, work.comm.info.size, sum(work.workers)
        self.threads = range(sum(work.workers[:rank]), sum(work.workers[: rank + 1]))
        """Numbers of this rank's threads among those of all ranks."""
        sizes = _sizes(work, total)
        words = shared_words(work.comm, sizes)
        self.given_up = np.zeros(1, dtype=np.int32)
        """Not 0 once a thread of this rank will not come to a barrier any more."""
        self.barriers: list[calls.Call] = []
        """The barrier of all threads of all ranks; none where there is one thread."""
        if total > 1:
            self.barriers = [calls.barrier(words["barrier"], total, spins(total, os.cpu_count() or 1), self.given_up)]
        self.flags: NDArray[np.int32] = words["flags"].view(total, -1).numpy()
        """(threads, parameters and more): whether what a thread computed of the mean gradient is finite."""
        self.flags[self.threads.start : self.threads.stop] = 1
        self.stops: NDArray[np.int32] = words["stops"].view(2, size, LINE)[:, :, 0].numpy()
        """(2, ranks): who asks to stop, in even and odd steps: a rank may be a step ahead when another reads it."""
        state = work.state
        state.parameters = words["parameters"].view(torch.float32).copy_(state.parameters)
        for index, (name, vector) in enumerate(state.optimizer.items()):
            state.optimizer[name] = words[f"optimizer.{index}"].view(torch.float32).copy_(vector)
        self.mean = words["mean"].view(torch.float32)
        """(length,): the mean gradient."""
        self.buffers = {
            name: ShardBuffer(work.num_shards, work.rows, width, work.device, storage=words[name].view(torch.float32))
            for name, width in work.model.buffers.items()
        }
        """What gradients are made of, of all shards."""
        self.row_losses = words["row_losses"].view(torch.float32).view(work.num_shards, work.rows)

    def of_shards(self, shards: range) -> Memory:
        """Cut out what the program of some shards fills."""
        buffers = {name: buffer.part(shards) for name, buffer in self.buffers.items()}
        return Memory(buffers=buffers, row_losses=self.row_losses[shards.start : shards.stop])


def _sizes(work: Work, threads: int) -> dict[str, int]:
    """What the window holds, with its size in words of 4 bytes."""
    model, shards = work.model, work.num_shards
    flags = -(-(len(model.layout.slots) + 1) // LINE) * LINE
    vectors = ["parameters", "mean", *(f"optimizer.{index}" for index in range(len(work.state.optimizer)))]
    return (
        {"barrier": calls.BARRIER_WORDS, "stops": 2 * len(work.owners) * LINE, "flags": threads * flags}
        | dict.fromkeys(vectors, model.layout.length)
        | {name: shards * shard_stride(work.rows, width) for name, width in model.buffers.items()}
        | {"row_losses": shards * work.rows}
    )


def shared_words(comm: Communicator, sizes: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Zeros that all ranks share, in named parts, (words,) int32 each, on pages of their own. Every rank calls it.

    Raises UnavailableError, on all ranks, where they cannot have them.
    """
    starts: Sequence[int] = list(itertools.accumulate(map(whole_pages, sizes.values()), initial=0))
    num_bytes = 4 * starts[-1]
    alone = comm.info.size == 1
    window, why = (torch.zeros(num_bytes, dtype=torch.uint8), "") if alone else open_window(comm, num_bytes)
    if window is None:
        raise UnavailableError(why)
    words = window.view(torch.int32)
    return {name: words[start : start + size] for (name, size), start in zip(sizes.items(), starts, strict=False)}


def whole_pages(words: int) -> int:
    """Round a number of 4-byte words up to whole pages."""
    return -(-words // PAGE) * PAGE
