"""The synthetic scene: the same pixels however it is cut, classes in regions, spectra that can be told apart."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ptrain.data.scenes.generate import NODATA, ROWS, Scene


def whole(scene: Scene) -> list[NDArray[Any]]:
    return [np.concatenate(part) for part in zip(*map(scene.rows, range(scene.num_blocks)), strict=True)]


def test_a_scene_follows_from_its_numbers() -> None:
    numbers = {"height": 150, "width": 90, "bands": 5, "classes": 4, "noise": 0.2}
    first, again, other = (Scene(**numbers, seed=seed) for seed in (3, 3, 4))  # type: ignore[arg-type]
    for one, two in zip(whole(first), whole(again), strict=True):
        assert np.array_equal(one, two)
    assert np.array_equal(again.rows(2)[0], whole(first)[0][2 * ROWS :])
    assert not np.array_equal(other.rows(0)[0], first.rows(0)[0])


@pytest.mark.parametrize("classes", [2, 6, 14])
def test_what_is_in_it(classes: int) -> None:
    scene = Scene(height=400, width=400, bands=8, classes=classes, noise=0.1, seed=0)
    pixels, reference, truth = whole(scene)
    assert pixels.shape == (400, 400, 8)
    assert pixels.dtype == np.uint16
    assert len(scene.names) == len(scene.colors) == len(set(scene.names)) == classes
    assert set(np.unique(truth)) == set(range(classes + 1))
    assert np.array_equal(truth == 0, (pixels == NODATA).all(axis=2))
    assert ((reference == truth) | (reference == 0)).all()
    assert 0.4 < (reference > 0).sum() / (truth > 0).sum() < 0.6
    # neighbours nearly always have the same class
    assert (truth[1:] == truth[:-1]).mean() > 0.9
    assert np.abs(scene.spectra[:, None] - scene.spectra[None]).max(axis=2)[~np.eye(classes, dtype=bool)].min() > 0.005


def test_pixels_of_a_parcel_are_more_alike_than_those_of_a_class() -> None:
    pixels, _, truth = whole(Scene(height=400, width=400, bands=6, classes=3, noise=0.2, seed=0))
    same = (truth[:, 1:] == 2) & (truth[:, :-1] == 2)
    near = np.abs(pixels[:, 1:].astype(float) - pixels[:, :-1])[same].mean()
    values = pixels[truth == 2].astype(float)
    far = np.abs(values - np.random.default_rng(0).permutation(values)).mean()
    assert near < 0.7 * far
