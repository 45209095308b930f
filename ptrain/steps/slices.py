"""A step on one machine: all see all activations, and each computes the gradient of a slice of the parameters, whole.

Instead of gradients over a few shards that are then exchanged, each **place** (a thread of a rank) computes the
gradient of its slice over all shards, in the order of the tree, and updates the slice, in memory that all ranks share.
An activation that another place computed is read once; no gradient is ever sent. The bits are those of the exchange of
gradients: a product is a chain in the order of a shard's rows, and shards are added in the order of the same tree.
"""

import bisect
import contextlib
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ptrain import native
from ptrain.comm.base import Communicator
from ptrain.comm.window import open_window
from ptrain.config import Config
from ptrain.models.block import Block, DropoutKey, Loader, Memory, Operation, Training, buffer_widths, parameters_for
from ptrain.models.buffers import ShardBuffer, shard_stride
from ptrain.models.mlp import Layout
from ptrain.native.threads import Workers, spins, thread_barrier
from ptrain.optimizers import Update
from ptrain.steps.guard import clip_factor
from ptrain.steps.state import State
from ptrain.sums.tree import merges_of

STRIP = 6
"""Rows of a weight's gradient that the kernel computes at once: slices end at multiples of it."""
LINE = 16
"""4-byte words of a cache line."""
PAGE = 1024
"""4-byte words of a page."""


LOCAL, MEAN, UPDATE = slice(0, 2), slice(2, 5), slice(5, 7)
"""Of a place's parts: what it does alone; the mean, when all are there; the update, until all are done."""

Parts = list[tuple[str, list[Operation]]]
"""Names of the parts of a step's time, and what is done in them."""


class BoundLoader(Loader, Protocol):
    """A loader that can be bound to a block once."""

    def bind(self, features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> Callable[[], object]:
        """Return what fills (shards, rows, inputs), (shards, rows) and (shards, rows)."""

    def aim(self, epoch: int, step: int) -> None:
        """Choose the step whose rows it takes."""


def cut(layout: Layout, places: int) -> list[range]:
    """Return contiguous slices of the parameter vector, one a place, of much the same size; some may be empty.

    A slice begins with a parameter or at a multiple of STRIP rows of a weight: no bias is cut.
    """
    edges = [0]
    for slot in layout.slots:
        step = STRIP * slot.shape[1] if len(slot.shape) == 2 else slot.count
        edges += range(slot.offset, slot.offset + slot.count, step)
    edges.append(layout.length)
    ends = []
    for place in range(1, places):
        wanted = layout.length * place // places
        after = bisect.bisect(edges, wanted)
        ends.append(min(edges[after - 1 : after + 1], key=lambda edge: abs(edge - wanted)))
    return [range(start, stop) for start, stop in itertools.pairwise([0, *ends, layout.length])]


def pays(layout: Layout, batch_rows: int, places: int) -> bool:
    """Return whether slices are likely to be no slower than an exchange of gradients.

    Every place reads the derivatives of all rows by all layers' sums, which with many rows and places costs more than
    a gradient does. The factor: on 2 places both were as fast for 784-128-128-10 and 4,096 rows.
    """
    return batch_rows * sum(layout.widths[1:]) * (places - 1) <= 8 * layout.length


class Slices:
    """The step of one rank. Changes ``state``, whose vectors come to lie in memory that the ranks share.

    Args:
        config: the configuration of the run, with kernels native.
        layout: places of the parameters.
        state: the state before the first step.
        owners: the shards of every rank, in rank order.
        rank: this rank.
        rows: rows of a shard.
        make_loader: returns the loader of a contiguous range of shards.
        class_weights: (classes,) float32 weights in the loss, or None.
        workers: threads of this rank.
        threads: the threads of every rank.
        decay: weight_decay where a weight lies, (length,), or None.
        window: int32 zeros that all ranks share, as many as ``_sizes`` says.
    """

    name = "shared memory"

    def __init__(
        self,
        *,
        config: Config,
        layout: Layout,
        state: State,
        owners: Sequence[range],
        rank: int,
        rows: int,
        make_loader: Callable[[range], BoundLoader],
        class_weights: torch.Tensor | None,
        workers: Workers,
        threads: Sequence[int],
        decay: torch.Tensor | None,
        window: torch.Tensor,
    ):
        self._config, self._layout, self._state = config, layout, state
        places, num_shards = sum(threads), owners[-1].stop
        own = range(sum(threads[:rank]), sum(threads[: rank + 1]))
        memory = _cut_window(window, _sizes(layout, len(state.optimizer), places, len(owners), num_shards, rows))
        self._given_up = np.zeros(1, dtype=np.int32)
        """Not 0 once a thread of this rank will not come to a barrier any more."""
        meet = native.barrier(memory["barrier"], places, spins(places, os.cpu_count() or 1), self._given_up)
        self._meet = [meet] if places > 1 else []
        flags = memory["flags"].view(places, -1).numpy()
        flags[own.start : own.stop] = 1
        self._flags = flags
        self._stops = memory["stops"].view(2, len(owners), LINE)[:, :, 0].numpy()
        self._rank = rank
        state.parameters = _moved(state.parameters, memory["parameters"])
        for index, (name, vector) in enumerate(state.optimizer.items()):
            state.optimizer[name] = _moved(vector, memory[f"optimizer.{index}"])
        self._mean = memory["mean"].view(torch.float32)
        self._buffers = {
            name: ShardBuffer(num_shards, rows, width, window.device, storage=memory[name].view(torch.float32))
            for name, width in buffer_widths(layout.widths).items()
        }
        self._row_losses = memory["row_losses"].view(torch.float32).view(num_shards, rows)
        self._merges = merges_of(range(num_shards), num_shards)
        self._means: list[native.Call] = []
        self._divisor = 1
        slices = cut(layout, places)
        self._update = Update(
            config.optimizer,
            state.parameters,
            state.optimizer,
            decay,
            [slice(s.start, s.stop) for s in slices],
            compiled=True,
        )
        self._updates = [self._update.bind(place, self._mean, flags) for place in own]
        self._loaders: list[BoundLoader] = []
        self._blocks: list[tuple[range, Block]] = []
        self._parts: list[Parts] = []
        for index, place in enumerate(own):
            shards = workers.part(owners[rank], index)
            block = self._block(shards, owners[rank].start, class_weights)
            loader = make_loader(shards)
            self._blocks.append((shards, block))
            self._loaders.append(loader)
            self._parts.append(
                [
                    ("gather", [loader.bind(block.features, block.labels, block.weights)]),
                    ("compute", block.operations),
                    ("exchange", list(self._meet)),
                    ("compute", self._gradients(slices[place], flags[place], with_loss=place == 0)),
                    ("exchange", list(self._meet)),
                    ("update", [self._updates[index]] if len(slices[place]) else []),
                    ("exchange", list(self._meet)),
                ]
            )
        self._clips = config.optimizer.clip_norm is not None
        self._clock: dict[str, float] | None = None
        self._team = self._start(workers) if workers.count > 1 else None
        # The factor of a clipped gradient is computed in between.
        phases = [LOCAL, MEAN, UPDATE] if self._clips else [LOCAL, slice(MEAN.start, UPDATE.stop)]
        self._split = [self._parts[0][phase] for phase in phases]
        self._phases: list[Parts] = [[("", native.fuse(_operations(parts)))] for parts in self._split]

    def _block(self, shards: range, first: int, class_weights: torch.Tensor | None) -> Block:
        """Return the block of some shards; ``first`` is the first of this rank's."""
        state, config = self._state, self._config
        local = slice(shards.start - first, shards.stop - first)
        return Block(
            layout=self._layout,
            model=config.model,
            precision="fp32",
            kernels="native",
            parameters=parameters_for(state.parameters, "fp32"),
            shards=len(shards),
            rows=self._row_losses.shape[1],
            device=state.parameters.device,
            training=Training(
                gradients=None,
                merges=None,
                class_weights=class_weights,
                epoch_losses=state.row_losses[local],
                epoch_hits=state.row_hits[local],
            ),
            memory=Memory(
                buffers={name: buffer.part(shards) for name, buffer in self._buffers.items()},
                row_losses=self._row_losses[shards.start : shards.stop],
            ),
        )

    def _gradients(self, part: range, flags: NDArray[np.int32], *, with_loss: bool) -> list[Operation]:
        """Return what fills a slice of the mean gradient; each of its calls has one of the ``flags``."""
        flag = (flags[index : index + 1] for index in itertools.count())
        operations: list[native.Call] = []

        def mean_of_sums(values: torch.Tensor, out: torch.Tensor) -> None:
            sums = torch.zeros(out.numel())
            operations.append(native.column_sums(values, self._merges, sums[None]))
            operations.append(native.reduce([sums], [], range(len(sums)), out, next(flag)))
            self._means.append(operations[-1])

        for slot in self._layout.slots:
            layer = int(slot.name.split(".")[1])
            mean, grad = slot.view(self._mean), self._buffers[f"grad.{layer}"].view
            width = slot.count // slot.shape[0]
            covered = range(max(part.start, slot.offset), min(part.stop, slot.offset + slot.count))
            if not covered:
                continue
            if len(slot.shape) == 1:
                mean_of_sums(grad, mean)
                continue
            inputs = range((covered.start - slot.offset) // width, (covered.stop - slot.offset) // width)
            source, out = self._buffers[f"input.{layer}"].view, mean[None, inputs.start : inputs.stop]
            call = native.weight_gradient(source, grad, self._merges, out, inputs=inputs, finite=next(flag))
            operations.append(call)
            self._means.append(call)
        if with_loss:
            mean_of_sums(self._row_losses.unsqueeze(-1), torch.zeros(1))
        return list(operations)

    def _start(self, workers: Workers) -> "_Team":
        """Return the threads behind the first, at work."""
        meet = thread_barrier(workers.count, self._given_up)
        pause: list[Operation] = [meet] if self._clips else []
        work = [[*_operations(parts[: UPDATE.start]), *pause, *_operations(parts[UPDATE])] for parts in self._parts[1:]]
        return _Team(workers, work, meet, self._given_up)

    def measure(self, clock: dict[str, float]) -> None:
        """From now on add the seconds of each part of the first thread's work to ``clock``."""
        self._clock = clock
        self._phases = [[(name, native.fuse(operations)) for name, operations in parts] for parts in self._split]

    def __call__(
        self, epoch: int, step: int, valid_rows: int, stop: bool, rate: float, beat: Callable[[str, bool], None]
    ) -> tuple[bool, bool]:
        """Do a step; return whether a rank asked to stop, and whether loss and gradient are finite.

        Where they are not, the parameters are as before. ``rate``: the learning rate. ``beat``: see TrainingStep.
        """
        number = self._state.step
        for loader in self._loaders:
            loader.aim(epoch, step)
        for shards, block in self._blocks if self._config.model.dropout else ():
            block.set_key(DropoutKey(seed=self._config.train.seed, step=number, shards=shards))
        if valid_rows != self._divisor:
            self._divisor = valid_rows
            for call in self._means:
                native.set_divisor(call, valid_rows)
        # Two sets, in turn: a rank may be a step ahead when another reads those of this step.
        stops = self._stops[number % 2]
        stops[self._rank] = stop
        clip = self._config.optimizer.clip_norm
        self._update.aim(self._updates, 1.0, rate, number)
        self._let_go()
        self._do(self._phases[0])
        beat(f"exchanging the gradient of step {number}", True)
        self._do(self._phases[1])
        if clip is not None:
            self._update.aim(self._updates, float(clip_factor(self._mean, clip)), rate, number)
            self._let_go()
            self._do(self._phases[2])
        return bool(stops.any()), bool(self._flags.all())

    def _let_go(self) -> None:
        """Let the other threads go on."""
        if self._team is not None:
            self._team.meet()

    def _do(self, phase: Parts) -> None:
        """Do a phase of the first thread's work."""
        for name, operations in phase:
            start = time.perf_counter()
            try:
                for operation in operations:
                    operation()
            except BaseException:
                self._given_up[0] = 1
                raise
            if self._clock is not None:
                self._clock[name] = self._clock.get(name, 0.0) + time.perf_counter() - start

    def close(self) -> None:
        """End the threads' work."""
        if self._team is not None:
            self._team.close()


def _operations(parts: Parts) -> list[Operation]:
    """Return what is done in these parts."""
    return [operation for _, operations in parts for operation in operations]


class _Team:
    """The threads behind the first: they do their parts of each step without the interpreter where all is compiled.

    ``work``: the operations of each; ``meet``, for the first thread as well, lets them go on to the next step.
    """

    def __init__(
        self,
        workers: Workers,
        work: Sequence[Sequence[Operation]],
        meet: native.Call,
        given_up: NDArray[np.int32],
    ):
        self.meet = meet
        self._workers, self._work, self._given_up = workers, work, given_up
        self._stop = np.zeros(1, dtype=np.int32)
        workers.begin(self._serve)

    def _serve(self, index: int) -> None:
        """Work until the end of the training."""
        operations = native.fuse(self._work[index - 1])
        program = native.fuse([self.meet, *self._work[index - 1]])[0]
        if len(operations) == 1 and isinstance(program, native.Program):
            program.serve(self._stop)
            return
        try:
            self.meet()
            while not self._stop[0]:
                for operation in operations:
                    operation()
                self.meet()
        except BaseException:
            self._given_up[0] = 1
            raise

    def close(self) -> None:
        """End the threads' work; raise what they raised of their own."""
        self._stop[0] = 1
        with contextlib.suppress(native.GivenUpError):
            self.meet()
        with contextlib.suppress(native.GivenUpError):
            self._workers.end()


def _sizes(layout: Layout, num_vectors: int, places: int, ranks: int, shards: int, rows: int) -> dict[str, int]:
    """Return what the window holds, with its size in words of 4 bytes."""
    flags = -(-(len(layout.slots) + 1) // LINE) * LINE
    vectors = ["parameters", "mean", *(f"optimizer.{index}" for index in range(num_vectors))]
    return (
        {"barrier": native.BARRIER_WORDS, "stops": 2 * ranks * LINE, "flags": places * flags}
        | dict.fromkeys(vectors, layout.length)
        | {name: shards * shard_stride(rows, width) for name, width in buffer_widths(layout.widths).items()}
        | {"row_losses": shards * rows}
    )


def _cut_window(window: torch.Tensor, sizes: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Return the named parts of the window, (words,) int32 each, on pages of their own."""
    starts = itertools.accumulate((_pages(size) for size in sizes.values()), initial=0)
    return {name: window[start : start + size] for (name, size), start in zip(sizes.items(), starts, strict=False)}


def _pages(words: int) -> int:
    return -(-words // PAGE) * PAGE


def _moved(vector: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Return the vector in its new place."""
    return place.view(torch.float32).copy_(vector)


def make_slices(
    config: Config,
    layout: Layout,
    state: State,
    comm: Communicator,
    workers: Workers,
    owners: Sequence[range],
    rows: int,
    decay: torch.Tensor | None,
    class_weights: torch.Tensor | None,
    make_loader: Callable[[range], BoundLoader],
) -> tuple[Slices | None, str]:
    """Return the step by slices, or None where it would not be faster, or cannot be, and why. Every rank calls it."""
    size = comm.info.size
    if comm.info.local_size < size:
        return None, "the ranks are on several machines"
    threads = comm.all_gather_object(workers.count)
    if not pays(layout, owners[-1].stop * rows, sum(threads)):
        return None, ""
    sizes = _sizes(layout, len(state.optimizer), sum(threads), size, owners[-1].stop, rows)
    num_bytes = 4 * sum(map(_pages, sizes.values()))
    window: torch.Tensor | None = None
    if size > 1:
        window, why = open_window(comm, num_bytes)
        if window is None:
            return None, why
    else:
        window = torch.zeros(num_bytes, dtype=torch.uint8)
    slices = Slices(
        config=config,
        layout=layout,
        state=state,
        owners=owners,
        rank=comm.info.rank,
        rows=rows,
        make_loader=make_loader,
        class_weights=class_weights,
        workers=workers,
        threads=threads,
        decay=decay,
        window=window.view(torch.int32),
    )
    return slices, ""
