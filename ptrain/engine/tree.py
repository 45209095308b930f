"""How a rank adds up its own shards: which workspace row is added to which, in the order of the fixed binary tree."""

from dataclasses import dataclass

from ptrain.comm.ordered import Node, plan_additions


@dataclass(frozen=True, kw_only=True)
class Group:
    """Shards computed together into workspace rows 0, 1, …, and what is then added or moved to make room."""

    shards: range
    operations: list[tuple[str, int, int]]
    """("add", row, other): row += other; ("copy", row, other): row = other. In this order."""


@dataclass(frozen=True, kw_only=True)
class LocalSum:
    """The plan of a rank's local sum."""

    groups: list[Group]
    num_rows: int
    """Rows of the workspace."""
    nodes: list[tuple[Node, int]]
    """The subtrees that are left at the end, to be exchanged, and the rows that hold their sums."""


def plan_local_sum(shards: range, num_shards: int, group_size: int) -> LocalSum:
    """Plan the sum over a contiguous block of ``shards`` with ``group_size`` of them in memory at a time.

    With several groups the sums that wait for their sibling are kept in rows of their own, at most one a tree level.
    """
    several = group_size < len(shards)
    num_rows = min(group_size, len(shards))
    kept: list[tuple[Node, int]] = []
    groups: list[Group] = []
    for first in range(shards.start, shards.stop, group_size):
        members = range(first, min(first + group_size, shards.stop))
        known = kept + [((shard, 1), row) for row, shard in enumerate(members)]
        additions, rest = plan_additions([node for node, _ in known], num_shards)
        operations = [("add", known[left][1], known[right][1]) for left, right in additions]
        kept = [(node, known[index][1]) for node, index in rest]
        for index, (node, row) in enumerate(kept if several else ()):
            if row < group_size:
                used = {other for _, other in kept}
                free = next(r for r in range(group_size, num_rows + 1) if r not in used)
                num_rows = max(num_rows, free + 1)
                operations.append(("copy", free, row))
                kept[index] = (node, free)
        groups.append(Group(shards=members, operations=operations))
    return LocalSum(groups=groups, num_rows=num_rows, nodes=kept)
