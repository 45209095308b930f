"""Trains many small configurations in one job; rank 0 prints the hash and the evaluation of each as JSON.

usage: grid_program.py WORLDS CONFIGURATIONS.json FOLDER

WORLDS are backends, each with its threads a rank, such as mpi:1,horovod:2: one after the other on the same ranks. The
configurations are a list a world: each of them is trained in its world alone.
"""

import contextlib
import dataclasses
import json
import sys
from pathlib import Path

from ptrain.config import RunConfig, build
from ptrain.models.inference import Inference
from ptrain.run.job import prepare, start_state, training_step
from ptrain.run.loop import Loop
from ptrain.run.saving import Checkpoints
from ptrain.run.session import Session, open_session
from ptrain.run.train import finish


def train(session: Session, values: dict[str, object], run_dir: Path) -> dict[str, object]:
    """Train one configuration and return what must not depend on ranks, backend and threads."""
    job = prepare(session, build({**values, "run_dir": str(run_dir)}), resume=False)
    state = start_state(job)
    step = training_step(job, state).step
    inference = Inference(config=job.config, model=job.model, parameters=state.parameters, threads=session.threads)
    Loop(job, state, step, inference, Checkpoints(job), lambda record: None).run(lambda: False)
    finish(job, state, inference)
    step.close()
    inference.close()
    if not session.is_root:
        return {}
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    clocks = ("seconds", "samples_per_second")
    return {
        "evaluation": json.loads((run_dir / "evaluation.json").read_text()),
        "history": [{name: value for name, value in record.items() if name not in clocks} for record in records],
    }


def main() -> None:
    """Run all configurations of the file in every world, and print a list of results a world."""
    worlds, path, folder = sys.argv[1:]
    results = []
    with contextlib.ExitStack() as stack:  # closes MPI, the first, last: Horovod runs on the MPI that it ends
        for world, configurations in zip(worlds.split(","), json.loads(Path(path).read_text()), strict=True):
            backend, threads = world.split(":")
            opened = stack.enter_context(open_session(RunConfig(backend=backend), quiet=True))
            session = dataclasses.replace(opened, threads=int(threads))
            runs = Path(folder) / world
            results.append([train(session, values, runs / str(n)) for n, values in enumerate(configurations)])
    if opened.is_root:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
