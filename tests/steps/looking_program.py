"""``ptrain`` whose host looks at every fourth step only, as it does on a GPU at every 32nd.

With STOP_AT=<step> in the environment the last rank asks to stop after that many steps.
"""

import os
import signal
import sys
from typing import Any

from ptrain.cli import main
from ptrain.comm.base import Communicator
from ptrain.run import job
from ptrain.steps.state import State
from ptrain.steps.step import TrainingStep


class Step(TrainingStep):
    def __init__(self, *, comm: Communicator, state: State, **others: Any) -> None:
        super().__init__(comm=comm, state=state, look_every=4, **others)
        self.last = comm.info.rank == comm.info.size - 1

    def run(self, epoch: int, step: int, valid_rows: int, stop: bool = False) -> bool:
        stopping = super().run(epoch, step, valid_rows, stop)
        if self.last and str(self.state.step) == os.environ.get("STOP_AT"):
            signal.raise_signal(signal.SIGTERM)
        return stopping


job.TrainingStep = Step  # type: ignore[attr-defined]
sys.exit(main())
