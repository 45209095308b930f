"""ptrain's steps from a memory-mapped .npy whose pages are, or are not, in the page cache when they start."""

import argparse
import json
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np

from ptrain import config as configuration
from ptrain.run.job import load_job, start_state, training_step
from ptrain.run.session import Session, open_session
from ptrain.verbs.bench.train import measure


def drop(session: Session, array: Any, path: Path) -> None:
    """Let every rank give up its pages of the file, and then the system its copy."""
    while not isinstance(array, mmap.mmap):
        array = array.base if isinstance(array, np.ndarray) else array.obj
    array.madvise(mmap.MADV_DONTNEED)
    session.comm.barrier()
    with path.open("rb") as file:
        os.fdatasync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    session.comm.barrier()


def main() -> None:
    """Measure and print the report of ptrain bench train."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("way", choices=("memory", "warm", "cold"))
    parser.add_argument("--seconds", type=float, default=5.0)
    wanted = parser.parse_args()
    path = wanted.folder / "x.npy"
    values = {"data": str(path), "labels": str(wanted.folder / "y.npy"), "normalize": "unit", "threads": 1}
    with open_session(configuration.build(values).run, quiet=True) as session:
        job = load_job(session, configuration.build(values))
        samples = job.dataset.train.samples
        if wanted.way == "memory":
            object.__setattr__(samples, "features", np.array(samples.features))
        elif wanted.way == "cold":
            drop(session, samples.features, path)
        choice = training_step(job, start_state(job))
        with session.console.progress(1, "") as progress:
            report = measure(job, choice, 10**6, wanted.seconds, progress)
        choice.step.close()
        if session.is_root:
            print(json.dumps(report))


if __name__ == "__main__":
    main()
