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
    "step": ["auto", "messages", "device"],
}
FIXED = {"data": "blobs:samples=300,classes=4,features=5", "epochs": 2, "validation": 0.2, "lr": 0.001}
JOB = {
    "hidden": [24], "epochs": 3, "batch_size": 100, "shards": 8, "validation": 0.2, "optimizer": "nesterov", "lr": 0.02,
    "dropout": 0.1, "clip_norm": 1.0, "class_weights": "balanced", "schedule": "cosine", "warmup_epochs": 1,
}  # fmt: skip
"""On the digits: the job of test_train.py, with as many shards as the largest world has ranks."""
WORLDS: dict[int, dict[str, slice]] = {
    1: {"single:1": slice(None), "single:2": slice(0, None, 2), "single:3": slice(1, None, 2)},
    2: {"mpi:1": slice(0, None, 3), "horovod:2": slice(1, None, 3), "torch:1": slice(2, None, 3)},
    3: {"mpi:2": slice(0, None, 3), "horovod:1": slice(1, None, 3), "torch:2": slice(2, None, 3)},
    4: {"mpi:1": slice(0, None, 2)},
    8: {"mpi:1": slice(1, None, 2)},
}
"""By ranks: backend and threads a rank, and which configurations train there besides JOB.

One rank and thread trains all of them, and every one trains on 2, on 3, and on 4 or 8 ranks.
"""


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
    # The device strategy is there for torch's kernels.
    chosen = [values | ({"kernels": "torch"} if values["step"] == "device" else {}) for values in chosen]
    return [JOB, *({k: v for k, v in (FIXED | values).items() if v is not None} for values in chosen)]


@pytest.fixture(scope="module")
def grid() -> list[dict[str, Any]]:
    return configurations()


def share(grid: list[dict[str, Any]], ranks: int, world: str) -> list[int]:
    """Return the numbers of the configurations that train in a world."""
    return [0, *range(1, len(grid))[WORLDS[ranks][world]]]


def results(grid: list[dict[str, Any]], folder: Path, ranks: int) -> dict[str, dict[int, Any]]:
    """Train the shares of all worlds of so many ranks, which start once: results by world and configuration."""
    shares = [share(grid, ranks, world) for world in WORLDS[ranks]]
    path = folder / "configurations.json"
    path.write_text(json.dumps([[grid[number] for number in numbers] for numbers in shares]))
    command = [sys.executable, str(PROGRAM), ",".join(WORLDS[ranks]), str(path), str(folder)]
    backend = "single" if ranks == 1 else "mpi"
    done = run_ranks(command, ranks, backend=backend, timeout=500, env={"PYTHONPATH": str(PROGRAM.parents[2])})
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return {
        world: dict(zip(numbers, ours, strict=True))
        for world, numbers, ours in zip(WORLDS[ranks], shares, found, strict=True)
    }


@pytest.fixture(scope="module")
def alone(grid: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, Any]]:
    """Return the results of one rank."""
    return results(grid, tmp_path_factory.mktemp("alone"), 1)


@pytest.mark.parametrize("ranks", WORLDS)
def test_the_whole_grid_has_the_same_bits(
    grid: list[dict[str, Any]], alone: dict[str, dict[int, Any]], tmp_path: Path, ranks: int
) -> None:
    found = alone if ranks == 1 else results(grid, tmp_path, ranks)
    assert set(found) == set(WORLDS[ranks])
    for world, ours in found.items():
        for number, mine in ours.items():
            assert mine == alone["single:1"][number], (world, grid[number])


def test_every_value_of_every_factor_is_in_every_world() -> None:
    grid = configurations()
    for ranks, worlds in WORLDS.items():
        for world in worlds:
            shared = [grid[number] for number in share(grid, ranks, world)[1:]]
            for factor, values in FACTORS.items():
                missing = {repr(v) for v in values} - {repr(found.get(factor)) for found in shared}
                assert not missing, (world, factor, missing)


def test_the_covering_set_holds_every_pair() -> None:
    chosen = covering(FACTORS, random.Random(0))
    assert len(chosen) < 60
    for one, other in itertools.combinations(FACTORS, 2):
        found = {(repr(values[one]), repr(values[other])) for values in chosen}
        assert found == {(repr(a), repr(b)) for a in FACTORS[one] for b in FACTORS[other]}
