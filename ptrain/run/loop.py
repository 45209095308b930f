"""The training loop: steps, epochs, their records, and the boundaries at which a run may stop."""

import hashlib
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from ptrain.console import ProgressLine
from ptrain.data.scale_warnings import high_loss
from ptrain.errors import DivergedError, StopRequested
from ptrain.evaluation.mergeable import summarise_counts
from ptrain.models.base import parameters_sha256
from ptrain.models.inference import Inference
from ptrain.optimizers.schedules import learning_rate
from ptrain.run import directory as files
from ptrain.run.job import Job
from ptrain.run.saving import Checkpoints
from ptrain.run.scoring import score
from ptrain.run.watchdog import HANG, Watchdog
from ptrain.steps.base import Step
from ptrain.steps.state import State

COLUMNS = {
    "epoch": "epoch",
    "train_loss": "train loss",
    "train_accuracy": "train acc",
    "validation_loss": "val loss",
    "validation_accuracy": "val acc",
    "learning_rate": "lr",
    "samples_per_second": "samples/s",
    "seconds": "seconds",
}
"""Fields of a record of metrics.jsonl and the headings of the table of epochs."""


@dataclass
class Loop:
    """Takes a state from where it is to the end of the training."""

    job: Job
    state: State
    step: Step
    inference: Inference
    checkpoints: Checkpoints
    live: Callable[[dict[str, Any]], None]

    def __post_init__(self) -> None:
        self._table = self.job.session.console.growing_table(list(COLUMNS.values()))

    def run(self, stop_requested: Callable[[], bool]) -> None:
        """Train to the last epoch or until early stopping.

        Raises DivergedError, and StopRequested, with a checkpoint written, where a rank was asked to stop or
        ``--max-steps`` is reached.
        """
        job, state, session = self.job, self.state, self.job.session
        total = job.config.train.epochs * job.plan.steps_per_epoch
        session.from_root(self._clear)
        rank, processes, limit = session.comm.info.rank, job.environment["processes"], job.config.run.step_timeout
        with (
            closing(Watchdog(job.folder / HANG, rank, processes, limit)) as watchdog,
            session.console.progress(total, "training", completed=state.step) as progress,
        ):
            self.step.heartbeat = watchdog.heartbeat
            while state.step < total and not self._stopped_early():
                self._epoch(state.step // job.plan.steps_per_epoch, stop_requested, progress)

    def _clear(self) -> None:
        """Drop what an earlier, interrupted run left behind after this step."""
        shutil.rmtree(self.job.folder / HANG, ignore_errors=True)
        epoch = self.state.step // self.job.plan.steps_per_epoch
        for name, key, last in ((files.METRICS, "epoch", epoch), (files.TRACE, "step", self.state.step)):
            path = self.job.folder / name
            for line in files.keep_records(path, key, last):
                self.job.session.console.warn(f"{path}: line {line} is damaged and is left out")

    def _epoch(self, epoch: int, stop_requested: Callable[[], bool], progress: ProgressLine) -> None:
        """Do what is left of an epoch."""
        state, plan, epochs = self.state, self.job.plan, self.job.config.train.epochs
        first = state.step - epoch * plan.steps_per_epoch
        if first == 0:
            state.start_epoch()
        start = time.perf_counter()
        for index in range(first, plan.steps_per_epoch):
            stop = self._step(epoch, index, stop_requested())
            progress.update(state.step, f"epoch {epoch + 1} of {epochs}")
            if index + 1 == plan.steps_per_epoch:
                break
            if stop:
                state.progress.seconds += time.perf_counter() - start
                self._stop()
            if self._saves_at(state.step):
                self.checkpoints.save(state)
        samples = plan.num_samples - first * plan.batch_size
        self._end_epoch(epoch, samples, time.perf_counter() - start)
        if stop and epoch + 1 < epochs:
            self._stop()

    def _saves_at(self, step: int) -> bool:
        every = self.job.config.run.checkpoint_every
        return every is not None and step % every == 0

    def _step(self, epoch: int, index: int, stop: bool) -> bool:
        """Do a step; return whether any rank asked to stop, as soon as that is known: by the next boundary."""
        run, plan = self.job.config.run, self.job.plan
        at_limit = run.max_steps is not None and self.state.step + 1 >= run.max_steps
        try:
            stopping = self.step.run(epoch, index, plan.valid_rows(index), stop or at_limit)
            if at_limit or index + 1 == plan.steps_per_epoch or run.trace or self._saves_at(self.state.step):
                stopping = self.step.synchronise() or stopping
        except DivergedError as error:
            last = self.checkpoints.last
            kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint before it"
            fix = "try a lower --lr, --clip-norm or --normalize standard"
            raise DivergedError(f"{error}; {kept}; {fix}", agreed=True) from None
        if run.trace:
            self._trace()
        return stopping

    def _trace(self) -> None:
        """Append the hashes after this step to trace.jsonl, by which two runs can be compared. Every rank calls it."""
        session, layout, state = self.job.session, self.job.model.layout, self.state
        # The parameters as a whole from every rank, tensor by tensor from rank 0: enough to see where two runs part.
        everybody = session.comm.all_gather_object(parameters_sha256(layout, state.parameters))
        hashes = {
            name: hashlib.sha256(view.cpu().contiguous().numpy().tobytes()).hexdigest()
            for name, view in layout.views(state.parameters).items()
        }
        record = {"step": state.step, "ranks_agree": len(set(everybody)) == 1, "sha256": everybody[0]}
        session.from_root(lambda: files.append_record(self.job.folder / files.TRACE, record | {"tensors": hashes}))

    def _stop(self) -> None:
        """Write a checkpoint at this step boundary and raise StopRequested on all ranks."""
        path = self.checkpoints.save(self.state)
        raise StopRequested(
            f"stopped on request after step {self.state.step}, checkpoint {path}; "
            f"continue with: ptrain train --resume --run-dir {self.job.folder}",
            agreed=True,
        )

    def _end_epoch(self, epoch: int, samples: int, seconds: float) -> None:
        """Validate, record the epoch and write the checkpoint that is due."""
        state, config, plan = self.state, self.job.config, self.job.plan
        state.progress.seconds += seconds
        self.step.heartbeat(f"ending epoch {epoch + 1}", True)
        losses, hits = self.checkpoints.gathered_sums(state)
        record: dict[str, Any] = {
            "epoch": epoch + 1,
            "step": state.step,
            "train_loss": losses / plan.num_samples,
            "train_accuracy": hits / plan.num_samples,
            "validation_loss": None,
            "validation_accuracy": None,
            "learning_rate": learning_rate(config.optimizer, state.step - 1, plan.steps_per_epoch, config.train.epochs),
            "seconds": round(seconds, 6),
            "samples_per_second": round(samples / seconds, 3),
        }
        state.start_epoch()
        improved = self._validate(record)
        self.job.session.from_root(lambda: files.append_record(self.job.folder / files.METRICS, record))
        self.live(record)
        last = epoch + 1 == config.train.epochs or self._stopped_early()
        self.checkpoints.after_epoch(state, improved=improved, last=last)
        self._table([record[name] for name in COLUMNS])
        model = config.model
        if epoch == 0 and model.loss == "cross_entropy" and model.class_weights == "none":
            text = high_loss(record["train_loss"], self.job.dataset.num_classes)
            if text is not None:
                self.job.session.console.warn(text)

    def _validate(self, record: dict[str, Any]) -> bool:
        """Put the validation's results into the record and return whether they are the best so far."""
        job, heartbeat = self.job, self.step.heartbeat
        split, names = job.dataset.validation, job.dataset.class_names
        if split is None:
            return False
        counts = score(
            job.session, self.inference, split, job.normalization, names, lambda _: heartbeat("validating", False)
        )
        summary = summarise_counts(counts, names)
        loss = record["validation_loss"] = summary["loss"]
        record["validation_accuracy"] = summary["overall_accuracy"]
        progress = self.state.progress
        if loss is None or (progress.best_loss is not None and loss >= progress.best_loss):
            return False
        progress.best_loss, progress.best_epoch, progress.best_step = loss, record["epoch"], self.state.step
        return True

    def _stopped_early(self) -> bool:
        patience, progress = self.job.config.train.early_stopping, self.state.progress
        if patience is None or progress.best_epoch is None:
            return False
        return self.state.step // self.job.plan.steps_per_epoch - progress.best_epoch >= patience
