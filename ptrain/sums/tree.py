"""How a rank adds up its own shards: which workspace row is added to which, in the order of the fixed binary tree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ptrain.sums.ordered import Node, plan_additions, subtrees


@dataclass(frozen=True, kw_only=True)
class Part:
    """Shards that one thread computes together, into workspace rows from ``row`` on."""

    shards: range
    row: int
    merges: tuple[int, ...] | None = None
    """After each shard, how many sums are added to the one before it; None where each shard has a row of its own."""

    @property
    def num_rows(self) -> int:
        """Number of workspace rows that the part fills."""
        return len(self.shards) - sum(self.merges or ())


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parts computed at the same time, and what is then added or moved to make room."""

    parts: list[Part]
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


def plan_local_sum(
    shards: range,
    num_shards: int,
    group_size: int,
    split: Callable[[range], Sequence[range]] = lambda members: [members],
) -> LocalSum:
    """Plan the sum over a contiguous block of ``shards`` with a row each, ``group_size`` of them in memory at a time.

    ``split`` shares the shards of a group out over threads. With several groups the sums that wait for their sibling
    are kept in rows of their own, at most one a tree level.
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
        parts = [Part(shards=part, row=part.start - first) for part in split(members)]
        groups.append(Group(parts=parts, operations=operations))
    return LocalSum(groups=groups, num_rows=num_rows, nodes=kept)


def plan_merged_sum(parts: Sequence[range], num_shards: int) -> LocalSum:
    """Plan the same sum where each thread adds up complete subtrees while it computes its part of the shards.

    parts: contiguous and in order. A workspace row is the sum over one subtree; those of several threads are left to
    the exchange, which adds up the sums of all ranks.
    """
    planned: list[Part] = []
    nodes: list[Node] = []
    for shards in parts:
        planned.append(Part(shards=shards, row=len(nodes), merges=merges_of(shards, num_shards)))
        nodes += subtrees(shards.start, shards.stop, num_shards)
    rows = [(node, row) for row, node in enumerate(nodes)]
    return LocalSum(groups=[Group(parts=planned, operations=[])], num_rows=len(nodes), nodes=rows)


def merges_of(shards: range, num_shards: int) -> tuple[int, ...]:
    """Return, for each shard, how many times the last two of the sums at hand are then added."""
    additions, _ = plan_additions([(shard, 1) for shard in shards], num_shards)
    last = list(range(len(shards)))
    merges = [0] * len(shards)
    for left, right in additions:
        merges[last[right]] += 1
        last[left] = last[right]
    return tuple(merges)
