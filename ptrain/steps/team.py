"""The threads of a rank behind the first, which do the same work at every step: without the interpreter if compiled."""

import contextlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ptrain.models.base import Operation
from ptrain.native import calls
from ptrain.native.threads import Workers, thread_barrier


class Team:
    """``release`` lets the threads do their next piece of work, which ends at a barrier of the caller's.

    ``work``: the pieces of each thread behind the first, which make up a step together. ``given_up``: one int32, is not
    0 once a thread will not come to a barrier any more.
    """

    def __init__(self, workers: Workers, work: Sequence[Sequence[Sequence[Operation]]], given_up: NDArray[np.int32]):
        self._workers, self._given_up = workers, given_up
        self._barrier = thread_barrier(workers.count, given_up)
        self._stop = np.zeros(1, dtype=np.int32)
        self._work: list[list[Operation]] = []
        for first, *others in work:
            self._work.append(list(first))
            for piece in others:
                self._work[-1] += [self._barrier, *piece]
        workers.begin(self._serve)

    def release(self) -> None:
        """Let the threads go on."""
        self._barrier()

    def _serve(self, index: int) -> None:
        """Work until the end of the training."""
        work = self._work[index - 1]
        operations, program = calls.fuse(work), calls.fuse([self._barrier, *work])
        if len(program) == 1 and isinstance(program[0], calls.CallList):
            program[0].serve(self._stop)
            return
        try:
            self._barrier()
            while not self._stop[0]:
                for operation in operations:
                    operation()
                self._barrier()
        except BaseException:
            self._given_up[0] = 1
            raise

    def close(self) -> None:
        """End the threads' work; raise what they raised of their own."""
        self._stop[0] = 1
        with contextlib.suppress(calls.GivenUpError):
            self._barrier()
        with contextlib.suppress(calls.GivenUpError):
            self._workers.end()
