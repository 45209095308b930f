"""Where data come from: the table of sources, and ``load``, which turns a configuration into a data set."""

import difflib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ptrain.config import DataConfig
from ptrain.data.samples import DataSet, Samples, Source
from ptrain.data.sources import digits, fashion_mnist, idx, npy, npz, synthetic
from ptrain.data.splits import cut, make_samples
from ptrain.errors import DataError

FIXED: dict[str, Callable[[], Source]] = {"digits": digits.load, "fashion-mnist": fashion_mnist.load}
"""Real data sets that have a name and no parameters."""
KINDS = ("idx", "npz", "npy")
"""Formats, as in npz:FILE."""
UNDERSTOOD = (
    f"{', '.join([*FIXED, *synthetic.PARAMETERS])} (with :key=value,... after a synthetic one), idx:FOLDER, npz:FILE, "
    "npy:FILE with --labels FILE, or just the folder or file"
)


def load(config: DataConfig, seed: int) -> DataSet:
    """Return the data set of ``--data`` with its splits. Raises DataError where it cannot be had or used.

    The contents are not scanned yet: ``ptrain.data.checks.check`` does that, shared over the ranks.
    """
    source = read(config.data, config.labels)
    if config.test_data is not None:
        if source.test is not None:
            raise DataError(
                f"--test-data {config.test_data}: {source.name} has a test split of its own; leave --test-data out"
            )
        source = _with_test(source, config.test_data, config.test_labels)
    return cut(source, test_fraction=config.test_fraction, validation=config.validation, seed=seed)


def read(spec: str, labels: str | None = None) -> Source:
    """Return the samples that a value of ``--data`` names, with ``labels`` as the file of labels of a .npy file."""
    kind, rest = parse(spec)
    if labels is not None and kind != "npy":
        raise DataError(f"--labels {labels} with --data {spec}: expected only with a .npy file; leave --labels out")
    if kind in FIXED:
        if rest:
            raise DataError(f"{spec}: {kind} has no parameters; expected just {kind}")
        return FIXED[kind]()
    if kind in synthetic.PARAMETERS:
        return synthetic.load(kind, _parameters(kind, rest))
    if not rest:
        raise DataError(f"--data {spec}: no path; expected such as {kind}:PATH")
    path = Path(rest).expanduser()
    if kind == "npy":
        if labels is None:
            raise DataError(f"{path}: features without labels; expected --labels FILE.npy with one number a sample")
        return npy.load(path, Path(labels).expanduser())
    return npz.load(path) if kind == "npz" else idx.load(path)


def read_unlabelled(spec: str) -> Samples:
    """Return samples to predict, all with label 0: a FEATURES.npy, the features of a FILE.npz, or any other source.

    Of a source with a test split of its own it is that one.
    """
    kind, rest = parse(spec)
    if kind in ("npy", "npz") and rest:
        path = Path(rest).expanduser()
        features = npy.read(path) if kind == "npy" else npz.read_features(path)
        return make_samples(features, np.zeros(len(features) if features.ndim else 0, np.int64), str(path))[0]
    source = read(spec)
    return source.test or source.train


def parse(spec: str) -> tuple[str, str]:
    """Return the name or kind of a source, and its parameters or path.

    Raises DataError, with the nearest valid name and the list of what is understood, for anything else.
    """
    kind, _, rest = spec.partition(":")
    if kind in FIXED or kind in synthetic.PARAMETERS or kind in KINDS:
        return kind, rest
    path = Path(spec).expanduser()
    if path.suffix in (".npz", ".npy"):
        return path.suffix[1:], spec
    if spec and path.is_dir():
        return "idx", spec
    hint = "" if "/" in spec else _hint(kind, [*FIXED, *synthetic.PARAMETERS, *KINDS])
    found = "a file of no format that is known here" if spec and path.exists() else "no such source, folder or file"
    raise DataError(f"--data {spec}: {found}; {hint}expected {UNDERSTOOD}")


def _parameters(name: str, text: str) -> dict[str, float]:
    """Return the numbers in ``samples=2000,noise=0.1``, checked against the parameters of a synthetic set."""
    known = synthetic.PARAMETERS[name]
    values: dict[str, float] = {}
    for item in filter(None, text.split(",")):
        key, _, value = item.partition("=")
        if key not in known:
            raise DataError(
                f"{name}:{item}: unknown parameter {key}; {_hint(key, list(known))}expected {', '.join(known)}"
            )
        parameter = known[key]
        try:
            number = int(value) if parameter.whole else float(value)
        except ValueError:
            number = -math.inf
        if not (math.isfinite(number) and number >= parameter.smallest):
            sort = "a whole number" if parameter.whole else "a number"
            raise DataError(f"{name}:{item}: expected {key} to be {sort} of at least {parameter.smallest:g}")
        values[key] = number
    return values


def _hint(name: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"did you mean {close[0]}? " if close else ""


def _with_test(source: Source, test_data: str, test_labels: str | None) -> Source:
    """Return the source with the samples of --test-data as its test split."""
    kind, _ = parse(test_data)
    if kind not in ("npz", "npy"):
        raise DataError(f"--test-data {test_data}: expected FILE.npz, or FILE.npy with --test-labels")
    if kind == "npy" and test_labels is None:
        raise DataError(f"--test-data {test_data}: features without labels; expected --test-labels FILE.npy as well")
    if kind == "npz" and test_labels is not None:
        raise DataError(f"--test-labels {test_labels} with --test-data {test_data}: expected only with a .npy file")
    other = read(test_data, test_labels)
    return Source(
        name=source.name,
        description=source.description,
        train=source.train,
        test=other.test or other.train,
        image_shape=source.image_shape,
        feature_range=source.feature_range,
        class_names=source.class_names,
    )
