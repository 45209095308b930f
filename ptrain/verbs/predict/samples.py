"""``ptrain predict``: class and probabilities of every sample of a file, on any number of ranks."""

import contextlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from ptrain import files
from ptrain.config import RunConfig
from ptrain.data.checks import check_finite
from ptrain.data.loader import EvaluationLoader
from ptrain.data.plan import owned_shards
from ptrain.data.samples import Samples, Split
from ptrain.data.sources.load import read_unlabelled
from ptrain.data.sources.table import parse
from ptrain.data.store.converted import Watch
from ptrain.errors import EXIT_DONE, DataError
from ptrain.models.inference import CHUNK_ROWS, ChunkResult, Inference
from ptrain.run.session import Session, open_session
from ptrain.run.trained import Trained, load_trained
from ptrain.verbs.predict import MAP_SUFFIXES, PredictOptions
from ptrain.verbs.predict.scene_map import predict_map

ROUND_CHUNKS = 64
"""Chunks a rank computes before rank 0 writes them down: bounds the memory, whatever the size of the input."""


def run(options: PredictOptions, settings: RunConfig) -> int:
    """Write the class and the probabilities of every sample and return the exit code.

    A .csv file gets a header and a line a sample: number, class name, a probability a class. A .npy file gets a
    structured array with fields ``class`` (int64, the number of the class) and ``probabilities`` (float32, (classes,)).
    Of a scene a .tif file gets the map (see ptrain.verbs.predict.scene_map).

    Raises:
        InputError: the run, the input or the output is at fault; on every rank alike.
    """
    source, out = options.source, options.out
    with open_session(settings) as session:
        trained: Trained = session.agreed(
            lambda: load_trained(Path(options.run_dir), options.checkpoint, session.console.warn)
        )
        as_map = session.agreed(lambda: _is_map(source, out, trained))
        samples = None
        if not as_map:
            samples = session.agreed(lambda: _samples(source, trained, session.watch))
            part = owned_shards(len(samples), session.comm.info.size, session.comm.info.rank)
            session.agreed(lambda: check_finite(samples, part))
        inference = Inference(
            config=trained.config,
            layout=trained.layout,
            parameters=trained.parameters.to(session.device),
            threads=session.threads,
        )
        if samples is None:
            predict_map(session, trained, inference, parse(source)[1], Path(out))
        else:
            _predict(session, trained, inference, samples, Path(out))
            session.console.say(f"{len(samples):,} samples written to {out}")
        inference.close()
    return EXIT_DONE


def _is_map(spec: str, out: str, trained: Trained) -> bool:
    """Whether the input is a scene, whose map is written; raises DataError where input and --out differ."""
    kind = parse(spec)[0].name
    is_scene = kind == "scene" or (kind == "mat" and (trained.schema or {}).get("kind") == "scene")
    wants_map = Path(out).suffix in MAP_SUFFIXES
    if is_scene and not wants_map:
        raise DataError(f"--out {out}: {spec} is a scene, which is predicted as a map; expected a name ending in .tif")
    if wants_map and not is_scene:
        raise DataError(
            f"--out {out}: a map is of a scene, which {spec} is not; expected a name ending in .csv or .npy"
        )
    return is_scene


def _samples(spec: str, trained: Trained, watch: Watch) -> Samples:
    samples = read_unlabelled(spec, trained.config.data, trained.schema, watch)
    found, width = samples.features.shape[1], trained.layout.widths[0]
    if found != width:
        raise DataError(f"{samples.origin}: {found} features a sample; expected {width}, those of the training data")
    return samples


def _predict(session: Session, trained: Trained, inference: Inference, samples: Samples, out: Path) -> None:
    split = Split(samples, 0, len(samples))
    num_chunks = -(-split.size // CHUNK_ROWS)
    info = session.comm.info
    writer = session.agreed(lambda: _Writer(out, trained, split.size) if session.is_root else None)
    try:
        with session.console.progress(num_chunks, "predicting", "chunks") as progress:
            for first in range(0, num_chunks, ROUND_CHUNKS * info.size):
                chunks = range(first, min(first + ROUND_CHUNKS * info.size, num_chunks))
                part = owned_shards(len(chunks), info.size, info.rank)
                results: dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}

                def keep(result: ChunkResult, results: Any = results) -> None:
                    shares = result.probabilities.numpy().astype(np.float32)
                    results[result.chunk] = (result.predictions.numpy(), shares)

                def loader() -> EvaluationLoader:
                    return EvaluationLoader(split, CHUNK_ROWS, trained.normalization, session.device)

                inference.run(chunks[part.start : part.stop], loader, keep)
                gathered = session.comm.gather_object(results)

                def write(gathered: Any = gathered, chunks: range = chunks) -> None:
                    if writer is not None:
                        together = {chunk: values for rank in gathered for chunk, values in rank.items()}
                        writer.add([together[chunk] for chunk in chunks])

                session.agreed(write)
                progress.update(chunks.stop)
        session.agreed(lambda: writer.finish() if writer is not None else None)
    finally:
        if writer is not None:
            writer.close()


class _Writer:
    """Writes predictions in order under a temporary name, and gives the file its name at the end."""

    def __init__(self, out: Path, trained: Trained, num_samples: int):
        self.out, self.temporary = out, files.temporary_name(out)
        self.names = trained.class_names
        self.csv = out.suffix == ".csv"
        self.done = 0
        self.type = np.dtype([("class", "<i8"), ("probabilities", "<f4", (len(self.names),))])
        try:
            self.file: BinaryIO = self.temporary.open("wb")
        except OSError as error:
            raise DataError(
                f"--out: {out.parent} cannot be written ({error.strerror}); expected a folder that exists"
            ) from None
        if self.csv:
            self._line(["sample", "class", *(f"p({name})" for name in self.names)])
        else:
            header = {"descr": npy_format.dtype_to_descr(self.type), "fortran_order": False, "shape": (num_samples,)}
            npy_format.write_array_header_1_0(self.file, header)

    def add(self, chunks: list[tuple[NDArray[np.int64], NDArray[np.float32]]]) -> None:
        """Append chunks. Raises DataError where the disk is full."""
        try:
            for classes, shares in chunks:
                if self.csv:
                    for number, row in zip(classes, shares, strict=True):
                        self._line([str(self.done), self.names[number], *(f"{share:.6g}" for share in row)])
                        self.done += 1
                else:
                    block = np.empty(len(classes), self.type)
                    block["class"], block["probabilities"] = classes, shares
                    self.file.write(block.tobytes())
        except OSError as error:
            raise DataError(
                f"--out: cannot be written ({error.strerror}); free space or choose another place"
            ) from None

    def _line(self, cells: list[str]) -> None:
        quoted = [f'"{cell.replace(chr(34), chr(34) * 2)}"' if set(cell) & set(',"\n\r') else cell for cell in cells]
        self.file.write((",".join(quoted) + "\n").encode())

    def finish(self) -> None:
        """Give the file its name."""
        try:
            self.file.close()
            files.publish(self.temporary, self.out)
        except OSError as error:
            raise DataError(f"--out {self.out}: cannot be written ({error.strerror}); choose another place") from None

    def close(self) -> None:
        """Remove what was not finished."""
        with contextlib.suppress(OSError):  # a full disk was reported when it was met
            self.file.close()
        files.discard(self.temporary)
