"""The UCI digits that scikit-learn ships: 1,797 handwritten digits of 8 x 8 pixels, values 0 to 16."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from ptrain.data.samples import Samples, Source
from ptrain.data.sources.files import reading
from ptrain.errors import DataError


def load() -> Source:
    """Return the digits; the test split is every fifth sample, those with index % 5 == 4 (359 of 1,797).

    The file is read where scikit-learn keeps it, without the second that importing scikit-learn takes.
    Source: E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI repository, 1998.
    """
    # find_spec of a package without a dot in its name runs none of its code
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("digits: scikit-learn is not installed, whose copy is used: pip install scikit-learn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    with reading(path, "the digits of scikit-learn"), gzip.open(path, "rt", encoding="ascii") as lines:
        table = np.array([line.split(",") for line in lines], dtype=np.float64).astype(np.uint8)
    test = np.arange(len(table)) % 5 == 4
    features, labels = table[:, :64], table[:, 64]
    return Source(
        name="digits",
        description="UCI handwritten digits, 8 x 8 pixels, from scikit-learn; every fifth sample is the test split",
        train=Samples(np.ascontiguousarray(features[~test]), labels[~test], "digits, training split"),
        test=Samples(np.ascontiguousarray(features[test]), labels[test], "digits, test split"),
        image_shape=(8, 8),
        feature_range=(0, 16),
        class_names=tuple("0123456789"),
    )
