"""``ptrain evaluate``: of a trained network on any number of ranks, or of predictions in a file."""

import os
from typing import Any

from ptrain.config import RunConfig
from ptrain.console import Console
from ptrain.errors import EXIT_DONE
from ptrain.evaluation.ratios import Absent
from ptrain.launch import env


def run(
    run_dir: str | None = None,
    split: str = "test",
    data: str | None = None,
    labels: str | None = None,
    predictions: str | None = None,
    checkpoint: str = "last",
    absent: Absent = "exclude",
    areas: str | None = None,
    out: str | None = None,
    as_json: bool = False,
    backend: Any = "auto",
    device: Any = "auto",
    threads: int | None = None,
) -> int:
    """Evaluate a run, or with ``predictions`` the file of that name against ``labels``, and return the exit code.

    Raises:
        InputError: the run, the data or a file is at fault; on every rank alike.
    """
    if predictions is not None and labels is not None:
        # Only rank 0 of a job has something to do here, and none of them needs torch.
        if env.detect(os.environ).rank != 0:
            return EXIT_DONE
        from ptrain.verbs.evaluate import of_files as evaluate_files

        return evaluate_files.run(
            predictions, labels, absent=absent, areas=areas, out=out, as_json=as_json, console=Console()
        )
    from ptrain.verbs.evaluate import of_run as evaluate_run

    assert run_dir is not None, "the command line asks for RUN, or for --predictions and --labels"
    return evaluate_run.run(
        run_dir,
        split=split,
        data=data,
        labels=labels,
        checkpoint=checkpoint,
        absent=absent,
        areas=areas,
        out=out,
        as_json=as_json,
        settings=RunConfig(backend=backend, device=device, threads=threads),
    )
