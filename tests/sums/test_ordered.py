"""The tree sum: the same bits for any number of ranks, and the tree as defined."""

import threading
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ptrain.comm.base import Communicator, Op, RankInfo
from ptrain.sums.ordered import OrderedSum, Piece, merge_, padded_length, plan_additions, subtrees, tree_size


def owners(shards: int, size: int) -> list[range]:
    return [range(r * shards // size, (r + 1) * shards // size) for r in range(size)]


def tree_sum(leaves: list[torch.Tensor], start: int, size: int) -> torch.Tensor | None:
    """The definition: a node is its left child plus its right child; what is beyond the last leaf is absent."""
    if start >= len(leaves):
        return None
    if size == 1:
        return leaves[start]
    left, right = tree_sum(leaves, start, size // 2), tree_sum(leaves, start + size // 2, size // 2)
    return left if right is None or left is None else left + right


def wild(shards: int, length: int, seed: int) -> list[torch.Tensor]:
    """Vectors whose sum depends on the order: exponents from 2**-140 (below the normal numbers) to 2**100."""
    generator = torch.Generator().manual_seed(seed)
    exponents = torch.randint(-140, 100, (shards, length), generator=generator)
    near = torch.randint(-12, 12, (shards, length), generator=generator)
    chosen = torch.where(torch.rand((shards, length), generator=generator) < 0.3, exponents, near)
    return list(torch.ldexp(torch.randn((shards, length), generator=generator).double(), chosen).float())


class ThreadWorld:
    """Ranks as threads of this process, which exchange through a list."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.slots: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=30)

    def run(self, work: Callable[["ThreadCommunicator"], torch.Tensor]) -> list[torch.Tensor]:
        results: list[Any] = [None] * self.size

        def one(rank: int) -> None:
            results[rank] = work(ThreadCommunicator(self, rank)).clone()

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(result is not None for result in results)
        return results


class ThreadCommunicator(Communicator):
    """The two exchanges that an ordered sum needs, between threads."""

    name = "threads"

    def __init__(self, world: ThreadWorld, rank: int) -> None:
        self.world = world
        self.sent = 0
        size = world.size
        self.info = RankInfo(
            rank=rank, size=size, local_rank=rank, local_size=size, host="here", launcher="none", job_id=""
        )

    def _exchange(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        self.world.slots[self.info.rank] = tensor.clone()
        self.world.barrier.wait()
        everything = list(self.world.slots)
        self.world.barrier.wait()
        return everything

    def _all_to_all(self, tensor: torch.Tensor, out: torch.Tensor) -> None:
        self.sent += tensor[1:].numel()
        out.copy_(torch.stack([other[self.info.rank] for other in self._exchange(tensor)]))

    def _all_gather(self, tensor: torch.Tensor, out: torch.Tensor) -> None:
        self.sent += tensor.numel() * (self.info.size - 1)
        out.copy_(torch.stack(self._exchange(tensor)))

    def _all_reduce(self, tensor: torch.Tensor, op: Op) -> None:
        raise AssertionError("an ordered sum uses no reduction of the backend")

    def _broadcast(self, tensor: torch.Tensor, root: int) -> None:
        raise AssertionError("not part of an ordered sum")

    def barrier(self) -> None:
        self.world.barrier.wait()

    def abort(self, exit_code: int = 1) -> NoReturn:
        raise AssertionError(exit_code)

    def close(self) -> None:
        pass


@given(shards=st.integers(1, 40), data=st.data())
def test_subtrees_cover_the_block_and_are_as_large_as_can_be(shards: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, shards))
    stop = data.draw(st.integers(start, shards))
    nodes = subtrees(start, stop, shards)
    leaves = [leaf for first, size in nodes for leaf in range(first, min(first + size, shards))]
    assert leaves == list(range(start, stop))
    for first, size in nodes:
        assert size & (size - 1) == 0
        assert first % size == 0
        if size < tree_size(shards):
            parent = first - first % (2 * size)
            assert parent < start or min(parent + 2 * size, shards) > stop


@given(shards=st.integers(1, 40))
def test_all_leaves_are_one_subtree(shards: int) -> None:
    assert subtrees(0, shards, shards) == [(0, tree_size(shards))]
    additions, rest = plan_additions([(leaf, 1) for leaf in range(shards)], shards)
    assert len(additions) == shards - 1
    assert rest == [((0, tree_size(shards)), 0)]


def test_the_drawing_in_the_documentation() -> None:
    assert [subtrees(o.start, o.stop, 8) for o in owners(8, 3)] == [[(0, 2)], [(2, 2), (4, 1)], [(5, 1), (6, 2)]]
    assert plan_additions([(0, 2), (2, 2), (4, 1), (5, 1), (6, 2)], 8)[0] == [(2, 3), (0, 1), (2, 4), (0, 2)]


@settings(deadline=None, max_examples=60)
@given(shards=st.integers(1, 17), length=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_merging_has_the_bits_of_the_recursive_sum_for_every_number_of_ranks(
    shards: int, length: int, seed: int
) -> None:
    leaves = wild(shards, length, seed)
    want = tree_sum(leaves, 0, tree_size(shards))
    assert want is not None
    for size in range(1, shards + 1):
        pieces: list[Piece] = []
        for owned in owners(shards, size):
            mine = merge_([(leaf, 1, leaves[leaf].clone()) for leaf in owned], shards)
            assert [(start, size) for start, size, _ in mine] == subtrees(owned.start, owned.stop, shards)
            pieces += mine
        (root,) = merge_(pieces, shards)
        assert root[2].view(torch.int32).tolist() == want.view(torch.int32).tolist()


@settings(deadline=None, max_examples=25)
@given(
    shards=st.integers(1, 17),
    length=st.integers(1, 200),
    seed=st.integers(0, 2**32 - 1),
    padded=st.booleans(),
    data=st.data(),
)
def test_ranks_that_exchange_get_the_bits_of_the_recursive_sum(
    shards: int, length: int, seed: int, padded: bool, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, shards))
    leaves = wild(shards, length, seed)
    want = tree_sum(leaves, 0, tree_size(shards))
    assert want is not None

    def work(communicator: ThreadCommunicator) -> torch.Tensor:
        owned = owners(shards, size)
        reduce = OrderedSum(communicator, owned, length)
        for _ in range(2):
            rows = [torch.full((reduce.padded_length if padded else length,), float("nan")) for _ in range(shards)]
            for row, leaf in zip(rows, leaves, strict=True):
                row[:length] = leaf
            result = reduce(merge_([(leaf, 1, rows[leaf]) for leaf in owned[communicator.info.rank]], shards))
        return result

    for result in ThreadWorld(size).run(work):
        assert result.shape == (length,)
        assert result.view(torch.int32).tolist() == want.view(torch.int32).tolist()


@pytest.mark.parametrize(("shards", "size"), [(8, 2), (8, 4), (8, 8), (16, 4), (3, 3)])
def test_one_subtree_a_rank_sends_no_more_than_a_ring_allreduce(shards: int, size: int) -> None:
    length = padded_length(1000, size)

    def work(communicator: ThreadCommunicator) -> torch.Tensor:
        reduce = OrderedSum(communicator, owners(shards, size), length)
        reduce([(*node, torch.ones(length)) for node in reduce.nodes])
        return torch.tensor(communicator.sent)

    for sent in ThreadWorld(size).run(work):
        assert int(sent) == 2 * (size - 1) * length // size


@given(length=st.integers(0, 10**6), size=st.integers(1, 64))
def test_padding_is_small_and_cuts_evenly(length: int, size: int) -> None:
    padded = padded_length(length, size)
    assert padded % (16 * size) == 0
    assert length <= padded < length + 17 * size
