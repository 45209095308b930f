from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ptrain.sums.ordered import subtrees
from ptrain.sums.tree import LocalSum, Part, plan_local_sum


def tree(start: int, stop: int, size: int) -> str:
    """Return the sum over leaves [start, stop) of a node of ``size``, written out with its brackets."""
    if stop - start == 1:
        return str(start)
    middle = start + size // 2
    if middle >= stop:
        return tree(start, stop, size // 2)
    return f"({tree(start, middle, size // 2)}+{tree(middle, stop, size // 2)})"


def compute(part: Part) -> list[str]:
    """Return what the kernels leave in the rows of a part."""
    stack: list[str] = []
    for index, shard in enumerate(part.shards):
        stack.append(str(shard))
        for _ in range(part.merges[index] if part.merges else 0):
            right = stack.pop()
            stack[-1] = f"({stack[-1]}+{right})"
    return stack


def execute(plan: LocalSum) -> list[tuple[tuple[int, int], str]]:
    """Carry out the plan on texts in place of vectors."""
    rows = [""] * plan.num_rows
    for group in plan.groups:
        for part in group.parts:
            found = compute(part)
            assert len(found) == part.num_rows
            rows[part.row : part.row + len(found)] = found
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
    groups = [range(first, min(first + group_size, stop)) for first in range(start, stop, group_size)]
    assert execute(plan_local_sum(num_shards, [[group] for group in groups])) == expected
    cuts = sorted(data.draw(st.sets(st.integers(start + 1, stop - 1), max_size=4)) if stop - start > 1 else [])
    parts = [range(a, b) for a, b in pairwise([start, *cuts, stop])]
    for merged in (False, True):
        assert execute(plan_local_sum(num_shards, [parts], merged=merged)) == expected


def test_one_shard_at_a_time_needs_one_more_row_a_level() -> None:
    for shards, rows in ((8, 4), (1024, 11)):
        assert plan_local_sum(shards, [[range(shard, shard + 1)] for shard in range(shards)]).num_rows == rows
