from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrain.data.plan import BatchPlan, owned_shards


@st.composite
def plans(draw: st.DrawFn) -> BatchPlan:
    num_samples = draw(st.integers(1, 200))
    batch_size = draw(st.integers(1, num_samples))
    return BatchPlan(num_samples=num_samples, batch_size=batch_size, shards=draw(st.integers(1, 20)))


@given(plans(), st.integers(1, 20))
def test_every_position_is_in_one_shard_of_one_step_for_any_number_of_ranks(plan: BatchPlan, size: int) -> None:
    seen: Counter[int] = Counter()
    for step in range(plan.steps_per_epoch):
        in_step = 0
        for rank in range(size):
            for shard in owned_shards(plan.shards, size, rank):
                positions = plan.block(step, range(shard, shard + 1))
                assert len(positions) <= plan.rows
                seen.update(positions)
                in_step += len(positions)
        assert in_step == plan.valid_rows(step)
    assert seen == Counter(range(plan.num_samples))


@given(plans())
def test_shards_of_a_step_follow_one_another(plan: BatchPlan) -> None:
    for step in range(plan.steps_per_epoch):
        joined = [position for shard in range(plan.shards) for position in plan.block(step, range(shard, shard + 1))]
        start = step * plan.batch_size
        assert joined == list(range(start, start + plan.valid_rows(step)))


@given(plans(), st.data())
def test_a_block_is_its_shards_joined(plan: BatchPlan, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, plan.steps_per_epoch - 1))
    first = data.draw(st.integers(0, plan.shards))
    block = range(first, data.draw(st.integers(first, plan.shards)))
    joined = [position for shard in block for position in plan.block(step, range(shard, shard + 1))]
    assert list(plan.block(step, block)) == joined


@given(st.integers(1, 64), st.integers(1, 80))
def test_ranks_own_every_shard_once_in_order_and_evenly(shards: int, size: int) -> None:
    blocks = [owned_shards(shards, size, rank) for rank in range(size)]
    assert [shard for block in blocks for shard in block] == list(range(shards))
    assert max(map(len, blocks)) - min(map(len, blocks)) <= 1


def test_the_numbers_of_the_design() -> None:
    plan = BatchPlan(num_samples=300, batch_size=100, shards=8)
    assert plan.rows == 13
    assert plan.steps_per_epoch == 3
    assert plan.block(1, range(1)) == range(100, 113)
    assert plan.block(1, range(7, 8)) == range(191, 200)
    last = BatchPlan(num_samples=210, batch_size=100, shards=8)
    assert last.valid_rows(2) == 10
    assert last.block(2, range(1)) == range(200, 210)
    assert len(last.block(2, range(1, 2))) == 0


@pytest.mark.parametrize("wrong", [{"num_samples": 0}, {"batch_size": 0}, {"shards": 0}, {"batch_size": 11}])
def test_impossible_plans_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"batch_size|num_samples|shards"):
        BatchPlan(**({"num_samples": 10, "batch_size": 5, "shards": 2} | wrong))
