from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ptrain.sums.ordered import plan_additions, subtrees
from ptrain.sums.tree import LocalSum, Part, plan_local_sum, plan_merged_sum


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


def add_up(sums: list[tuple[tuple[int, int], str]], num_shards: int) -> list[tuple[tuple[int, int], str]]:
    """Add the sums of the parts as the exchange does."""
    texts = [text for _, text in sums]
    additions, rest = plan_additions([node for node, _ in sums], num_shards)
    for left, right in additions:
        texts[left] = f"({texts[left]}+{texts[right]})"
    return [(node, texts[index]) for node, index in rest]


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
    assert execute(plan_local_sum(range(start, stop), num_shards, group_size)) == expected
    cuts = sorted(data.draw(st.sets(st.integers(start + 1, stop - 1), max_size=4)) if stop - start > 1 else [])
    parts = [range(a, b) for a, b in pairwise([start, *cuts, stop])]
    assert add_up(execute(plan_merged_sum(parts, num_shards)), num_shards) == expected


def test_one_shard_at_a_time_needs_one_more_row_a_level() -> None:
    assert plan_local_sum(range(8), 8, 1).num_rows == 4
    assert plan_local_sum(range(1024), 1024, 1).num_rows == 11
