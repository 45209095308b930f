"""The long form of the kill test (scripts/kill-test); tests/verbs/test_kill.py runs a short one."""

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ptrain.errors import PtrainError
from ptrain.verbs.verify.interrupt import Case, last_step, train, train_with_kills

FLAGS = ["--hidden", "24", "--batch-size", "32", "--epochs", "12", "--validation", "0.1", "--dropout", "0.1"]
FLAGS += ["--optimizer", "adam", "--checkpoint-every", "3", "--trace", "--no-report"]
ONE = Case(ranks=1, backend="single", threads=1)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of all runs."""

    runs: int
    kills: int
    different: list[int]
    """Numbers of the runs whose parameters are not those of the uninterrupted run."""
    damaged: int
    """Checkpoints that were found damaged or half-written on the way."""


def kill_test(folder: Path, kills: int, kills_per_run: int, seed: int) -> Result:
    """Run until ``kills`` ranks were killed, ``kills_per_run`` in each run."""
    chance = random.Random(seed)
    train(FLAGS, folder / "whole", ONE)
    expected, total = parameters(folder / "whole"), last_step(folder / "whole")
    done, runs, damaged, different = 0, 0, 0, []
    start = time.monotonic()
    while done < kills:
        run_dir = folder / f"run-{runs}"
        cases = [
            Case(ranks=chance.choice([1, 2, 3, 4]), backend=chance.choice(["mpi", "horovod", "torch"]), threads=1)
            for _ in range(kills_per_run + 1)
        ]
        # One rank has no mpirun around it that would end with it: start it like the others.
        cases = [case if case.ranks > 1 else Case(ranks=2, backend=case.backend, threads=1) for case in cases[:-1]] + [
            cases[-1]
        ]
        moments = [chance.randrange(total - 10) for _ in range(kills_per_run)]
        done += train_with_kills(FLAGS, run_dir, cases, moments, chance)
        if parameters(run_dir) != expected:
            different.append(runs)
        damaged += run_dir.with_name(f"{run_dir.name}.log").read_text().count("the one before is taken")
        runs += 1
        print(f"{done} kills in {runs} runs, {len(different)} different, {time.monotonic() - start:.0f} s", flush=True)
    return Result(runs=runs, kills=done, different=different, damaged=damaged)


def parameters(run_dir: Path) -> str:
    """Return the hash of a finished run's parameters."""
    return str(json.loads((run_dir / "evaluation.json").read_text())["parameters_sha256"])


def main() -> int:
    """Run the test as asked for on the command line."""
    parser = argparse.ArgumentParser(prog="scripts/kill-test")
    parser.add_argument("--kills", type=int, default=200, help="ranks to kill (default: 200)")
    parser.add_argument("--kills-per-run", type=int, default=10, help="kills before a run may end (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="seed of moments, ranks and backends (default: 0)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = kill_test(Path(folder), arguments.kills, arguments.kills_per_run, arguments.seed)
        except PtrainError as error:
            print(f"FAILED: {error}")
            return 1
    print(result)
    return 1 if result.different else 0


if __name__ == "__main__":
    sys.exit(main())
