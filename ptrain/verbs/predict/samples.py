"""``ptrain predict``: class and probabilities of every sample of a file, on any number of ranks."""

import contextlib
from collections import ChainMap
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from ptrain import files
from ptrain.config import RunConfig
from ptrain.data.checks import check_finite
from ptrain.data.loader import EvaluationLoader
from ptrain.data.matching import values_of
from ptrain.data.samples import Samples, Source, Split, check_shape
from ptrain.data.sources.load import read_unlabelled
from ptrain.data.sources.table import parse
from ptrain.errors import EXIT_DONE, DataError, os_error_as
from ptrain.models.inference import CHUNK_ROWS, ChunkResult
from ptrain.run.session import Session, open_session
from ptrain.run.trained import Trained, load_trained
from ptrain.verbs.predict import MAP_SUFFIXES, PredictOptions
from ptrain.verbs.predict.scene_map import predict_map

ROUND_CHUNKS = 64
"""Chunks a rank computes before rank 0 writes them down: bounds the memory, whatever the size of the input."""
_Results = dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]]
"""Classes and probabilities of chunks, by the number of the chunk."""


def run(options: PredictOptions, settings: RunConfig) -> int:
    """Write the class and the probabilities of every sample and return the exit code.

    A .csv file gets a header and a line a sample: number, what it is called where it has a name (its file, an id),
    class name, a probability a class. A .npy file gets a structured array with fields ``class`` (int64, see
    ``values_of``), ``probabilities`` (float32, (classes,)) and, with names, one such as ``file`` (text).
    Of a scene a .tif file gets the map (see ptrain.verbs.predict.scene_map).

    Raises InputError where the run, the input or the output is at fault; on every rank alike.
    """
    source, out = options.source, options.out
    with open_session(settings) as session:
        trained = load_trained(session, Path(options.run_dir), options.checkpoint)
        if session.agreed(lambda: _is_map(source, out, trained)):
            predict_map(session, trained, parse(source)[1], Path(out))
            return EXIT_DONE
        samples = session.agreed(lambda: _samples(source, trained, session))
        session.agreed(lambda: check_finite(samples, session.owned(len(samples))))
        mine = session.look_at(Split(samples, 0, len(samples)))
        session.warn_if_foreign(samples.origin, mine, trained.normalization.seen, trained.feature_names)
        _predict(session, trained, samples, Path(out))
        session.console.say(f"{len(samples):,} samples written to {out}")
    return EXIT_DONE


def _is_map(spec: str, out: str, trained: Trained) -> bool:
    """Whether the input is a scene, whose map is written; raises DataError where input and --out differ."""
    kind = parse(spec)[0].name
    is_scene = kind == "scene" or (kind == "mat" and (trained.schema or {}).get("kind") == "scene")
    wants_map = Path(out).suffix in MAP_SUFFIXES
    if is_scene and not wants_map:
        raise DataError(f"--out {out}: {spec} is a scene, which is predicted as a map; expected a name ending in .tif")
    if wants_map and not is_scene:
        what = f"a map is of a scene, which {spec} is not"
        raise DataError(f"--out {out}: {what}; expected a name ending in .csv or .npy")
    return is_scene


def _samples(spec: str, trained: Trained, session: Session) -> Samples:
    def tell(source: Source) -> None:
        check_shape(source.image_shape, trained.image_shape, source.name)
        session.console.tell(source.notes, source.warnings)

    samples = read_unlabelled(spec, trained.config.data, trained.schema, session.watch, tell)
    found, width = samples.features.shape[1], trained.model.num_features
    if found != width:
        raise DataError(f"{samples.origin}: {found} features a sample; expected {width}, those of the training data")
    return samples


def _predict(session: Session, trained: Trained, samples: Samples, out: Path) -> None:
    split = Split(samples, 0, len(samples))
    num_chunks = -(-split.size // CHUNK_ROWS)
    step = ROUND_CHUNKS * session.comm.info.size
    loader = partial(EvaluationLoader, split, CHUNK_ROWS, trained.normalization, session.device)
    writer = session.agreed(lambda: _Writer(out, trained, samples) if session.is_root else None)
    try:
        with (
            trained.inference(session) as inference,
            session.console.progress(num_chunks, "predicting", "chunks") as progress,
        ):
            for first in range(0, num_chunks, step):
                chunks = range(first, min(first + step, num_chunks))
                part = session.owned(len(chunks))
                results: _Results = {}

                def keep(result: ChunkResult, results: _Results = results) -> None:
                    shares = result.probabilities.numpy().astype(np.float32)
                    results[result.chunk] = (result.predictions.numpy(), shares)

                inference.run(chunks[part.start : part.stop], loader, keep)
                gathered = session.comm.gather_object(results)
                session.agreed(partial(writer.add, gathered or []) if writer is not None else lambda: None)
                progress.update(chunks.stop)
        session.agreed(lambda: writer.finish() if writer is not None else None)
    finally:
        if writer is not None:
            writer.close()


class _Writer:
    """Writes predictions in order under a temporary name, and gives the file its name at the end."""

    def __init__(self, out: Path, trained: Trained, samples: Samples):
        self.out, self.temporary = out, files.temporary_name(out)
        self.names, self.named = trained.class_names, samples.named
        self.csv, self.values = out.suffix == ".csv", values_of(trained.class_names)
        if self.named is not None and len(self.named.names) != len(samples):
            raise DataError(f"{samples.origin}: was changed while it was read; expected a file at rest: start again")
        self.done = 0
        fields: list[Any] = [("class", "<i8"), ("probabilities", "<f4", (len(self.names),))]
        if self.named is not None:
            fields.append((self.named.heading, f"<U{max(map(len, self.named.names), default=1)}"))
        self.type = np.dtype(fields)
        with os_error_as(DataError, f"--out: {out.parent} cannot be written", "expected a folder that exists"):
            self.file: BinaryIO = self.temporary.open("wb")
        if self.csv:
            heading = [] if self.named is None else [self.named.heading]
            self._line(["sample", *heading, "class", *(f"p({name})" for name in self.names)])
        else:
            header = {"descr": npy_format.dtype_to_descr(self.type), "fortran_order": False, "shape": (len(samples),)}
            npy_format.write_array_header_1_0(self.file, header)

    def add(self, ranks: list[_Results]) -> None:
        """Append the chunks of all ranks in order. Raises DataError where the disk is full."""
        chunks = ChainMap(*ranks)
        with os_error_as(DataError, "--out: cannot be written", "free space or choose another place"):
            for classes, shares in (chunks[number] for number in sorted(chunks)):
                if self.csv:
                    for number, row in zip(classes, shares, strict=True):
                        name = [] if self.named is None else [self.named.names[self.done]]
                        self._line([str(self.done), *name, self.names[number], *(f"{share:.6g}" for share in row)])
                        self.done += 1
                else:
                    block = np.empty(len(classes), self.type)
                    block["class"], block["probabilities"] = self.values[classes], shares
                    if self.named is not None:
                        block[self.named.heading] = self.named.names[self.done : self.done + len(classes)]
                    self.file.write(block.tobytes())
                    self.done += len(classes)

    def _line(self, cells: list[str]) -> None:
        quoted = [f'"{cell.replace(chr(34), chr(34) * 2)}"' if set(cell) & set(',"\n\r') else cell for cell in cells]
        # a name of a file may be bytes that are no UTF-8: they are written as they are
        self.file.write((",".join(quoted) + "\n").encode(errors="surrogateescape"))

    def finish(self) -> None:
        """Give the file its name."""
        with os_error_as(DataError, f"--out {self.out}: cannot be written", "choose another place"):
            self.file.close()
            files.publish(self.temporary, self.out)

    def close(self) -> None:
        """Remove what was not finished."""
        with contextlib.suppress(OSError):  # a full disk was reported when it was met
            self.file.close()
        files.discard(self.temporary)
