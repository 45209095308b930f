"""A record of the parameters' hashes after every step, by which two runs can be compared: ``--trace``."""

import hashlib

from ptrain.models.mlp import parameters_sha256
from ptrain.run import directory as files
from ptrain.run.job import Job
from ptrain.steps.state import State


class Trace:
    """Writes trace.jsonl: step, SHA-256 of every parameter, and whether all ranks hold the same parameters."""

    def __init__(self, job: Job, state: State):
        self.job = job
        self.state = state

    def record(self) -> None:
        """Append the record of the step that was just done. Every rank calls it."""
        session, layout, state = self.job.session, self.job.layout, self.state
        # The parameters as a whole from every rank, tensor by tensor from rank 0: enough to see where two runs part.
        everybody = session.comm.all_gather_object(parameters_sha256(layout, state.parameters))
        hashes = {
            name: hashlib.sha256(view.cpu().contiguous().numpy().tobytes()).hexdigest()
            for name, view in layout.views(state.parameters).items()
        }
        record = {"step": state.step, "ranks_agree": len(set(everybody)) == 1, "sha256": everybody[0]}
        session.from_root(lambda: files.append_record(self.job.folder / files.TRACE, record | {"tensors": hashes}))
