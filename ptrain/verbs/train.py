"""``ptrain train``: train, checkpoint, evaluate, write the run directory."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ptrain import config as configuration
from ptrain.config import Config
from ptrain.data.checks import class_counts
from ptrain.data.loader import Normalization, ShardLoader, fit_normalization
from ptrain.data.plan import BatchPlan, owned_shards
from ptrain.data.samples import DataSet
from ptrain.engine.inference import Inference
from ptrain.engine.mlp import Layout, initialise, layout_of, parameters_sha256
from ptrain.engine.optimizers import learning_rate
from ptrain.engine.state import State, new_state
from ptrain.engine.step import TrainingStep
from ptrain.errors import EXIT_DONE, ConfigError, DivergedError, StopRequested
from ptrain.evaluation.mergeable import summarise_counts
from ptrain.verbs import run_directory as files
from ptrain.verbs.details import evaluate_split
from ptrain.verbs.header import print_header
from ptrain.verbs.saving import Checkpoints
from ptrain.verbs.scoring import score
from ptrain.verbs.session import Session, load_data, open_session
from ptrain.verbs.signals import stop_on_signals
from ptrain.verbs.tables import show

COLUMNS = ["epoch", "train loss", "train acc", "val loss", "val acc", "lr", "samples/s", "seconds"]


def run(config: Config, *, resume: bool = False, force_resume: bool = False) -> int:
    """Train as configured, evaluate on the test split and return the exit code.

    Raises:
        InputError: the configuration, the data or the run directory is at fault.
        DivergedError: the loss or a gradient is not finite.
        StopRequested: stopped on SIGTERM, SIGUSR1 or Ctrl-C at a step boundary, with a checkpoint written.
    """
    with stop_on_signals() as signals, open_session(config.run) as session:
        training = Training(session, config, resume=resume, force_resume=force_resume)
        try:
            training.fit(signals.requested)
            training.finish()
        finally:
            training.close()
    return EXIT_DONE


class Training:
    """One run on one rank, from the data to the run directory."""

    def __init__(self, session: Session, config: Config, *, resume: bool, force_resume: bool):
        self.session = session
        size, rank = session.comm.info.size, session.comm.info.rank
        if size > config.train.shards:
            error = ConfigError(
                f"{size} ranks with --shards {config.train.shards}: expected at most one rank a gradient shard; "
                f"use --shards {size} or more, or fewer ranks"
            )
            error.agreed = True
            raise error
        self.dataset, self.data_sha256 = load_data(session, config.data, config.train.seed)
        num_samples = self.dataset.train.size
        batch = num_samples if config.train.batch_size == "all" else min(config.train.batch_size, num_samples)
        self.plan = BatchPlan(num_samples=num_samples, batch_size=batch, shards=config.train.shards)
        self.folder: Path = session.from_root(lambda: files.claim(config, resume=resume))
        self.config = replace(config, run=replace(config.run, run_dir=str(self.folder)))
        self.normalization: Normalization = session.from_root(
            lambda: fit_normalization(config.data.normalize, self.dataset)
        )
        self.class_weights = session.agreed(lambda: class_weights(session, config, self.dataset))
        self.environment = files.environment(session)

        self.layout: Layout = layout_of(config.model, self.dataset.num_features, self.dataset.num_classes)
        owners = [owned_shards(config.train.shards, size, other) for other in range(size)]
        parameters = initialise(self.layout, config.model, config.train.seed).to(session.device)
        self.state: State = new_state(parameters, config.optimizer.optimizer, len(owners[rank]), self.plan.rows)
        self.checkpoints = Checkpoints(
            session=session,
            folder=self.folder / files.CHECKPOINTS,
            config=self.config,
            layout=self.layout,
            shards=owners[rank],
            data_sha256=self.data_sha256,
            description=self._description(),
        )
        session.agreed(self._describe)
        if resume:
            self.checkpoints.restore(self.state, force=force_resume)
        self.step = TrainingStep(
            config=self.config,
            layout=self.layout,
            state=self.state,
            comm=session.comm,
            owners=owners,
            rows=self.plan.rows,
            steps_per_epoch=self.plan.steps_per_epoch,
            make_loader=self._loader,
            class_weights=self.class_weights,
            threads=session.threads,
            device=session.device,
        )
        self.inference = Inference(
            config=self.config, layout=self.layout, parameters=self.state.parameters, threads=session.threads
        )

    def _loader(self, shards: range) -> ShardLoader:
        return ShardLoader(
            self.dataset.train, self.plan, shards, self.config.train.seed, self.normalization, self.session.device
        )

    def _describe(self) -> None:
        """Print the configuration and write environment.json."""
        print_header(
            self.session.console, self.config, self.dataset, self.layout, self.plan, self.environment, self.folder
        )
        if self.session.is_root:
            hashes = {"data_sha256": self.data_sha256, "config_sha256": configuration.sha256(self.config)}
            files.write_json(self.folder / files.ENVIRONMENT, self.environment | hashes)

    def fit(self, stop_requested: Any) -> None:
        """Train up to the last epoch, from wherever the state is."""
        config, state, plan, console = self.config, self.state, self.plan, self.session.console
        every = config.run.checkpoint_every
        epochs = config.train.epochs
        if self.session.is_root:
            files.keep_metrics(self.folder / files.METRICS, state.step // plan.steps_per_epoch)
        table = console.growing_table(COLUMNS)
        with console.progress(epochs * plan.steps_per_epoch, "training", completed=state.step) as progress:
            while state.step < epochs * plan.steps_per_epoch and not self._stopped_early():
                epoch, first = divmod(state.step, plan.steps_per_epoch)
                if first == 0:
                    state.start_epoch()
                start = time.perf_counter()
                for step in range(first, plan.steps_per_epoch):
                    stop = self._step(epoch, step, stop_requested())
                    progress.update(state.step, f"epoch {epoch + 1} of {epochs}")
                    at_end = step + 1 == plan.steps_per_epoch
                    if stop and not (at_end and epoch + 1 == epochs):
                        self._stop(epoch if at_end else None, time.perf_counter() - start)
                    if every and state.step % every == 0 and not at_end:
                        self.checkpoints.save(state)
                seconds = time.perf_counter() - start
                record = self._end_epoch(epoch, plan.num_samples - first * plan.batch_size, seconds)
                if self.session.is_root:
                    table.add([record[name] for name in _RECORD_COLUMNS])

    def _step(self, epoch: int, step: int, stop: bool) -> bool:
        try:
            return self.step.run(epoch, step, self.plan.valid_rows(step), stop)
        except DivergedError as error:
            last = self.checkpoints.last
            kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint before it"
            diverged = DivergedError(f"{error}; {kept}; try a lower --lr, --clip-norm or --normalize standard")
            diverged.agreed = True
            raise diverged from None

    def _stop(self, finished_epoch: int | None, seconds: float) -> None:
        """Write a checkpoint at this step boundary and raise StopRequested on all ranks."""
        if finished_epoch is not None:
            self._end_epoch(finished_epoch, self.plan.num_samples, seconds)
        else:
            self.state.progress.seconds += seconds
        path = self.checkpoints.save(self.state)
        error = StopRequested(
            f"stopped on request after step {self.state.step}, checkpoint {path}; "
            f"continue with: ptrain train --resume --run-dir {self.folder}"
        )
        error.agreed = True
        raise error

    def _end_epoch(self, epoch: int, samples: int, seconds: float) -> dict[str, Any]:
        """Validate, record the epoch and write the checkpoint that is due."""
        state = self.state
        state.progress.seconds += seconds
        losses, hits = self.checkpoints.gathered_sums(state)
        num_samples = self.plan.num_samples
        record: dict[str, Any] = {
            "epoch": epoch + 1,
            "step": state.step,
            "train_loss": losses / num_samples,
            "train_accuracy": hits / num_samples,
            "validation_loss": None,
            "validation_accuracy": None,
            "learning_rate": learning_rate(
                self.config.optimizer, state.step - 1, self.plan.steps_per_epoch, self.config.train.epochs
            ),
            "seconds": round(seconds, 6),
            "samples_per_second": round(samples / seconds, 3),
        }
        state.start_epoch()
        improved = False
        if self.dataset.validation is not None:
            summary = self._scores(self.dataset.validation)
            record["validation_loss"] = summary["loss"]
            record["validation_accuracy"] = summary["overall_accuracy"]
            best = state.progress.best_loss
            improved = summary["loss"] is not None and (best is None or summary["loss"] < best)
            if improved:
                state.progress.best_loss, state.progress.best_epoch = summary["loss"], epoch + 1
                state.progress.best_step = state.step
        if self.session.is_root:
            files.append_metrics(self.folder / files.METRICS, record)
        last = epoch + 1 == self.config.train.epochs or self._stopped_early()
        self.checkpoints.after_epoch(state, improved=improved, last=last)
        return record

    def _stopped_early(self) -> bool:
        patience, progress = self.config.train.early_stopping, self.state.progress
        if patience is None or progress.best_epoch is None:
            return False
        return self.state.step // self.plan.steps_per_epoch - progress.best_epoch >= patience

    def _scores(self, split: Any) -> dict[str, Any]:
        counts = score(self.session, self.inference, split, self.normalization, self.dataset.class_names)
        return summarise_counts(counts, self.dataset.class_names)

    def finish(self) -> None:
        """Take the model, evaluate it and write model.safetensors, evaluation.json and the CSV files."""
        console, state = self.session.console, self.state
        if self.config.train.early_stopping is not None and state.progress.best_step is not None:
            self.checkpoints.restore_best(state)
            console.say(f"model of epoch {state.progress.best_epoch}, the lowest validation loss")
        sha256 = parameters_sha256(self.layout, state.parameters)
        hashes = {
            "parameters_sha256": sha256,
            "data_sha256": self.data_sha256,
            "config_sha256": configuration.sha256(self.config),
        }
        if self.session.is_root:
            files.write_model(self.folder / files.MODEL, self.layout, state.parameters, self._description() | hashes)
            files.write_json(self.folder / files.ENVIRONMENT, self.environment | hashes)
        if self.dataset.test is not None:
            names = self.dataset.class_names
            found = evaluate_split(
                self.session, self.inference, self.dataset, self.dataset.test, self.normalization, names
            )
            found.summary.update({"split": "test", "data": self.config.data.data} | hashes)
            if self.session.is_root:
                found.write(self.folder)
                show(console, found.summary)
        console.say(f"parameters sha256 {sha256}")
        console.say(f"run directory {self.folder}")

    def _description(self) -> dict[str, Any]:
        return {
            "widths": self.layout.widths,
            "class_names": self.dataset.class_names,
            "normalization": self.normalization.to_dict(),
        }

    def close(self) -> None:
        """End the worker threads."""
        self.step.close()
        self.inference.close()


def class_weights(session: Session, config: Config, dataset: DataSet) -> torch.Tensor | None:
    """Return the weight of each class in the loss: (classes,), counted over all ranks where balanced, or None.

    Raises:
        ConfigError: another number of weights is given than there are classes.
    """
    choice, num_classes = config.model.class_weights, dataset.num_classes
    if choice == "none":
        return None
    if choice == "balanced":
        info = session.comm.info
        counts = torch.from_numpy(class_counts(dataset.train, num_classes, info.rank, info.size))
        session.comm.all_reduce_(counts)
        # A class without training samples has no rows that a weight could matter for.
        weights = dataset.train.size / (num_classes * counts.clamp_min(1).double())
        return weights.float().to(session.device)
    if len(choice) != num_classes:
        raise ConfigError(
            f"--class-weights with {len(choice)} numbers: expected {num_classes}, one a class of the data"
        )
    return torch.tensor(choice, dtype=torch.float32, device=session.device)


_RECORD_COLUMNS = [
    "epoch",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "samples_per_second",
    "seconds",
]
