"""Sums of subtrees in one process, to compare those of several ranks with."""

from collections.abc import Iterable

from ptrain.sums.ordered import Piece, plan_additions


def merge_(pieces: Iterable[Piece], shards: int) -> list[Piece]:
    """Add sums of sibling subtrees in place, left += right, bottom up, and return what is left, in order."""
    ordered = sorted(pieces, key=lambda piece: piece[0])
    additions, rest = plan_additions([(start, size) for start, size, _ in ordered], shards)
    for left, right in additions:
        ordered[left][2].add_(ordered[right][2])
    return [(start, size, ordered[index][2]) for (start, size), index in rest]
