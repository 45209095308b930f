"""How a rank adds up its own shards: which workspace row is added to which, in the order of the fixed binary tree.

The tree has one leaf a gradient shard. A node covers the leaves [start, start + size) with size a power of two and
start a multiple of it; a node without leaves does not exist, and a node with only a left child is that child.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Node:
    """A sum over the shards [start, start + size) that lies in workspace row ``row``."""

    start: int
    size: int
    row: int


@dataclass(frozen=True, kw_only=True)
class Group:
    """Shards computed together into workspace rows 0, 1, …, and what is then added or moved to make room."""

    shards: range
    operations: list[tuple[str, int, int]] = field(default_factory=list)
    """("add", row, other): row += other; ("copy", row, other): row = other. In this order."""


@dataclass(frozen=True, kw_only=True)
class LocalSum:
    """The plan of a rank's local sum."""

    groups: list[Group]
    num_rows: int
    nodes: list[Node]
    """What is left at the end: maximal complete subtrees of the rank's shards, to be exchanged."""


def grown(start: int, size: int, num_leaves: int) -> int:
    """Return the size of the largest node that equals this one because everything right of it is beyond the leaves."""
    while start + size >= num_leaves and start and start % (2 * size) == 0:
        size *= 2
    return size


def plan_local_sum(shards: range, num_shards: int, group_size: int) -> LocalSum:
    """Plan the sum over a contiguous block of ``shards``, ``group_size`` of them in memory at a time."""
    groups: list[Group] = []
    nodes: list[Node] = []
    several = group_size < len(shards)
    num_rows = min(group_size, len(shards))
    free = []
    for first in range(shards.start, shards.stop, group_size):
        group = Group(shards=range(first, min(first + group_size, shards.stop)))
        for row, shard in enumerate(group.shards):
            nodes.append(Node(start=shard, size=grown(shard, 1, num_shards), row=row))
            while len(nodes) > 1 and _siblings(nodes[-2], nodes[-1]):
                left, right = nodes[-2], nodes.pop()
                group.operations.append(("add", left.row, right.row))
                if right.row >= group_size:
                    free.append(right.row)
                nodes[-1] = Node(start=left.start, size=grown(left.start, 2 * left.size, num_shards), row=left.row)
        for index, node in enumerate(nodes if several else ()):
            if node.row < group_size:
                if not free:
                    free.append(num_rows)
                    num_rows += 1
                row = free.pop()
                group.operations.append(("copy", row, node.row))
                nodes[index] = Node(start=node.start, size=node.size, row=row)
        groups.append(group)
    return LocalSum(groups=groups, num_rows=num_rows, nodes=nodes)


def _siblings(left: Node, right: Node) -> bool:
    return left.size == right.size and left.start % (2 * left.size) == 0 and right.start == left.start + left.size
