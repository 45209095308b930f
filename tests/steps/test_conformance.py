"""Every strategy of the table, on one and several ranks: all have the same bits, and behave alike."""

import json
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from ptrain.config import RunConfig
from ptrain.steps.choose import STRATEGIES
from tests.ranks import ROOT, run_ranks
from tests.steps.conformance_program import EPOCHS, kernels_of
from tests.steps.work import CONFIGS, plan_of

PROGRAM = Path(__file__).with_name("conformance_program.py")
CASES = [f"{case} {kernels}" for case, config in CONFIGS.items() for kernels in kernels_of(config)]
WORLDS = [(1, "single"), (2, "mpi"), (3, "mpi")]


@pytest.fixture(scope="module")
def results() -> dict[int, dict[str, Any]]:
    """Return what every strategy gave, by number of ranks and case."""
    found = {}
    for ranks, backend in WORLDS:
        env = {"PYTHONPATH": str(ROOT)}
        done = run_ranks([sys.executable, str(PROGRAM), backend], ranks, backend=backend, timeout=300, env=env)
        assert done.returncode == 0, done.stderr
        found[ranks] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("case", CASES)
def test_all_have_the_same_bits(results: dict[int, dict[str, Any]], case: str) -> None:
    first = results[1][case]["messages"]
    assert first["step"] == EPOCHS * plan_of(CONFIGS[case.split()[0]]).steps_per_epoch
    for ranks, _ in WORLDS:
        found = results[ranks][case]
        expected = {"messages", "slices" if case.endswith("native") else "device"} | (
            {"shared"} if ranks > 1 else set()
        )
        assert {name.split()[0] for name in found} == expected
        for name, result in found.items():
            assert result["agree"], (name, ranks)
            assert result == first, (name, ranks)


@pytest.mark.parametrize("kernels", ["native", "torch"])
def test_a_request_of_one_rank_is_heard_by_all_after_the_step_or_at_the_next_synchronisation(
    results: dict[int, dict[str, Any]], kernels: str
) -> None:
    for ranks, _ in WORLDS:
        found = results[ranks][f"stop {kernels}"]
        assert len(found) == (2 if ranks == 1 else 3)
        # 4 steps an epoch: the device is waited for after the third, and at the end of the epoch.
        assert {name: result["stops"] for name, result in found.items()} == {
            name: [7] if name == "device" else [5] for name in found
        }


@pytest.mark.parametrize("kernels", ["native", "torch"])
@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam"])
def test_a_divergence_names_step_and_shard_and_leaves_the_state_before_it(
    results: dict[int, dict[str, Any]], rule: str, kernels: str
) -> None:
    first = results[1][f"diverging {rule} {kernels}"]["messages"]
    assert first["message"].startswith("step 5 (epoch 1), shard ")
    assert first["step"] == 5
    for ranks, _ in WORLDS:
        found = results[ranks][f"diverging {rule} {kernels}"]
        assert len(found) == (2 if ranks == 1 else 3)
        for name, result in found.items():
            assert result == first, (name, ranks)


def test_the_table_is_in_order_of_preference_and_its_last_row_is_always_to_be_had() -> None:
    assert list(STRATEGIES) == ["slices", "device", "shared", "messages"]


def test_the_flag_names_every_strategy() -> None:
    assert set(get_args(get_type_hints(RunConfig)["step"])) == {"auto", *STRATEGIES}
