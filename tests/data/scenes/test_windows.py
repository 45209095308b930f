"""Windows, neighbourhoods and blocks: every pixel once, reflection as numpy has it, blocks that share no pixel."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ptrain.data.scenes.windows import (
    default_block_size,
    inside_blocks,
    neighborhoods,
    padded,
    reflected,
    spread,
    windows,
)

sides = st.sampled_from([1, 3, 5, 7])


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 9), st.integers(1, 80), st.integers(1, 5000))
def test_windows_cover_every_pixel_once_within_the_limit(
    height: int, width: int, pixel: int, block_rows: int, limit: int
) -> None:
    seen = np.zeros((height, width), int)
    for rows, columns in windows(height, width, pixel, block_rows, limit):
        seen[rows.start : rows.stop, columns.start : columns.stop] += 1
        assert len(rows) * len(columns) * pixel <= max(limit, pixel)
    assert (seen == 1).all()


def test_windows_are_whole_blocks_high_where_that_fits() -> None:
    assert [len(rows) for rows, _ in windows(1000, 100, 2, 128, 100_000)] == [384, 384, 232]
    assert {(len(rows), len(columns)) for rows, columns in windows(512, 1000, 4, 256, 256 * 4 * 250)} == {(256, 250)}


@given(st.integers(1, 40), st.integers(0, 12))
def test_reflection_is_that_of_numpy(size: int, radius: int) -> None:
    expected = np.pad(np.arange(size), radius, mode="reflect")
    assert np.array_equal(reflected(np.arange(-radius, size + radius), size), expected)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), sides)
def test_neighborhoods_are_the_pixels_around(height: int, width: int, bands: int, side: int) -> None:
    image = np.arange(height * width * bands).reshape(height, width, bands)
    down, across = padded(range(height), side // 2, height), padded(range(width), side // 2, width)
    around = neighborhoods(image[np.ix_(down, across)], side)
    assert around.shape == (height, width, side, side, bands)
    assert np.array_equal(around[:, :, side // 2, side // 2], image)
    row, column = height // 2, width // 2
    assert np.array_equal(around[row, column], image[np.ix_(down[row : row + side], across[column : column + side])])


@given(st.integers(1, 50), st.integers(1, 25), sides, st.data())
def test_a_neighborhood_inside_its_block_reads_no_other_block(
    size: int, block: int, side: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, size - 1))
    span = range(start, data.draw(st.integers(start + 1, size)))
    inside = inside_blocks(span, side // 2, size, block)
    read: dict[int, set[int]] = {}
    for position, kept in zip(span, inside, strict=True):
        pixels = {int(pixel) for pixel in reflected(np.arange(position - side // 2, position + side // 2 + 1), size)}
        own = {pixel // block for pixel in pixels} == {position // block}
        assert kept == own
        if kept:
            read.setdefault(position // block, set()).update(pixels)
    everything = [pixel for pixels in read.values() for pixel in pixels]
    assert len(everything) == len(set(everything))


@given(st.integers(1, 12), st.integers(1, 12), sides, st.integers(0, 2**32))
def test_missing_pixels_spread_to_all_that_see_them(height: int, width: int, side: int, seed: int) -> None:
    missing = np.random.default_rng(seed).random((height + side - 1, width + side - 1)) < 0.1
    expected = [
        [missing[row : row + side, column : column + side].any() for column in range(width)] for row in range(height)
    ]
    assert np.array_equal(spread(missing, side), expected)


def test_the_default_size_of_a_block() -> None:
    shapes = ((145, 145, 1), (600, 800, 1), (100, 100, 5), (10_980, 10_980, 3))
    assert [default_block_size(*shape) for shape in shapes] == [16, 40, 20, 549]
