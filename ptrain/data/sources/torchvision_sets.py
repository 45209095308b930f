"""torchvision's data sets by name, such as torchvision:CIFAR10.

``ptrain data fetch NAME`` downloads one through torchvision's own class and writes its converted form; everything else
reads that form, without torchvision and without a network.
"""

import contextlib
import difflib
import fcntl
import importlib
import io
import math
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptrain.data.samples import Source
from ptrain.data.store import cache, convert, converted
from ptrain.data.store.reading import one_line
from ptrain.data.store.stream import Block, Request, Stream, blocks_of
from ptrain.errors import DataError

_TRAIN: Mapping[str, Any] = {"train": True}
_TEST: Mapping[str, Any] = {"train": False}
_DIGITS = tuple("0123456789")
_MISSING_OPERATOR = re.compile(r"operator torchvision::(\w+) does not exist")
_ARCHIVES = (".gz", ".tgz", ".tar", ".zip", ".bz2", ".xz", ".mat", ".data")


class Set(NamedTuple):
    """How torchvision makes a data set."""

    about: str
    train: Mapping[str, Any] = _TRAIN
    """Arguments for the training split."""
    test: Mapping[str, Any] | None = _TEST
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
    folders = [root / "torchvision" / "converted" / label for root in roots(environ)]
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
    root, label = roots(environ)[0] / "torchvision", _label(dataset, variant)

    def make(folder: Path, alone: bool) -> None:
        if alone:  # the lock's holder; without locks each has its own name
            shutil.rmtree(convert.partial_of(folder), ignore_errors=True)
        say(f"fetching {label} into {root / dataset}")
        stream = _stream(_datasets(name), dataset, variant, _raw(root, dataset))
        say("converting")
        convert.convert(stream, folder, report, alone=alone)

    return cache.made("converted", label, make, folder=root)


def roots(environ: Mapping[str, str]) -> list[Path]:
    """Where data sets are looked for: in PTRAIN_DATA where it is set, and in ptrain/data of the user's cache folder."""
    own = [Path(environ["PTRAIN_DATA"])] if environ.get("PTRAIN_DATA") else []
    return [*own, cache.user_cache(environ) / "data"]


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


def import_datasets() -> ModuleType:
    """Return torchvision.datasets; raises ImportError where it is not there, RuntimeError where it does not fit torch.

    A CUDA build, which is what PyPI has, cannot load its compiled operators beside a CPU torch, but registers shapes
    and gradients for them while it is imported. A declared operator is all that this asks for, and the data sets need
    none. Which ones are missing is told by torch, so that no list of them can be out of date.
    """
    declared: set[str] = set()
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return importlib.import_module("torchvision.datasets")
        except RuntimeError as error:
            missing = _MISSING_OPERATOR.search(str(error))
            if missing is None or missing[1] in declared:
                raise
            import torch

            declared.add(missing[1])
            torch.library.define(f"torchvision::{missing[1]}", "() -> ()")


def _datasets(name: str) -> ModuleType:
    try:
        return import_datasets()
    except Exception as error:
        what = (
            "torchvision, which downloads it, is not installed; install it: pip install --no-deps torchvision"
            if isinstance(error, ImportError)
            else f"torchvision cannot be imported ({one_line(error)}); expected the release that belongs to the torch "
            "that is installed"
        )
        raise DataError(f"torchvision:{name}: {what}") from None


def _stream(datasets: ModuleType, dataset: str, variant: str, raw: Path) -> Stream:
    """The stream of a data set, downloaded unless its files are there."""
    how, label = SETS[dataset], _label(dataset, variant)
    make = partial(getattr(datasets, dataset), **({"split": variant} if variant else {}))
    made = [_made(make, label, raw, arguments) for arguments in (how.train, how.test) if arguments is not None]
    (raw / ".unfinished").unlink(missing_ok=True)
    first = np.asarray(made[0][0][0])
    train, *test = [partial(_blocks, images, first.shape, first.dtype) for images in made]
    return Stream(
        name=f"torchvision:{label}",
        description=f"{how.about}, from torchvision",
        files=(),
        options={"format": "torchvision", "set": dataset, "variant": variant},
        dtype=first.dtype,
        num_features=first.size,
        image_shape=first.shape,
        feature_range=(0, 255) if first.dtype == np.uint8 else None,
        class_names=how.class_names or tuple(getattr(made[0], "classes", ())) or None,
        num_samples=len(made[0]),
        train=train,
        test=test[0] if test else None,
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

    def samples() -> Iterator[tuple[NDArray[Any], int]]:
        for index in range(len(images)):
            image, label = images[index]
            values = np.asarray(image)
            if values.shape != shape:
                raise DataError(f"torchvision: image {index} is of shape {values.shape}; expected {shape}")
            yield values, int(label)

    return blocks_of(len(images), math.prod(shape), dtype, samples())


def download(dataset: str, root: Path) -> str | None:
    """Let torchvision put the training and test files of a data set under ``root``; return why not, or None.

    Several ranks may call it at once: a lock lets one of them download, the others find its files.
    """
    try:
        datasets = import_datasets()
    except ImportError:
        return "torchvision, which could download it, is not installed"
    except Exception as error:
        return f"torchvision, which could download it, cannot be imported ({one_line(error)})"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / ".download.lock").open("w") as lock, contextlib.redirect_stdout(io.StringIO()):
            fcntl.flock(lock, fcntl.LOCK_EX)
            for train in (True, False):
                getattr(datasets, dataset)(str(root), train=train, download=True)
    except Exception as error:
        return f"torchvision could not download it ({one_line(error)})"
    return None
