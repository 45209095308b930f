"""A training from start to end: train, checkpoint, evaluate, write the run directory."""

import sys
from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptrain import config as configuration
from ptrain.config import Config
from ptrain.console import Console
from ptrain.errors import EXIT_DONE
from ptrain.evaluation.table import show
from ptrain.launch.child import run_limited
from ptrain.models.base import parameters_sha256
from ptrain.models.inference import Inference
from ptrain.run import directory as files
from ptrain.run import listing
from ptrain.run.job import Job, prepare, start_state, training_step
from ptrain.run.live import live_log
from ptrain.run.loop import Loop
from ptrain.run.saving import Checkpoints
from ptrain.run.scoring import EVALUATION_FILES, evaluate_split
from ptrain.run.session import open_session
from ptrain.run.signals import stop_on_signals
from ptrain.steps.state import State

REPORT_SECONDS = 120.0
"""Time that the report at the end may take."""


def train(config: Config, resume: bool = False, force_resume: bool = False, given: Collection[str] = ()) -> int:
    """Train as configured, evaluate on the test split and return the exit code.

    ``given``: fields that were given on the command line, for warnings.

    Raises:
        InputError: the configuration, the data or the run directory is at fault.
        DivergedError: the loss or a gradient is not finite.
        StopRequested: stopped on SIGTERM, SIGUSR1 or Ctrl-C at a step boundary, with a checkpoint written.
    """
    with stop_on_signals() as stop_requested, open_session(config.run) as session:
        if session.comm.info.size > 1:  # a file's number of ranks is for a machine without a launcher
            config = replace(config, run=replace(config.run, ranks=None))
        job = prepare(session, config, resume=resume, given=given)
        state = start_state(job)
        checkpoints = Checkpoints(job)
        if resume:
            job = checkpoints.restore(state, force=force_resume)
        # Not before: a run that may not be continued like this stays as it is.
        session.from_root(lambda: files.begin(job.folder, job.config, job.environment | job.hashes))
        choice = training_step(job, state)
        session.console.say(f"{'step':<12} {choice}")
        own = Inference(config=job.config, model=job.model, parameters=state.parameters, threads=session.threads)
        with (
            closing(choice.step) as step,
            closing(own) as inference,
            live_log(session, job.config, job.folder, state.step) as live,
        ):
            Loop(job, state, step, inference, checkpoints, live).run(stop_requested)
            if config.train.early_stopping is not None and state.progress.best_step is not None:
                checkpoints.restore_best(state)
                session.console.say(f"model of epoch {state.progress.best_epoch}, the lowest validation loss")
            evaluation = finish(job, state, inference)
            if evaluation is not None:
                live(evaluation | {"step": state.step})
    if session.is_root and config.run.report:
        report_in_child(job.folder, session.console)
    return EXIT_DONE


def finish(job: Job, state: State, inference: Inference) -> dict[str, Any] | None:
    """Write model.safetensors, evaluate the test split and write evaluation.json and its companions."""
    session = job.session
    hashes = {"parameters_sha256": parameters_sha256(job.model.layout, state.parameters)} | job.hashes

    def write() -> None:
        about = job.description | hashes | {"config": configuration.to_dict(job.config)}
        files.write_model(job.folder / files.MODEL, job.model.layout, state.parameters, about)
        files.write_json(job.folder / files.ENVIRONMENT, job.environment | hashes)

    session.from_root(write)
    evaluation: dict[str, Any] | None = None
    if job.dataset.test is not None:
        names = job.dataset.class_names
        found = evaluate_split(session, inference, job.dataset, job.dataset.test, job.normalization, names)
        found.summary.update({"split": "test", "data": job.config.data.data} | hashes)
        evaluation = found.summary
        session.from_root(lambda: found.write(job.folder))
        if session.is_root:
            show(session.console, found.summary)
    session.from_root(lambda: listing.write(job.folder, [*files.TRAINED, *EVALUATION_FILES]))
    session.console.say(f"parameters sha256 {hashes['parameters_sha256']}")
    session.console.say(f"run directory {job.folder}")
    return evaluation


def report_in_child(folder: Path, console: Console) -> None:
    """Write the report of a finished run in a process of its own, so that no rank ever loads a plotting library.

    A report that cannot be written is a warning: the run is there, and ``ptrain report`` can be called again.
    """
    code, _, err = run_limited([sys.executable, "-m", "ptrain", "report", str(folder)], REPORT_SECONDS)
    if code == 0:
        console.say(f"report {folder / 'report.html'}")
        return
    how = f"exit code {code}" if code is not None else f"no answer within {REPORT_SECONDS:g} s"
    reason = err.strip().splitlines()[-1] if code and err.strip() else how
    console.warn(f"no report ({reason}); ptrain report {folder} tries again")
