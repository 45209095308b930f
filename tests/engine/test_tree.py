from hypothesis import given
from hypothesis import strategies as st

from ptrain.comm.ordered import subtrees
from ptrain.engine.tree import plan_local_sum


def tree(start: int, stop: int, size: int) -> str:
    """Return the sum over leaves [start, stop) of a node of ``size``, written out with its brackets."""
    if stop - start == 1:
        return str(start)
    middle = start + size // 2
    if middle >= stop:
        return tree(start, stop, size // 2)
    return f"({tree(start, middle, size // 2)}+{tree(middle, stop, size // 2)})"


def execute(shards: range, num_shards: int, group_size: int) -> list[tuple[tuple[int, int], str]]:
    """Carry out the plan on texts in place of vectors."""
    plan = plan_local_sum(shards, num_shards, group_size)
    rows = [""] * plan.num_rows
    for group in plan.groups:
        rows[: len(group.shards)] = [str(shard) for shard in group.shards]
        for operation, row, other in group.operations:
            rows[row] = f"({rows[row]}+{rows[other]})" if operation == "add" else rows[other]
    return [(node, rows[row]) for node, row in plan.nodes]


@given(st.data())
def test_any_group_size_adds_in_the_order_of_the_tree(data: st.DataObject) -> None:
    num_shards = data.draw(st.integers(1, 40))
    start = data.draw(st.integers(0, num_shards - 1))
    stop = data.draw(st.integers(start + 1, num_shards))
    group_size = data.draw(st.integers(1, stop - start + 1))
    expected = [
        ((first, size), tree(first, min(first + size, num_shards), size))
        for first, size in subtrees(start, stop, num_shards)
    ]
    assert execute(range(start, stop), num_shards, group_size) == expected


def test_one_shard_at_a_time_needs_one_more_row_a_level() -> None:
    assert plan_local_sum(range(8), 8, 1).num_rows == 4
    assert plan_local_sum(range(1024), 1024, 1).num_rows == 11
