"""When a run writes its checkpoints, and how it finds its way back to one."""

import math
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from ptrain import config as configuration
from ptrain.config import Config
from ptrain.data.normalization import Normalization
from ptrain.errors import ConfigError, RunDirectoryError
from ptrain.run import checkpoint
from ptrain.run.checkpoint import Checkpoint
from ptrain.run.directory import CHECKPOINTS
from ptrain.run.job import Job
from ptrain.steps.state import Progress, State, from_tensors, to_tensors

MIN_SECONDS = 5.0
"""Least time between two checkpoints at the end of an epoch, so that very short epochs are not all spent in fsync."""


class Checkpoints:
    """The checkpoints of one run; rank 0 writes and reads them, the others follow."""

    def __init__(self, job: Job) -> None:
        self.job, self.session, self.layout = job, job.session, job.model.layout
        self.folder = job.folder / CHECKPOINTS
        self.last: Path | None = None
        """The newest checkpoint, on rank 0."""
        self._written = -math.inf

    def gathered_sums(self, state: State) -> tuple[float, int]:
        """The sum of losses, rounded once, and the number of hits of this epoch over all ranks, on every rank."""
        rows = self._gathered_rows(state)
        # fsum rounds once: the same float for any order and any number of ranks
        losses = math.fsum(rows["row_losses"].numpy().ravel().tolist())
        return losses, int(rows["row_hits"].sum())

    def _gathered_rows(self, state: State) -> dict[str, torch.Tensor]:
        """The losses and hits of all shards' rows, (shards, rows), in the order of the shards, on every rank."""
        # The order of ranks is that of the shards, each rank's neighbours: so the run may go on on any number of them.
        parts = self.session.comm.all_gather_object((state.row_losses.cpu().numpy(), state.row_hits.cpu().numpy()))
        return {
            name: torch.from_numpy(np.concatenate([part[index] for part in parts]))
            for index, name in enumerate(("row_losses", "row_hits"))
        }

    def save(self, state: State) -> Path:
        """Write a checkpoint of the state at this step boundary; every rank calls it and gets its path."""
        rows = self._gathered_rows(state)

        def write() -> Path:
            tensors = to_tensors(state, self.layout, rows)
            record = {
                "step": state.step,
                "progress": asdict(state.progress),
                "data_sha256": self.job.data_sha256,
                "model": self.job.description,
                "config": configuration.to_dict(self.job.config),
                "libraries": _libraries(),
            }
            path = checkpoint.write(self.folder, state.step, tensors, record)
            # The new one is durable before an old one goes: there is always one to go on from.
            checkpoint.prune(self.folder, self.job.config.run.keep, state.progress.best_step)
            return path

        self.last = self.session.from_root(write)
        self._written = time.monotonic()
        return self.last

    def after_epoch(self, state: State, *, improved: bool, last: bool) -> None:
        """Write the checkpoint that is due at the end of an epoch: the best so far, the last, or MIN_SECONDS later."""
        every = self.job.config.run.checkpoint_every
        due = state.step % every == 0 if every else time.monotonic() - self._written >= MIN_SECONDS
        # Saving is collective, and clocks differ: that of rank 0 decides for all.
        if improved or last or self.session.comm.broadcast_object(due):
            self.save(state)

    def restore(self, state: State, *, force: bool) -> Job:
        """Continue from the newest good checkpoint, or from the beginning where there is none; return the job.

        Features are scaled as they were, also where an earlier version of ptrain found other offsets.

        Raises RunDirectoryError where configuration, data or libraries are not those of the run, and ``force`` is off.
        """
        # Read once and sent: on a shared file system another rank may not see the newest one yet.
        found = self.session.from_root(lambda: checkpoint.newest(self.folder, self.session.console.warn))
        if found is None:
            self.session.console.say("resume     no checkpoint yet: training starts at the beginning")
            return self.job
        stored = self.session.agreed(lambda: self._compare(found, force))
        if stored.data.normalize == self.job.config.data.normalize:
            scaled = Normalization.from_dict(found.record["model"]["normalization"])
            self.job = replace(self.job, normalization=scaled)
        self._load(state, found)
        self.last = found.path
        self.session.console.say(f"resume     {found.path}, step {state.step}")
        return self.job

    def restore_best(self, state: State) -> None:
        """Go back to the parameters of the epoch with the lowest validation loss."""
        best = state.progress.best_step
        found = self.session.from_root(lambda: checkpoint.read(self.folder / f"step-{best:08d}"))
        for name, view in self.layout.views(state.parameters).items():
            view.copy_(found.tensors[f"model.{name}"])

    def _compare(self, found: Checkpoint, force: bool) -> Config:
        """Return the configuration of the run as it was; raises RunDirectoryError where anything differs."""
        try:
            stored = configuration.from_dict(found.record["config"])
        except ConfigError as error:
            raise RunDirectoryError(f"checkpoint {found.path}: {error}") from None
        changed = configuration.differences(stored, self.job.config)
        if found.record["data_sha256"] != self.job.data_sha256:
            changed.append(f"data: sha256 {found.record['data_sha256'][:12]} -> {self.job.data_sha256[:12]}")
        names, now = tuple(found.record["model"]["class_names"]), self.job.dataset.class_names
        if names != now:  # labels may be the same numbers all the same
            changed.append(f"classes: {', '.join(names[:10])} -> {', '.join(now[:10])}")
        changed += [
            f"{name}: {found.record['libraries'].get(name)} -> {version}"
            for name, version in _libraries().items()
            if found.record["libraries"].get(name) != version
        ]
        if changed and not force:
            raise RunDirectoryError(
                f"--resume: changed since checkpoint {found.path}: {'; '.join(changed)}; "
                "expected what the run was started with; undo the change, or add --force-resume to go on all the same"
            )
        return stored

    def _load(self, state: State, found: Checkpoint) -> None:
        try:
            from_tensors(state, self.layout, found.tensors, self.job.shards)
        except (KeyError, RuntimeError) as error:
            raise RunDirectoryError(
                f"--resume: checkpoint {found.path} does not fit this configuration ({error}); "
                "expected the same --hidden, --optimizer, --batch-size and --shards as before",
                agreed=True,  # every rank loads the same tensors into the same layout
            ) from None
        state.step = int(found.record["step"])
        state.progress = Progress(**found.record["progress"])


def _libraries() -> dict[str, str]:
    """What the bits of a result depend on besides the configuration and the data."""
    return {"torch": torch.__version__, "numpy": np.__version__}
