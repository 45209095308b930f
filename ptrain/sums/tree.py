"""How a rank adds up its own shards: which workspace row is added to which, in the order of the fixed binary tree."""

from collections.abc import Sequence
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


def plan_local_sum(num_shards: int, groups: Sequence[Sequence[range]], *, merged: bool = False) -> LocalSum:
    """Plan the sum over contiguous ``groups`` of shards that are in memory in turn, each shared out over threads.

    A row of the workspace holds a shard's gradient or, with ``merged``, the sum over a complete subtree of a thread's
    shards, which the thread adds up while it computes them. With several groups the sums that wait for their sibling
    are kept in rows of their own, at most one a tree level.
    """

    def nodes_of(part: range) -> list[Node]:
        return subtrees(part.start, part.stop, num_shards) if merged else [(shard, 1) for shard in part]

    nodes = [[node for part in parts for node in nodes_of(part)] for parts in groups]
    room = num_rows = max(map(len, nodes))
    kept: list[tuple[Node, int]] = []
    planned: list[Group] = []
    for parts, own in zip(groups, nodes, strict=True):
        known = kept + [(node, row) for row, node in enumerate(own)]
        additions, rest = plan_additions([node for node, _ in known], num_shards)
        operations = [("add", known[left][1], known[right][1]) for left, right in additions]
        kept = [(node, known[index][1]) for node, index in rest]
        # The next group needs the first rows.
        for index, (node, row) in enumerate(kept if len(groups) > 1 else ()):
            if row < room:
                used = {other for _, other in kept}
                free = next(r for r in range(room, num_rows + 1) if r not in used)
                num_rows = max(num_rows, free + 1)
                operations.append(("copy", free, row))
                kept[index] = (node, free)
        members: list[Part] = []
        for part in parts:
            merges = merges_of(part, num_shards) if merged else None
            members.append(Part(shards=part, row=sum(done.num_rows for done in members), merges=merges))
        planned.append(Group(parts=members, operations=operations))
    return LocalSum(groups=planned, num_rows=num_rows, nodes=kept)


def merges_of(shards: range, num_shards: int) -> tuple[int, ...]:
    """For each shard, how many times the last two of the sums at hand are then added."""
    additions, _ = plan_additions([(shard, 1) for shard in shards], num_shards)
    last = list(range(len(shards)))
    merges = [0] * len(shards)
    for left, right in additions:
        merges[last[right]] += 1
        last[left] = last[right]
    return tuple(merges)
