"""Which pixels a window, a neighbourhood and a spatial block are made of. Pure arithmetic."""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


def reflected(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Positions on an axis of ``size`` pixels, those outside mirrored at the edge pixel (which is not doubled).

    -1 becomes 1 and size becomes size - 2, again and again where that is still outside.
    """
    if size == 1:
        return np.zeros_like(positions)
    period = 2 * (size - 1)
    folded = positions % period
    return np.minimum(folded, period - folded)


def padded(span: range, radius: int, size: int) -> NDArray[np.int64]:
    """The pixels on one axis that a span needs with ``radius`` more on both sides. (len(span) + 2 * radius,)."""
    return reflected(np.arange(span.start - radius, span.stop + radius), size)


def windows(height: int, width: int, pixel_bytes: int, block_rows: int, limit: int) -> Iterator[tuple[range, range]]:
    """Yield windows of at most ``limit`` bytes, or one pixel, that cover an image, by rows of windows.

    They are whole blocks of ``block_rows`` high, so that a block of the file is decoded once, and as wide as the image
    where that fits.
    """
    rows = min(height, limit // (width * pixel_bytes))
    if rows >= block_rows:
        rows = rows // block_rows * block_rows
    else:
        rows = max(1, min(block_rows, height, limit // pixel_bytes))
    columns = max(1, min(width, limit // (rows * pixel_bytes)))
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield range(top, min(top + rows, height)), range(left, min(left + columns, width))


def neighborhoods(pixels: NDArray[np.generic], side: int) -> NDArray[np.generic]:
    """A view of the side x side pixels around each pixel that has them all.

    pixels: (h, w, bands), padded. Result: (h - side + 1, w - side + 1, side, side, bands), a view of no memory.
    """
    view = sliding_window_view(pixels, (side, side), axis=(0, 1))
    return view.transpose(0, 1, 3, 4, 2)


def spread(missing: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Where any pixel of a neighbourhood is missing. missing: (h, w), padded."""
    height, width = (size - side + 1 for size in missing.shape)
    if side == 1 or not missing.any():
        return missing[:height, :width]
    down = missing[:height].copy()
    for shift in range(1, side):
        down |= missing[shift : shift + height]
    across = down[:, :width].copy()
    for shift in range(1, side):
        across |= down[:, shift : shift + width]
    return across


def inside_blocks(span: range, radius: int, size: int, block: int) -> NDArray[np.bool_]:
    """Which positions of an axis have all pixels of their neighbourhood in their own block. (len(span),)."""
    reach = sliding_window_view(padded(span, radius, size) // block, 2 * radius + 1)
    own = np.arange(span.start, span.stop) // block
    return (reach == own[:, None]).all(axis=1)  # type: ignore[no-any-return]


def default_block_size(height: int, width: int, side: int) -> int:
    """A twentieth of the longer side of the image, and at least 16 pixels and 4 neighbourhoods."""
    return max(16, 4 * side, -(-max(height, width) // 20))
