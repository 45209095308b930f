"""torchvision's data sets by name, such as torchvision:CIFAR10.

``ptrain data fetch NAME`` downloads one through torchvision's own class and writes its converted form; everything else
reads that form, without torchvision and without a network.
"""

import difflib
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.samples import Source
from ptrain.data.sources.fashion_mnist import cache_folder
from ptrain.data.sources.torchvision_import import import_datasets
from ptrain.data.store import cache, convert, converted
from ptrain.data.store.reading import one_line
from ptrain.data.store.stream import Block, Request, Stream, blocks_of
from ptrain.errors import DataError

_TRAIN: Mapping[str, Any] = {"train": True}
_TEST: Mapping[str, Any] = {"train": False}
_DIGITS = tuple("0123456789")
_ARCHIVES = (".gz", ".tgz", ".tar", ".zip", ".bz2", ".xz", ".mat", ".data")


@dataclass(frozen=True, kw_only=True)
class Set:
    """How torchvision makes a data set."""

    about: str
    train: Mapping[str, Any] = field(default_factory=lambda: _TRAIN)
    """Arguments for the training split."""
    test: Mapping[str, Any] | None = field(default_factory=lambda: _TEST)
    """Arguments for the test split; None where there is only one."""
    variants: tuple[str, ...] = ()
    """Values of the argument split, where it chooses among data sets; the first one is the default."""
    class_names: tuple[str, ...] | None = None
    """Where torchvision's class has none."""
    checked: bool = True
    """Whether torchvision checks the sum of an archive that is there already."""


_SPLIT: dict[str, Any] = {"train": {"split": "train"}, "test": {"split": "test"}}
SETS: dict[str, Set] = {
    "CIFAR10": Set(about="10 classes of small colour images, 32 x 32"),
    "CIFAR100": Set(about="100 classes of small colour images, 32 x 32"),
    "EMNIST": Set(
        about="handwritten letters and digits, 28 x 28",
        variants=("balanced", "byclass", "bymerge", "letters", "digits", "mnist"),
    ),
    "EuroSAT": Set(about="10 classes of land cover from Sentinel-2, RGB, 64 x 64", train={}, test=None),
    "FashionMNIST": Set(about="clothing, 28 x 28"),
    "KMNIST": Set(about="cursive Japanese characters, 28 x 28"),
    "MNIST": Set(about="handwritten digits, 28 x 28"),
    "QMNIST": Set(about="MNIST with 60,000 test images", class_names=_DIGITS),
    "SVHN": Set(about="house numbers, RGB, 32 x 32", class_names=_DIGITS, **_SPLIT),
    "STL10": Set(about="10 classes of colour images, 96 x 96", **_SPLIT),
    "SEMEION": Set(about="handwritten digits, 16 x 16", train={}, test=None, class_names=_DIGITS),
    "USPS": Set(about="handwritten digits, 16 x 16", class_names=_DIGITS, checked=False),
}
"""The classes of torchvision.datasets whose images all have one size."""


def open_torchvision(name: str, _: Request | None = None, environ: Mapping[str, str] = os.environ) -> Source:
    """A data set that was fetched; raises DataError with the command that fetches it where it is missing."""
    label = _label(*parse(name))
    folders = [root / "converted" / label for root in roots(environ)]
    found = next((folder for folder in folders if converted.is_converted(folder)), None)
    if found is None:
        looked = ", ".join(map(str, folders))
        raise DataError(
            f"torchvision:{name}: not in {looked}: run ptrain data fetch {label} on a machine with a network, such as "
            "the login node"
        )
    return converted.load(found)


def fetch(
    name: str,
    report: Callable[[int], None] | None = None,
    environ: Mapping[str, str] = os.environ,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Download a data set and convert it; return the folder, which is complete as soon as it is there.

    What is there already is not fetched again, and a download that was cut off starts again at its last whole file.
    torchvision holds a split in memory: 180 MB for CIFAR-10, 1.4 GB for STL-10. Raises DataError where it fails.
    """
    dataset, variant = parse(name)
    root, label = roots(environ)[0], _label(dataset, variant)

    def make(folder: Path, alone: bool) -> None:
        if alone:  # the lock's holder; without locks each has its own name
            shutil.rmtree(convert.partial_of(folder), ignore_errors=True)
        say(f"fetching {label} into {root / dataset}")
        stream = _stream(_datasets(name), dataset, variant, _raw(root, dataset))
        say("converting")
        convert.convert(stream, folder, report, alone=alone)

    return cache.made("converted", label, make, folder=root)


def parse(name: str) -> tuple[str, str]:
    """Class and variant of NAME or NAME:VARIANT; raises DataError, with the nearest name, for any other."""
    given, _, variant = name.partition(":")
    dataset = next((known for known in SETS if known.lower() == given.lower()), None)
    if dataset is None:
        close = difflib.get_close_matches(given.upper(), [known.upper() for known in SETS], n=1, cutoff=0.5)
        nearest = next((f"did you mean {known}? " for known in SETS if [known.upper()] == close), "")
        raise DataError(f"torchvision:{name}: no such data set; {nearest}expected one of {', '.join(SETS)}")
    variants = SETS[dataset].variants
    if variant and variant not in variants:
        fix = f"one of {', '.join(variants)}" if variants else f"just torchvision:{dataset}"
        raise DataError(f"torchvision:{name}: no variant {variant} of {dataset}; expected {fix}")
    return dataset, variant or (variants[0] if variants else "")


def roots(environ: Mapping[str, str]) -> list[Path]:
    """The folders that are looked into, the one that is written first: in PTRAIN_DATA, in the user's cache."""
    own = [Path(environ["PTRAIN_DATA"])] if environ.get("PTRAIN_DATA") else []
    return [root / "torchvision" for root in (*own, cache_folder(environ))]


def _label(dataset: str, variant: str) -> str:
    return f"{dataset}:{variant}" if variant else dataset


def _raw(root: Path, dataset: str) -> Path:
    """The folder for torchvision's files; what an earlier download left unpacked, perhaps in part, is removed.

    Archives stay: torchvision checks their sums, but takes unpacked files for complete.
    """
    raw = root / dataset
    mark = raw / ".unfinished"
    try:
        if mark.exists():
            for path in sorted(raw.rglob("*"), reverse=True):
                keep = SETS[dataset].checked and path.suffix in _ARCHIVES
                if path.is_file() and path != mark and not keep:
                    path.unlink()
                elif path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
        elif not raw.exists():
            raw.mkdir(parents=True)
            mark.touch()
    except OSError as error:
        raise DataError(
            f"{raw}: cannot be written ({error.strerror}); expected a folder with room: set PTRAIN_DATA to another one"
        ) from None
    return raw


def _datasets(name: str) -> ModuleType:
    try:
        return import_datasets()
    except ImportError:
        raise DataError(
            f"torchvision:{name}: torchvision, which downloads it, is not installed; "
            "install it: pip install --no-deps torchvision"
        ) from None
    except Exception as error:
        raise DataError(
            f"torchvision:{name}: torchvision cannot be imported ({one_line(error)}); expected the release that "
            "belongs to the torch that is installed"
        ) from None


def _stream(datasets: ModuleType, dataset: str, variant: str, raw: Path) -> Stream:
    """The stream of a data set, downloaded unless its files are there."""
    how = SETS[dataset]
    chosen = {"split": variant} if variant else {}
    make, label = getattr(datasets, dataset), _label(dataset, variant)
    wanted = [arguments for arguments in (how.train, how.test) if arguments is not None]
    made = [_made(make, label, raw, {**chosen, **arguments}) for arguments in wanted]
    (raw / ".unfinished").unlink(missing_ok=True)
    first = np.asarray(made[0][0][0])
    names = how.class_names or tuple(getattr(made[0], "classes", ())) or None
    return Stream(
        name=f"torchvision:{label}",
        description=f"{how.about}, from torchvision",
        files=(),
        options={"format": "torchvision", "set": dataset, "variant": variant},
        dtype=first.dtype,
        num_features=first.size,
        image_shape=first.shape,
        feature_range=(0, 255) if first.dtype == np.uint8 else None,
        class_names=names,
        num_samples=len(made[0]),
        train=partial(_blocks, made[0], first.shape, first.dtype),
        test=partial(_blocks, made[1], first.shape, first.dtype) if len(made) > 1 else None,
    )


def _made(make: Callable[..., Any], label: str, raw: Path, arguments: Mapping[str, Any]) -> Any:
    try:
        return make(str(raw), download=True, **arguments)
    except Exception as error:  # of urllib, ssl, tarfile, zipfile, zlib, pickle, numpy, ...
        raise DataError(
            f"torchvision:{label}: torchvision could not fetch it ({type(error).__name__}: {one_line(error)}); run "
            f"ptrain data fetch {label} again on a machine with a network, such as the login node, or put "
            f"torchvision's files into {raw}"
        ) from None


def _blocks(images: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[Block]:
    """Yield what torchvision's class gives for each index: an image of Pillow and a number."""

    def sample(index: int) -> tuple[NDArray[Any], int]:
        image, label = images[index]
        values = np.asarray(image)
        if values.shape != shape:
            raise DataError(f"torchvision: image {index} is of shape {values.shape}; expected {shape}")
        return values, int(label)

    return blocks_of(len(images), math.prod(shape), dtype, sample)
