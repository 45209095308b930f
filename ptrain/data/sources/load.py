"""From a configuration to a data set: the source of ``--data`` is opened, its test split joined, the splits cut."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ptrain.config import DataConfig
from ptrain.data.missing import filled
from ptrain.data.samples import DataSet, Samples, Source
from ptrain.data.sources.table import Row, parse, resolve
from ptrain.data.splits import cut
from ptrain.data.store import converted
from ptrain.data.store.converted import Watch
from ptrain.data.store.stream import Request, Stream
from ptrain.errors import DataError

Schema = Mapping[str, Any] | None
Names = tuple[str, ...] | None


def load(
    config: DataConfig, seed: int, *, schema: Schema = None, class_names: Names = None, watch: Watch | None = None
) -> DataSet:
    """The data set of ``--data`` with its splits. Raises DataError where it cannot be had or used.

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
    shares = {"test_fraction": config.test_fraction, "validation": config.validation}
    return filled(cut(source, **shares, seed=seed, split=config.split))


def read(config: DataConfig, *, schema: Schema = None, class_names: Names = None, watch: Watch | None = None) -> Source:
    """The samples that ``--data`` names, with ``--labels`` as the file of labels where there is one."""
    return converted.cached(open_source(config, schema=schema, class_names=class_names), watch)


def open_source(
    config: DataConfig, *, schema: Schema = None, class_names: Names = None, labelled: bool = True
) -> Stream | Source:
    """Open what ``--data`` names: a stream, which is to be converted, or samples that are used as they lie there."""
    row, rest = parse(config.data)
    if labelled:
        _refuse_flags(config, row)
    if rest and row.sort == "fixed":
        raise DataError(f"{row.name}:{rest}: {row.name} has no parameters; expected just {row.name}")
    if not rest and row.sort not in ("fixed", "synthetic"):
        raise DataError(f"--data {config.data}: no path; expected such as {row.name}:PATH")
    opened: Stream | Source = resolve(row.opens)(rest, Request(config=config, schema=schema, labelled=labelled))
    if isinstance(opened, Stream) and opened.class_names is None and class_names is not None:
        # names in the file become the numbers that the network knows
        return replace(opened, class_names=class_names)
    return opened


def read_unlabelled(
    spec: str, config: DataConfig | None = None, schema: Schema = None, watch: Watch | None = None
) -> Samples:
    """Samples to predict, all with label 0: a FEATURES.npy, the features of a FILE.npz, or any other source.

    Of a source with a test split of its own it is that one. ``config`` and ``schema`` are those of the network.
    """
    opened = open_source(_alone(config or DataConfig(), spec, None), schema=schema, labelled=False)
    source = converted.cached(opened, watch)
    return source.test or source.train


def _alone(config: DataConfig, spec: str, labels: str | None) -> DataConfig:
    """The configuration for another file, all of which is read, with the same columns."""
    return replace(config, data=spec, labels=labels, test_data=None, test_labels=None, split="random", group=None)


def _refuse_flags(config: DataConfig, row: Row) -> None:
    """Raise DataError where --labels or a choice of columns is given for a source that has none."""
    spec, labels = config.data, config.labels
    if labels is not None and row.labels == "none":
        raise DataError(f"--labels {labels} with --data {spec}: expected only with a .npy file; leave --labels out")
    for name in ("target", "features", "drop", "missing"):
        value = getattr(config, name)
        if value != getattr(DataConfig, name) and not row.columns:
            raise DataError(
                f"--{name} {value} with --data {spec}: expected only with a table (.csv, .tsv, .parquet); "
                f"leave --{name} out"
            )


def _with_test(source: Source, config: DataConfig, watch: Watch | None) -> Source:
    """The source with the samples of --test-data as its test split, read with the columns of --data."""
    spec, labels = config.test_data or "", config.test_labels
    row, _ = parse(spec)
    if not row.is_path:
        raise DataError(
            f"--test-data {spec}: expected FILE.npz, or FILE.npy with --test-labels, or a file of the format of --data"
        )
    if row.labels == "required" and labels is None:
        raise DataError(f"--test-data {spec}: features without labels; expected --test-labels FILE.npy as well")
    if row.labels == "none" and labels is not None:
        raise DataError(f"--test-labels {labels} with --test-data {spec}: expected only with a .npy file")
    if (source.schema is not None and source.schema.get("kind") == "table") != row.columns:
        raise DataError(f"--test-data {spec} with --data {config.data}: expected two tables, or none")
    other = read(_alone(config, spec, labels), schema=source.schema, class_names=source.class_names, watch=watch)
    notes, warnings = source.notes + other.notes, source.warnings + other.warnings
    return replace(source, test=other.test or other.train, notes=notes, warnings=warnings)
