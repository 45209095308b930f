"""Data in the converted form: memory-mapped, so that the ranks of a node share them through the page cache."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ptrain.data.samples import About, Samples, Source, make_samples, row_ranges
from ptrain.data.store import cache, npy
from ptrain.data.store.cache import stamp
from ptrain.data.store.convert import DESCRIPTION, VERSION, Report, convert, left_out, stream_key
from ptrain.data.store.stream import Block, Request, Stream
from ptrain.errors import DataError

Watch = Callable[[Stream], AbstractContextManager[Report | None]]
"""Shows how far the conversion of a stream is."""
_BLOCK_BYTES = 8 * 2**20
_LATER = ("notes", "warnings")
"""What data.json did not have from the beginning."""


def is_converted(folder: Path) -> bool:
    """Whether a folder holds converted data."""
    return (folder / DESCRIPTION).is_file()


def cached(stream: Stream | Source, watch: Watch | None = None) -> Source:
    """The samples of a stream, converted into the cache by the first process that asks for them; a source as it is.

    ``watch`` opens a context for the conversion, in the process that does it, and is told how far it is.
    """
    if isinstance(stream, Source):
        return stream

    def make(folder: Path, alone: bool) -> None:
        with contextlib.nullcontext() if watch is None else watch(stream) as report:
            convert(stream, folder, report, alone=alone)

    folder = cache.made("converted", stream_key(stream)[0], make)
    source = load(folder)
    held_out: dict[str, Any] = {
        name: replace(one, origin=f"{stream.name}, {name} split") for name, one in source.held_out.items()
    }
    splits = {"train": source.train, **source.held_out}
    # the cache knows contents: the same ones may lie under another name now
    return replace(
        source,
        name=stream.name,
        description=stream.description,
        train=replace(source.train, origin=stream.name, labels_origin=None, named=stream.named),
        notes=(*stream.notes, *left_out(stream, {name: len(one) for name, one in splits.items()})),
        warnings=(*stream.warnings, *described(folder).get("counted", ())),
        **held_out,
    )


def stream_of(source: Source) -> Stream:
    """The samples of a source that is no stream as one, to convert them."""

    def blocks(samples: Samples) -> Iterator[Block]:
        row_bytes = samples.features.shape[1] * samples.features.itemsize
        for rows in row_ranges(range(len(samples)), row_bytes, _BLOCK_BYTES):
            part = slice(rows.start, rows.stop)
            groups = None if samples.groups is None else samples.groups[part]
            yield samples.features[part], samples.labels[part], groups

    train = source.train
    parts = [train, *source.held_out.values()]
    held_out: dict[str, Any] = {name: partial(blocks, one) for name, one in source.held_out.items()}
    content = [[cache.array_sha256(one.features), cache.array_sha256(one.labels)] for one in parts]
    return Stream(
        **source.about,
        files=(),
        options={"content": content},
        dtype=np.result_type(*(one.features.dtype for one in parts)).newbyteorder("<"),
        num_features=train.features.shape[1],
        num_samples=len(train),
        train=lambda: blocks(train),
        **held_out,
    )


def open_converted(spec: str, _: Request) -> Source:
    """Samples of a folder that ``ptrain data convert`` wrote."""
    return load(Path(spec).expanduser())


def load(folder: Path) -> Source:
    """The samples of a converted data set, memory-mapped. Raises DataError where it is damaged."""
    content = described(folder)
    try:
        found = {field.name: content[field.name] for field in fields(About) if field.name not in _LATER}
        found |= {name: content.get(name, ()) for name in _LATER}
        # JSON has lists where these have tuples; a schema is what JSON has
        about: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in found.items()
        }
        counts = {"validation": content.get("num_validation"), "test": content["num_test"]}
        held_out: dict[str, Any] = {
            name: _samples(folder, f"{name}_") for name, count in counts.items() if count is not None
        }
        return Source(**about, train=_samples(folder, ""), **held_out)
    except (KeyError, TypeError, AttributeError):
        raise DataError(
            f"{folder / DESCRIPTION}: is damaged; expected what ptrain data convert writes: convert the data again"
        ) from None


def _samples(folder: Path, prefix: str) -> Samples:
    features, labels, groups = (folder / f"{prefix}{name}.npy" for name in ("features", "labels", "groups"))
    samples, _ = make_samples(npy.read(features), npy.read(labels), str(features))
    if not groups.exists():
        return samples
    found = npy.read(groups)
    if found.shape != samples.labels.shape or found.dtype.kind not in "iu":
        raise DataError(f"{groups}: is damaged; expected one number a sample: convert the data again")
    return replace(samples, groups=found.view(np.ndarray))


def described(folder: Path) -> Mapping[str, Any]:
    """Return data.json of a converted data set. Raises DataError where it is missing or not ours."""
    path = folder / DESCRIPTION
    stamp(path, "a folder of ptrain data convert")  # the open of a FIFO would wait for a writer
    try:
        content = json.loads(path.read_bytes())
        if content["version"] != VERSION:
            raise DataError(
                f"{path}: version {content['version']} of the form; expected {VERSION}: convert the data again"
            )
        return dict(content)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); expected a folder of ptrain data convert"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"{path}: is damaged; expected what ptrain data convert writes: convert the data again"
        ) from None
