"""Features as images: shapes, channels, ranges, sizes."""

import numpy as np
import pytest

from ptrain.run.images import MAX_SIDE, to_pixels


def test_grey_images_reach_from_black_to_white() -> None:
    features = np.array([[0, 4, 8, 16]], dtype=np.uint8)
    pixels = to_pixels(features, (2, 2), (0, 16))
    assert pixels is not None
    assert pixels.tolist() == [[[0, 64], [128, 255]]]
    assert to_pixels(features, (2, 2), None).tolist() == [[[0, 4], [8, 16]]]  # type: ignore[union-attr]


def test_floats_without_a_known_range_reach_from_their_least_to_their_largest() -> None:
    features = np.array([[-1.0, np.nan, 0.0, 1.0], [np.inf, 1.0, -1.0, 0.5]], dtype=np.float32)
    pixels = to_pixels(features, (2, 2), None)
    assert pixels is not None
    assert pixels.tolist() == [[[0, 0], [128, 255]], [[255, 255], [0, 191]]]
    assert to_pixels(np.full((1, 4), 3.0), (2, 2), None) is not None


@pytest.mark.parametrize(
    ("image_shape", "expected"),
    [
        ((4, 6), (2, 4, 6)),
        ((4, 6, 1), (2, 4, 6)),
        ((1, 4, 6), (2, 4, 6)),
        ((4, 6, 3), (2, 4, 6, 3)),
        ((3, 4, 6), (2, 4, 6, 3)),
        ((200, 300), (2, 50, 75)),
    ],
)
def test_shapes_of_images(image_shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    pixels = to_pixels(np.zeros((2, int(np.prod(image_shape)))), image_shape, (0, 1))
    assert pixels is not None
    assert pixels.shape == expected
    assert max(pixels.shape[1:3]) <= MAX_SIDE


@pytest.mark.parametrize("image_shape", [None, (24,), (1, 24), (2, 3, 4), (2, 2, 2, 3), (5, 5)])
def test_what_is_no_image(image_shape: tuple[int, ...] | None) -> None:
    assert to_pixels(np.zeros((2, 24)), image_shape, (0, 1)) is None


def test_channels_that_come_first_are_moved_and_not_mixed() -> None:
    features = np.arange(12, dtype=np.uint8).reshape(1, 12)
    pixels = to_pixels(features, (3, 2, 2), None)
    assert pixels is not None
    assert pixels[0, 0, 0].tolist() == [0, 4, 8]
