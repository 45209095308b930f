"""Where data come from: the table of sources, and ``load``, which turns a configuration into a data set."""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ptrain.config import DataConfig
from ptrain.data.missing import filled
from ptrain.data.samples import DataSet, Samples, Source
from ptrain.data.sources import (
    digits,
    fashion_mnist,
    hdf5,
    idx,
    image_folder,
    mat,
    npy,
    npz,
    scene,
    synthetic,
    tables,
    torchvision_sets,
    zarr_arrays,
)
from ptrain.data.splits import cut, make_samples
from ptrain.data.store import converted
from ptrain.data.store.converted import Watch
from ptrain.data.store.stream import Format, Request, Stream
from ptrain.errors import DataError

FIXED: dict[str, Callable[[], Source]] = {"digits": digits.load, "fashion-mnist": fashion_mnist.load}
"""Real data sets that have a name and no parameters."""
KINDS = ("idx", "npz", "npy", "converted", "torchvision")
"""Formats that are used as they lie there, as in npz:FILE."""
FORMATS: dict[str, Format] = {
    "csv": Format(open=tables.open_csv, extensions=(".csv",)),
    "tsv": Format(open=tables.open_tsv, extensions=(".tsv", ".tab")),
    "parquet": Format(open=tables.open_parquet, extensions=(".parquet", ".pq")),
    "hdf5": Format(open=hdf5.open_hdf5, extensions=hdf5.SUFFIXES, takes_labels=True),
    "mat": Format(open=scene.open_mat, extensions=mat.SUFFIXES, takes_labels=True),
    "zarr": Format(open=zarr_arrays.open_zarr, extensions=zarr_arrays.SUFFIXES, takes_labels=True),
    "images": Format(open=image_folder.open_image_folder),
    "scene": Format(open=scene.open_scene, extensions=scene.EXTENSIONS, takes_labels=True),
}
"""Formats that are converted into the cache first, as in csv:FILE. Their modules load no library until they open."""
UNDERSTOOD = (
    f"{', '.join([*FIXED, *synthetic.PARAMETERS])} (with :key=value,... after a synthetic one), or one of "
    f"{', '.join([*KINDS, *FORMATS])} as KIND:PATH, or just the folder or file"
)


def load(
    config: DataConfig,
    seed: int,
    *,
    schema: Mapping[str, Any] | None = None,
    class_names: tuple[str, ...] | None = None,
    watch: Watch | None = None,
) -> DataSet:
    """Return the data set of ``--data`` with its splits. Raises DataError where it cannot be had or used.

    ``schema`` and ``class_names`` are those of a trained network that is to be evaluated on the data; ``watch``
    shows how far a conversion is. The contents are not scanned yet: ``ptrain.data.checks.check`` does that, shared over
    the ranks.
    """
    source = read(config, schema=schema, class_names=class_names, watch=watch)
    if config.test_data is not None:
        if source.test is not None:
            raise DataError(
                f"--test-data {config.test_data}: {source.name} has a test split of its own; leave --test-data out"
            )
        source = _with_test(source, config, watch)
    dataset = cut(
        source, test_fraction=config.test_fraction, validation=config.validation, seed=seed, split=config.split
    )
    return filled(dataset)


def read(
    config: DataConfig,
    *,
    schema: Mapping[str, Any] | None = None,
    class_names: tuple[str, ...] | None = None,
    watch: Watch | None = None,
) -> Source:
    """Return the samples that ``--data`` names, with ``--labels`` as the file of labels where there is one."""
    spec, labels = config.data, config.labels
    kind, rest = parse(spec)
    if labels is not None and kind != "npy" and not (kind in FORMATS and FORMATS[kind].takes_labels):
        raise DataError(f"--labels {labels} with --data {spec}: expected only with a .npy file; leave --labels out")
    tables.refuse_columns(config, kind)
    if kind in FIXED:
        if rest:
            raise DataError(f"{spec}: {kind} has no parameters; expected just {kind}")
        return FIXED[kind]()
    if kind in synthetic.PARAMETERS:
        return synthetic.load(kind, _parameters(kind, rest))
    if not rest:
        raise DataError(f"--data {spec}: no path; expected such as {kind}:PATH")
    if kind in FORMATS:
        return converted.cached(open_stream(config, schema=schema, class_names=class_names), watch)
    if kind == "torchvision":
        return torchvision_sets.load(rest)
    path = Path(rest).expanduser()
    if kind == "npy":
        if labels is None:
            raise DataError(f"{path}: features without labels; expected --labels FILE.npy with one number a sample")
        return npy.load(path, Path(labels).expanduser())
    if kind == "converted":
        return converted.load(path)
    return npz.load(path) if kind == "npz" else idx.load(path)


def open_stream(
    config: DataConfig,
    *,
    schema: Mapping[str, Any] | None = None,
    class_names: tuple[str, ...] | None = None,
    labelled: bool = True,
) -> Stream:
    """Return the stream of a file of one of the ``FORMATS``. Raises DataError for any other source."""
    kind, rest = parse(config.data)
    if kind not in FORMATS:
        raise DataError(f"--data {config.data}: {kind} is not converted; expected one of {', '.join(FORMATS)}")
    stream = FORMATS[kind].open(rest, Request(config=config, schema=schema, labelled=labelled))
    if stream.class_names is None and class_names is not None:
        # names in the file become the numbers that the network knows
        stream = replace(stream, class_names=class_names)
    return stream


def read_unlabelled(
    spec: str,
    config: DataConfig | None = None,
    schema: Mapping[str, Any] | None = None,
    watch: Watch | None = None,
) -> Samples:
    """Return samples to predict, all with label 0: a FEATURES.npy, the features of a FILE.npz, or any other source.

    Of a source with a test split of its own it is that one. ``config`` and ``schema`` are those of the network.
    """
    kind, rest = parse(spec)
    if kind in ("npy", "npz") and rest:
        path = Path(rest).expanduser()
        features = npy.read(path) if kind == "npy" else npz.read_features(path)
        return make_samples(features, np.zeros(len(features) if features.ndim else 0, np.int64), str(path))[0]
    plain = DataConfig() if config is None else config
    plain = replace(plain, data=spec, labels=None, test_data=None, test_labels=None, split="random", group=None)
    if kind in FORMATS and rest:
        source = converted.cached(open_stream(plain, schema=schema, labelled=False), watch)
    else:
        source = read(DataConfig(data=spec))
    return source.test or source.train


def parse(spec: str) -> tuple[str, str]:
    """Return the name or kind of a source, and its parameters or path.

    Raises DataError, with the nearest valid name and the list of what is understood, for anything else.
    """
    kind, _, rest = spec.partition(":")
    if kind in FIXED or kind in synthetic.PARAMETERS or kind in KINDS or kind in FORMATS:
        return kind, rest
    path = Path(spec).expanduser()
    if path.suffix in (".npz", ".npy"):
        return path.suffix[1:], spec
    known = by_extension(spec)
    if known is not None:
        return known, spec
    if spec and path.is_dir():
        return of_folder(path), spec
    hint = "" if "/" in spec else _hint(kind, [*FIXED, *synthetic.PARAMETERS, *KINDS, *FORMATS])
    found = "a file of no format that is known here" if spec and path.exists() else "no such source, folder or file"
    raise DataError(f"--data {spec}: {found}; {hint}expected {UNDERSTOOD}")


def of_folder(folder: Path) -> str:
    """Return the format of a folder from what is in it; IDX files are what is expected of any other."""
    if converted.is_converted(folder):
        return "converted"
    if zarr_arrays.is_zarr(folder):
        return "zarr"
    return "images" if image_folder.is_image_folder(folder) else "idx"


def by_extension(spec: str) -> str | None:
    """Return the format of FILE.ext, FILE.ext:/place/inside or FILE.ext:name, or None."""
    for text in (spec, spec.rpartition(":")[0]):
        suffix = Path(text).suffix.lower()
        for kind, one in FORMATS.items():
            if suffix in one.extensions:
                return kind
    return None


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


def _with_test(source: Source, config: DataConfig, watch: Watch | None) -> Source:
    """Return the source with the samples of --test-data as its test split, read with the columns of --data."""
    spec, labels = config.test_data or "", config.test_labels
    kind, _ = parse(spec)
    if kind not in ("npz", "npy", "converted") and kind not in FORMATS:
        raise DataError(
            f"--test-data {spec}: expected FILE.npz, or FILE.npy with --test-labels, or a file of the format of --data"
        )
    if kind == "npy" and labels is None:
        raise DataError(f"--test-data {spec}: features without labels; expected --test-labels FILE.npy as well")
    if kind == "npz" and labels is not None:
        raise DataError(f"--test-labels {labels} with --test-data {spec}: expected only with a .npy file")
    own = replace(config, data=spec, labels=labels, test_data=None, test_labels=None, split="random", group=None)
    if (source.schema is not None and source.schema.get("kind") == "table") != (kind in tables.KINDS):
        raise DataError(f"--test-data {spec} with --data {config.data}: expected two tables, or none")
    other = read(own, schema=source.schema, class_names=source.class_names, watch=watch)
    return replace(source, test=other.test or other.train)
