"""Features of a few samples as small images, for people to look at."""

import math

import numpy as np
from numpy.typing import NDArray

MAX_SIDE = 96
"""Largest height and width in pixels; larger images keep every second, third, … row and column."""


def to_pixels(
    features: NDArray[np.generic], image_shape: tuple[int, ...] | None, feature_range: tuple[float, float] | None
) -> NDArray[np.uint8] | None:
    """Grey (samples, height, width) or colour (samples, height, width, 3) pixels; None where it is no image.

    features: (samples, F). image_shape: (height, width), or with 1 or 3 channels last or first. feature_range: the
    values of black and white; without it uint8 features are 0 to 255, and others reach from their least to their
    largest finite value.
    """
    if image_shape is None or math.prod(image_shape) != features.shape[1]:
        return None
    images = features.reshape(len(features), *image_shape)
    if len(image_shape) == 3:
        if image_shape[2] not in (1, 3) and image_shape[0] in (1, 3):
            images = np.moveaxis(images, 1, -1)
        if images.shape[-1] == 1:
            images = images[..., 0]
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 3)) or min(images.shape[1:3]) < 2:
        return None
    step = math.ceil(max(images.shape[1:3]) / MAX_SIDE)
    values = images[:, ::step, ::step].astype(np.float64)
    finite = values[np.isfinite(values)]
    if feature_range is None:
        feature_range = (0, 255) if features.dtype == np.uint8 else (finite.min(initial=0), finite.max(initial=0))
    low, high = feature_range
    scaled = (np.nan_to_num(values, nan=low) - low) / ((high - low) or 1.0)
    pixels: NDArray[np.uint8] = np.rint(255 * scaled.clip(0, 1)).astype(np.uint8)
    return pixels
