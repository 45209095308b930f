from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrain.data.permutation import MAX_SIZE, KeyedPermutation

keys = st.integers(0, 2**64 - 1)


def order(size: int, key: int) -> list[int]:
    return [int(position) for position in KeyedPermutation(size, key)(np.arange(size))]


@pytest.mark.parametrize("size", range(1, 301))
def test_every_position_comes_once_for_every_small_size(size: int) -> None:
    for key in range(3):
        assert sorted(order(size, key)) == list(range(size))


@given(st.integers(1, 20_000), keys)
def test_every_position_comes_once(size: int, key: int) -> None:
    assert sorted(order(size, key)) == list(range(size))


@given(st.integers(1, MAX_SIZE), keys, st.data())
def test_any_size_stays_in_range_and_is_one_to_one(size: int, key: int, data: st.DataObject) -> None:
    positions = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=50, unique=True))
    result = KeyedPermutation(size, key)(np.array(positions))
    assert result.dtype == np.int64
    assert 0 <= result.min() <= result.max() < size
    assert len(set(result.tolist())) == len(positions)


@given(st.integers(1, 10**12), keys, st.data())
def test_a_position_does_not_depend_on_the_others_asked_for(size: int, key: int, data: st.DataObject) -> None:
    positions = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20)))
    permutation = KeyedPermutation(size, key)
    together = permutation(positions)
    assert together.tolist() == [int(permutation(positions[i : i + 1])[0]) for i in range(len(positions))]


def test_no_positions_give_none() -> None:
    assert KeyedPermutation(10, 0)(np.arange(0)).shape == (0,)


def test_positions_are_left_as_they_are() -> None:
    positions = np.arange(100)
    KeyedPermutation(100, 0)(positions)
    np.testing.assert_array_equal(positions, np.arange(100))


@pytest.mark.parametrize("size", [0, -1, MAX_SIZE + 1])
def test_impossible_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to"):
        KeyedPermutation(size, 0)


GOLDEN = [
    (7, 0, [0, 3, 6, 1, 5]),
    (10, 1, [4, 2, 9, 7, 1]),
    (1797, 1234567890123456789, [265, 720, 1105, 423, 784]),
    (60000, 2**64 - 1, [48196, 18307, 56446, 12854, 303]),
    (10**12, 42, [275872435692, 328635221378, 608884135791, 339040791566, 991966354856]),
    (
        2**62,
        42,
        [2447835048875723291, 202833660785831135, 2034101239825676397, 2141249050989537331, 1167836650336413994],
    ),
]


@pytest.mark.parametrize(("size", "key", "expected"), GOLDEN)
def test_the_order_never_changes(size: int, key: int, expected: list[int]) -> None:
    positions = np.array([0, 1, 2, size // 2, size - 1])
    assert KeyedPermutation(size, key)(positions).tolist() == expected


def test_other_keys_give_other_orders() -> None:
    assert len({tuple(order(50, key)) for key in range(200)}) == 200


def chi_square(counts: np.ndarray) -> float:
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum() / (counts.size - 1))


@pytest.mark.parametrize("size", [2, 3, 5, 6, 10, 16])
def test_over_many_keys_every_position_goes_everywhere_alike(size: int) -> None:
    orders = np.array([order(size, key) for key in range(4000)])
    for position in range(size):
        # chi-square over its degrees of freedom is 1 on average; 4 is beyond 1 in 20,000 for one degree
        assert chi_square(np.bincount(orders[:, position], minlength=size)) < (16 if size == 2 else 4)


@pytest.mark.parametrize("size", [400, 1797, 60000])
def test_over_many_keys_neighbours_go_their_own_ways(size: int) -> None:
    where = np.array([KeyedPermutation(size, key)(np.array([0, 1, 2, size // 2, size - 1])) for key in range(4000)])
    for values in (*where.T, *((where[:, 1:] - where[:, :1]) % size).T):
        counts, _ = np.histogram(values, bins=20, range=(0, size))
        assert chi_square(counts) < 3


@pytest.mark.parametrize("lag", [1, 7, 245, 250])
def test_within_an_order_positions_are_not_correlated(lag: int) -> None:
    values = np.array(order(60000, 5), dtype=float)
    assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < 5 / np.sqrt(60000)


def test_threads_may_share_a_permutation() -> None:
    permutation = KeyedPermutation(10_000, 3)
    parts = [np.arange(start, start + 100) for start in range(0, 10_000, 100)]
    with ThreadPoolExecutor(4) as pool:
        threaded = np.concatenate(list(pool.map(permutation, parts)))
    np.testing.assert_array_equal(threaded, permutation(np.arange(10_000)))
