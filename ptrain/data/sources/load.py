"""From a configuration to a data set: the source of ``--data`` is opened, its test split joined, the splits cut."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ptrain.config import DataConfig
from ptrain.data.matching import by_name
from ptrain.data.missing import filled, filled_with
from ptrain.data.samples import DataSet, Samples, Source, check_shape
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
    source = by_name(read(config, schema=schema, class_names=class_names, watch=watch), class_names)
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
    source = converted.cached(open_source(config, schema=schema, class_names=class_names), watch)
    return _of_form(source, schema)


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
    request = Request(config=config, schema=schema, class_names=class_names, labelled=labelled)
    opened: Stream | Source = resolve(row.opens)(rest, request)
    return opened


def read_unlabelled(
    spec: str,
    config: DataConfig | None = None,
    schema: Schema = None,
    watch: Watch | None = None,
    tell: Callable[[Source], None] = lambda _: None,
) -> Samples:
    """Samples to predict, all with label 0: a FEATURES.npy, the features of a FILE.npz, or any other source.

    Of a source with splits of its own it is the one to test on. ``config`` and ``schema`` are those of the network.
    """
    opened = open_source(_alone(config or DataConfig(), spec, None), schema=schema, labelled=False)
    source = _of_form(converted.cached(opened, watch), schema)
    tell(source)
    return source.held_out.get(source.for_test, source.train)


def _alone(config: DataConfig, spec: str, labels: str | None) -> DataConfig:
    """The configuration for another file, all of which is read, with the same columns."""
    return replace(config, data=spec, labels=labels, test_data=None, test_labels=None, split="random", group=None)


def _of_form(source: Source, schema: Schema) -> Source:
    """The source, with a warning where its features have no names but those of a network or of --data have.

    Raises DataError where converted data have other features.
    """
    kind = (schema or {}).get("kind")
    if kind in ("table", "scene") and (source.schema or {}).get("kind") != kind:
        text = f"{source.name}: its features have no names: they are taken in the order of the {kind} of training"
        return replace(source, warnings=(*source.warnings, text))
    for key in ("columns", "bands", "neighborhood", "band_names", "band_wavelengths"):
        found, expected = ((one or {}).get(key) for one in (source.schema, schema))
        if found is not None and expected is not None and found != expected:
            shown = ", ".join(column["name"] for column in expected[:20]) if key == "columns" else expected
            what = key.replace("_", " ")
            raise DataError(
                f"{source.name}: its {what}, their order or categories are not those of training; expected {shown}: "
                "give the file itself instead of its converted form"
            )
    fill = (schema or {}).get("fill")
    if fill is not None and (source.schema or {}).get("fill", fill) is None:  # converted with its own gaps
        return replace(filled_with(source, fill), schema=schema)
    return source


def _refuse_flags(config: DataConfig, row: Row) -> None:
    """Raise DataError where --labels or a choice of columns is given for a source that has none."""
    spec, labels = config.data, config.labels
    if labels is not None and row.labels == "none":
        raise DataError(f"--labels {labels} with --data {spec}: expected only with a .npy file; leave --labels out")
    for name in ("target", "features", "drop", "categories", "missing", "missing_values"):
        value, fits = getattr(config, name), row.missing if name == "missing" else row.columns
        flag = f"--{name.replace('_', '-')}"
        if value != getattr(DataConfig, name) and not fits:
            kinds = ", .npy, .npz, .h5, .mat, .zarr" if name == "missing" else ""
            raise DataError(
                f"{flag} {value} with --data {spec}: expected only with a table (.csv, .tsv, .parquet){kinds}; "
                f"leave {flag} out"
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
    is_table = (source.schema or {}).get("kind") == "table"
    if is_table != row.columns and row.name != "converted":
        raise DataError(f"--test-data {spec} with --data {config.data}: expected two tables, or none")
    alone = _alone(config, spec, labels)
    other = read(alone, schema=source.schema, class_names=source.class_names, watch=watch)
    other = by_name(other, source.class_names)
    if is_table != ((other.schema or {}).get("kind") == "table"):
        raise DataError(f"--test-data {spec} with --data {config.data}: expected two tables, or none")
    check_shape(other.image_shape, source.image_shape, other.name)
    used = other.for_test
    left = [name for name in ("train", *other.held_out) if name != used]
    unused = (f"--test-data {spec}: its {used} split is used, its {' and '.join(left)} split is not",) if left else ()
    return replace(
        source,
        test=other.held_out.get(used, other.train),
        notes=(*source.notes, *other.notes),
        warnings=(*source.warnings, *other.warnings, *unused),
    )
