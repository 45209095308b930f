"""The promise over the grid: ranks, threads, backends, and everything that the arithmetic can be made of."""

import itertools
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ranks import run_ranks

PROGRAM = Path(__file__).with_name("grid_program.py")
FACTORS: dict[str, list[Any]] = {
    "optimizer": ["sgd", "momentum", "nesterov", "adam", "adamw"],
    "activation": ["relu", "sigmoid", "tanh", "softplus", "leaky_relu", "elu", "gelu"],
    "loss": ["cross_entropy", "mse"],
    "hidden": [[], [12], [9, 17]],
    "dropout": [0.0, 0.4],
    "class_weights": ["none", "balanced"],
    "clip_norm": [None, 0.5],
    "weight_decay": [0.0, 0.01],
    "batch_size": [32, 37, "all"],  # 200 training samples: a short last batch, one that 8 does not divide, one step
    "shards": [8, 11],
    "precision": ["fp32", "bf16"],
    "normalize": ["none", "standard"],
    "kernels": ["auto", "torch"],
    "exchange": ["auto", "messages"],
}
FIXED = {"data": "blobs:samples=300,classes=4,features=5", "epochs": 2, "validation": 0.2, "lr": 0.001}
JOB = {
    "hidden": [24], "epochs": 3, "batch_size": 100, "shards": 8, "validation": 0.2, "optimizer": "nesterov", "lr": 0.02,
    "dropout": 0.1, "clip_norm": 1.0, "class_weights": "balanced", "schedule": "cosine", "warmup_epochs": 1,
}  # fmt: skip
"""On the digits: the job of test_train.py, with as many shards as the largest world has ranks."""
WORLDS = {1: ["single:1", "single:2", "single:3"], 2: ["mpi:1", "horovod:2", "torch:1"]}
WORLDS |= {3: ["mpi:2", "horovod:1", "torch:2"], 4: ["mpi:1"], 8: ["mpi:1"]}
"""By ranks: backend and threads a rank."""


def covering(factors: dict[str, list[Any]], chance: random.Random) -> list[dict[str, Any]]:
    """Return configurations in which every pair of values of two factors occurs: greedily, the best of 50 at a time."""

    def pairs(values: dict[str, Any]) -> set[tuple[tuple[str, str], tuple[str, str]]]:
        items = [(name, repr(value)) for name, value in values.items()]
        return set(itertools.combinations(items, 2))

    missing = set()
    for (one, ones), (other, others) in itertools.combinations(factors.items(), 2):
        missing |= {((one, repr(a)), (other, repr(b))) for a in ones for b in others}
    chosen: list[dict[str, Any]] = []
    while missing:
        candidates = [{name: chance.choice(values) for name, values in factors.items()} for _ in range(50)]
        best = max(candidates, key=lambda values: len(pairs(values) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return chosen


def configurations() -> list[dict[str, Any]]:
    """Return a covering set, the same in every run of the tests, and some drawn anew each time."""
    drawn = random.Random()
    chosen = covering(FACTORS, random.Random(0))
    chosen += [{name: drawn.choice(values) for name, values in FACTORS.items()} for _ in range(4)]
    return [JOB, *({k: v for k, v in (FIXED | values).items() if v is not None} for values in chosen)]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of the configurations."""
    path = tmp_path_factory.mktemp("grid") / "configurations.json"
    path.write_text(json.dumps(configurations()))
    return path


def results(grid: Path, folder: Path, ranks: int) -> dict[str, list[Any]]:
    """Train the whole grid in all worlds of so many ranks, which start once."""
    command = [sys.executable, str(PROGRAM), ",".join(WORLDS[ranks]), str(grid), str(folder)]
    backend = "single" if ranks == 1 else "mpi"
    done = run_ranks(command, ranks, backend=backend, timeout=500, env={"PYTHONPATH": str(PROGRAM.parents[2])})
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return dict(zip(WORLDS[ranks], found, strict=True))


@pytest.fixture(scope="module")
def alone(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Return the results of one rank."""
    return results(grid, tmp_path_factory.mktemp("alone"), 1)


@pytest.mark.parametrize("ranks", WORLDS)
def test_the_whole_grid_has_the_same_bits(grid: Path, alone: dict[str, list[Any]], tmp_path: Path, ranks: int) -> None:
    found = alone if ranks == 1 else results(grid, tmp_path, ranks)
    assert set(found) == set(WORLDS[ranks])
    for world, ours in found.items():
        for values, mine, reference in zip(json.loads(grid.read_text()), ours, alone["single:1"], strict=True):
            assert mine == reference, (world, values)


def test_the_covering_set_holds_every_pair() -> None:
    chosen = covering(FACTORS, random.Random(0))
    assert len(chosen) < 60
    for one, other in itertools.combinations(FACTORS, 2):
        found = {(repr(values[one]), repr(values[other])) for values in chosen}
        assert found == {(repr(a), repr(b)) for a in FACTORS[one] for b in FACTORS[other]}
