"""Pictures of scenes and maps: the colours, the stride, legends of any length."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from ptrain.report import scene_picture


def test_values_become_their_colours_and_what_is_unknown_grey() -> None:
    painted = scene_picture.paint(np.array([[0, 2], [5, 3]]), (2, 5), ((1, 2, 3), (4, 5, 6)))
    grey = list(scene_picture.UNCLASSIFIED)
    assert painted.tolist() == [[grey, [1, 2, 3]], [[4, 5, 6], grey]]


def test_a_composite_is_stretched_and_white_where_there_is_no_value() -> None:
    pixels = np.arange(400, dtype=np.float32).reshape(20, 20, 1)
    pixels[0, 0] = np.nan
    missing = np.isnan(pixels[:, :, 0])
    image = scene_picture.composite(pixels, (0, 0, 0), missing)
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[0, 1].max() == 0
    assert image[19, 19].min() == 255
    assert (scene_picture.composite(pixels, (0, 0, 0), np.ones_like(missing)) == 255).all()
    assert scene_picture.composite(np.ones((2, 2, 1)), (0, 0, 0), np.zeros((2, 2), bool)).shape == (2, 2, 3)


@pytest.mark.parametrize(("height", "width", "stride"), [(10, 10, 1), (1200, 3, 1), (1201, 3, 2), (10_980, 10_980, 10)])
def test_large_images_are_thinned_out(height: int, width: int, stride: int) -> None:
    assert scene_picture.stride_of(height, width) == stride


@pytest.mark.parametrize("shape", [(300, 300), (20, 1200), (1200, 20), (1, 1)])
@pytest.mark.parametrize("names", [["a", "b"], [f"a class with a long name, number {index}" for index in range(70)]])
def test_a_picture_of_any_shape_with_any_legend(shape: tuple[int, int], names: list[str]) -> None:
    colors = [(index, 255 - index, 128) for index in range(len(names))]
    image = np.zeros((*shape, 3), np.uint8)
    png = scene_picture.draw([("map $1$", image)], names, colors, shares=[0.5] * len(names), unclassified="no value")
    height, width = imread(io.BytesIO(png)).shape[:2]
    assert 130 <= height <= 2000
    assert 300 <= width <= 3500
