"""The UCI digits, a file of the package: 1,797 handwritten digits of 8 x 8 pixels, values 0 to 16.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998 (see
digits.txt).
"""

from pathlib import Path

import numpy as np

from ptrain.data.samples import Samples, Source
from ptrain.data.store.reading import decoding
from ptrain.data.store.stream import Request


def open_digits(_: str, __: Request) -> Source:
    """The digits; the test split is every fifth sample, those with index % 5 == 4 (359 of 1,797)."""
    path = Path(__file__).with_name("digits.npz")
    with decoding(str(path), "the digits of ptrain"), np.load(path, allow_pickle=False) as arrays:
        features, labels = arrays["images"].reshape(-1, 64), arrays["labels"]
    test = np.arange(len(labels)) % 5 == 4
    return Source(
        name="digits",
        description="UCI handwritten digits, 8 x 8 pixels; every fifth sample is the test split",
        train=Samples(features[~test], labels[~test], "digits, training split"),
        test=Samples(features[test], labels[test], "digits, test split"),
        image_shape=(8, 8),
        feature_range=(0, 16),
        class_names=tuple("0123456789"),
    )
