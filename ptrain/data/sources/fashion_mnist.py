"""Fashion-MNIST: 60,000 + 10,000 grey images of clothing, 28 x 28 pixels, ten classes.

Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", arXiv:1708.07747.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from ptrain.data.samples import Source
from ptrain.data.sources import idx
from ptrain.data.sources.torchvision_sets import download, roots
from ptrain.data.store.stream import Request
from ptrain.errors import DataError

CLASS_NAMES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_SYSTEM = Path("/usr/share/datasets/fashion-mnist")


def open_fashion_mnist(_: str = "", __: Request | None = None, environ: Mapping[str, str] = os.environ) -> Source:
    """Fashion-MNIST from the first folder that has it; otherwise torchvision downloads it into the cache."""
    cache, folder = roots(environ)[-1], find(folders(environ))
    if folder is None:
        folder = cache / "FashionMNIST" / "raw"
        reason = download("FashionMNIST", cache)
        if reason is not None:
            looked = ", ".join(map(str, folders(environ)))
            fix = "run scripts/fetch-fashion-mnist, or install Debian's package dataset-fashion-mnist"
            raise DataError(f"fashion-mnist: not in {looked}, and {reason}: {fix}")
    return idx.read_folder(
        folder,
        name="fashion-mnist",
        description=f"Fashion-MNIST, clothing, 28 x 28 pixels, from {folder}",
        class_names=CLASS_NAMES,
    )


def folders(environ: Mapping[str, str]) -> list[Path]:
    """The folders that may have it: PTRAIN_DATA, the cache, Debian's package, torchvision's layout."""
    own = [root / "fashion-mnist" for root in roots(environ)]
    torchvision = [root / "FashionMNIST" / "raw" for root in (*roots(environ), Path("data"))]
    return [*own, _SYSTEM, *torchvision]


def find(candidates: list[Path]) -> Path | None:
    """The first of these folders that holds all four files."""
    return next((folder for folder in candidates if folder.is_dir() and len(idx.find_files(folder)) == 4), None)
