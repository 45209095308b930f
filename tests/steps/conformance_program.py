"""Runs every strategy of the table on every configuration in one job; rank 0 prints what came out as JSON.

usage: conformance_program.py BACKEND
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ptrain.comm.base import Communicator
from ptrain.config import Config, ModelConfig, RunConfig, TrainConfig
from ptrain.data.permutation import KeyedPermutation
from ptrain.errors import DivergedError
from ptrain.keys import derive_key
from ptrain.models.base import parameters_sha256
from ptrain.run.session import open_session
from ptrain.steps.base import Work
from ptrain.steps.choose import STRATEGIES
from tests.steps.work import CONFIGS, NUM_SAMPLES, plan_of, step_of, with_kernels, with_step, work_of

EPOCHS = 2
ALONE: dict[str, dict[str, Any]] = {
    "": {},
    " 2 threads": {"threads": 2},
    " 5 threads": {"threads": 5},
    " in groups": {"workspace_limit": 0, "threads": 2},
}
TOGETHER: dict[str, dict[str, Any]] = {"": {}, " in groups": {"workspace_limit": 0, "threads": 2}}
"""Threads and memory, on one rank and, where more threads than cores would only wait for each other, on several."""


def sha256(tensors: list[torch.Tensor]) -> str:
    return hashlib.sha256(b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors)).hexdigest()


def whole_state(work: Work) -> dict[str, Any]:
    """Return the state that all ranks together have, and whether they agree."""
    state = work.state
    own = [state.parameters, *state.optimizer.values()]
    rows = work.comm.all_gather_object((state.row_losses.tolist(), state.row_hits.tolist()))
    return {
        "step": state.step,
        "parameters": parameters_sha256(work.model.layout, state.parameters),
        "agree": len(set(work.comm.all_gather_object(sha256(own)))) == 1,
        "vectors": sha256(own),
        "losses": [row for losses, _ in rows for row in losses],
        "hits": [row for _, hits in rows for row in hits],
    }


def trained(work: Work, stop_at: int | None = None) -> dict[str, Any]:
    """Train; the last rank asks to stop at step ``stop_at``. Return the state and the steps that said so."""
    step, plan = step_of(work), plan_of(work.config)
    last = work.comm.info.rank == work.comm.info.size - 1
    stops = []
    for epoch in range(EPOCHS):
        work.state.start_epoch()
        for index in range(plan.steps_per_epoch):
            stop = last and work.state.step == stop_at
            if step.run(epoch, index, plan.valid_rows(index), stop):
                stops.append(work.state.step)
        if step.synchronise():
            stops.append(work.state.step)
        assert step.synchronise() is False
    step.close()
    return whole_state(work) | {"stops": stops}


def diverged(work: Work) -> dict[str, Any]:
    """Train into a sample that is infinite; return how it ended."""
    step, plan = step_of(work), plan_of(work.config)
    try:
        for index in range(plan.steps_per_epoch):
            step.run(0, index, plan.valid_rows(index))
        step.synchronise()
    except DivergedError as error:
        step.close()
        found = whole_state(work)
        # A guarded step has counted the losses of the steps behind the bad one.
        return {name: found[name] for name in ("step", "parameters", "agree", "vectors")} | {"message": str(error)}
    raise AssertionError("it did not diverge")


def kernels_of(config: Config) -> tuple[str, ...]:
    return ("torch",) if config.train.precision == "bf16" else ("native", "torch")


def strategies(config: Config, comm: Communicator, every: int) -> Iterator[tuple[str, Config]]:
    """Yield the strategies that can be had."""
    for name, strategy in STRATEGIES.items():
        named = with_step(config, name, every)
        if not strategy.why_not(work_of(named, comm=comm)):
            yield name, named


def main() -> None:
    """Run them all."""
    results: dict[str, dict[str, Any]] = {}
    # The step of an epoch with 10 that meets it is the sixth.
    bad = int(KeyedPermutation(NUM_SAMPLES, derive_key(0, "order", 0))(np.arange(NUM_SAMPLES))[27])
    with open_session(RunConfig(backend=sys.argv[1]), quiet=True) as session:
        comm = session.comm
        for case, config in CONFIGS.items():
            for kernels in kernels_of(config):
                found = results[f"{case} {kernels}"] = {}
                for name, named in strategies(with_kernels(config, kernels), comm, 4):
                    for variant, values in (ALONE if comm.info.size == 1 else TOGETHER).items():
                        found[name + variant] = trained(work_of(named, comm=comm, **values))
        for kernels in ("native", "torch"):
            found = results[f"stop {kernels}"] = {}
            for name, named in strategies(with_kernels(CONFIGS["plain"], kernels), comm, 3):
                found[name] = trained(work_of(named, comm=comm), stop_at=4)
            for rule in ("sgd", "momentum", "adam"):
                small = replace(CONFIGS[rule], model=ModelConfig(hidden=(7,)), train=TrainConfig(batch_size=5))
                found = results[f"diverging {rule} {kernels}"] = {}
                for name, named in strategies(with_kernels(small, kernels), comm, 4):
                    found[name] = diverged(work_of(named, comm=comm, bad=bad, threads=2))
    if session.is_root:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
