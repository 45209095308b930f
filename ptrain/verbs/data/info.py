"""``ptrain data info``: what is in a source, before anything is trained on it."""

import json
import os
import time
from dataclasses import replace
from typing import Any

import numpy as np

from ptrain.config import DataConfig, RunConfig
from ptrain.console import Console
from ptrain.data.checks import check, class_counts
from ptrain.data.fingerprint import combine_fingerprints, fingerprint_blocks
from ptrain.data.samples import DataSet
from ptrain.data.sources import table_columns, table_notes, tables
from ptrain.data.sources.load import load
from ptrain.data.sources.table import parse
from ptrain.data.summary import duplicates, ranges
from ptrain.errors import EXIT_DONE, DataError, MissingValueError
from ptrain.launch import env
from ptrain.verbs.data import DataOptions

_MAX_FEATURES = 40
"""Features that are listed one by one."""
_BAR = 40


def run(options: DataOptions, data: DataConfig, seed: int, _settings: RunConfig) -> int:
    """Print what the source holds and return the exit code. In a job only rank 0 has something to do.

    Raises DataError where the data cannot be read.
    """
    if env.detect(os.environ).rank != 0:
        return EXIT_DONE
    row, rest = parse(data.data)
    if row.columns and data.target is None:
        found, show = survey(row.name, rest, data), _show_columns
    else:
        found, show = describe(data, seed), _show
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        show(Console(), found)
    return EXIT_DONE


def survey(kind: str, rest: str, config: DataConfig) -> dict[str, Any]:
    """What the columns of a table hold, where no target is chosen yet."""
    start = time.perf_counter()
    table = tables.open_table(kind, rest, tables.missing_values(config))
    choice = table_columns.Choice(features=table.columns, target=None, group=None)
    found = table_columns.scan(table, choice, "mean", strict=False)
    return {
        "data": config.data,
        "rows": found["rows"],
        "seconds": round(time.perf_counter() - start, 3),
        "columns": [{"name": name} | one for name, one in found["columns"].items()],
        "notes": [*table.notes, *table_notes.left_out(table, ())],
    }


def describe(data: DataConfig, seed: int) -> dict[str, Any]:
    """What evaluation and people want to know of a data set, as JSON has it."""
    start = time.perf_counter()
    missing: dict[str, int] = {}
    try:
        dataset = load(data, seed)
    except MissingValueError:
        dataset, missing = _with_gaps(data, seed)
    seconds = time.perf_counter() - start
    train, held_out = dataset.train.samples, [split for name, split in dataset.splits.items() if name != "train"]
    features = ranges(train)
    problem = None
    try:
        check(dataset)
    except DataError as error:
        problem = str(error)
    if missing:
        problem = f"{sum(missing.values()):,} missing values: choose --missing mean or --missing drop to train"
    names = dataset.feature_names or tuple(f"feature {number}" for number in range(dataset.num_features))
    return {
        "data": data.data,
        "name": dataset.name,
        "description": dataset.description,
        "samples": {name: split.size for name, split in dataset.splits.items()},
        "features": dataset.num_features,
        "image_shape": dataset.image_shape,
        "type": str(train.features.dtype),
        "labels_type": str(train.labels.dtype),
        "classes": list(dataset.class_names),
        "counts": {name: class_counts(split, dataset.num_classes).tolist() for name, split in dataset.splits.items()},
        "ranges": [
            {"name": name}
            | {key: _number(features[key][number]) for key in ("low", "high", "mean")}
            | {key: int(features[key][number]) for key in ("missing", "infinite")}
            for number, name in enumerate(names)
        ],
        "missing": missing,
        "memory_bytes": int(sum(one.features.nbytes + one.labels.nbytes for one in dataset.all_samples)),
        "mapped": isinstance(train.features, np.memmap) or isinstance(train.features.base, np.memmap),
        "sha256": combine_fingerprints([fingerprint_blocks(dataset)]),
        "split": data.split if any(split.samples is train for split in held_out) else "of the source",
        "split_sha256": dataset.split_sha256,
        "duplicates": duplicates(dataset),
        "seconds": round(seconds, 3),
        "notes": dataset.notes,
        "warnings": dataset.warnings,
        "problem": problem,
    }


def _with_gaps(data: DataConfig, seed: int) -> tuple[DataSet, dict[str, int]]:
    """A table with its missing values filled, and how many each column has, to be looked at all the same."""
    data = replace(data, missing="mean")
    row, rest = parse(data.data)
    table = tables.open_table(row.name, rest, tables.missing_values(data), [data.target] if data.target else ())
    found = table_columns.scan(table, table_columns.choose(table, data), "mean", strict=False)
    missing = {name: one["missing"] for name, one in found["columns"].items() if one["missing"]}
    target = data.target or ""
    if missing.get(target):
        data = replace(data, missing="drop")
    return load(data, seed), missing


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _show(console: Console, found: dict[str, Any]) -> None:
    shape = "" if found["image_shape"] is None else f" ({' x '.join(map(str, found['image_shape']))})"
    splits = ", ".join(f"{size:,} {name}" for name, size in found["samples"].items())
    held = ", memory-mapped" if found["mapped"] else ""
    words = {"train": "in training more than once"} | {n: f"of {n} in training as well" for n in ("validation", "test")}
    twice = "; ".join(f"{count:,} {words[name]}" for name, count in found["duplicates"].items() if count)
    lines = {
        "data": f"{found['name']}: {found['description']}",
        "samples": f"{sum(found['samples'].values()):,}: {splits}",
        "features": f"{found['features']:,}{shape} of type {found['type']}, labels of type {found['labels_type']}",
        "memory": f"{_bytes(found['memory_bytes'])}{held}",
        "sha256": found["sha256"],
        "split": f"{found['split']}, sha256 {found['split_sha256']}",
        "read in": f"{found['seconds']:.3g} s",
        "duplicates": twice or "none",
    }
    for name, text in lines.items():
        console.say(f"{name:<10} {text}")
    for text in found["notes"]:
        console.say(f"{'note':<10} {text}")
    for text in found["warnings"]:
        console.warn(text)
    console.say()
    _show_ranges(console, found["ranges"])
    console.say()
    _show_classes(console, found)
    if found["problem"] is not None:
        console.say()
        console.warn(found["problem"])


def _show_ranges(console: Console, features: list[dict[str, Any]]) -> None:
    keys = ("name", "low", "high", "mean", "missing", "infinite")
    shown = features if len(features) <= _MAX_FEATURES else [_together(features)]
    rows = [[one[key] for key in keys] for one in shown]
    console.table(("feature", *keys[1:]), rows, title="Samples from which training is cut")


def _together(features: list[dict[str, Any]]) -> dict[str, Any]:
    known = [one for one in features if one["low"] is not None]
    return {
        "name": f"all {len(features):,}",
        "low": min((one["low"] for one in known), default=None),
        "high": max((one["high"] for one in known), default=None),
        "mean": sum(one["mean"] for one in known) / len(known) if known else None,
        "missing": sum(one["missing"] for one in features),
        "infinite": sum(one["infinite"] for one in features),
    }


def _show_classes(console: Console, found: dict[str, Any]) -> None:
    splits = list(found["counts"])
    totals = [sum(found["counts"][name][number] for name in splits) for number in range(len(found["classes"]))]
    largest = max(totals, default=1) or 1
    rows = []
    for number, name in enumerate(found["classes"]):
        bar = "█" * round(_BAR * totals[number] / largest) or ("▏" if totals[number] else "")
        rows.append([name, *(found["counts"][split][number] for split in splits), totals[number], bar])
    console.table(("class", *splits, "all", ""), rows, title="Classes")


def _show_columns(console: Console, found: dict[str, Any]) -> None:
    for text in found["notes"]:
        console.say(f"{'note':<10} {text}")
    rows = []
    for one in found["columns"]:
        values = one["values"]
        kind = one["kind"] if one["kind"] != "number" else "whole numbers" if one["whole"] else "numbers"
        number = one["kind"] == "number"
        different = "more" if one["many"] else None if values is None else len(values)
        examples = ", ".join(values[:3]) + (", ..." if len(values) > 3 else "") if values and not number else None
        low, high = (one["low"], one["high"]) if number else (None, None)
        rows.append([one["name"], kind, low, high, one["missing"], different, examples])
    console.table(("column", "holds", "low", "high", "missing", "different", "such as"), rows)
    console.say(
        f"{found['rows']:,} rows, read in {found['seconds']:.3g} s; --target NAME says which column is the class"
    )


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
