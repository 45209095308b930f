"""``ptrain predict`` of a scene: the class of every pixel as a GeoTIFF with colours and a PNG with a legend.

Every rank classifies some of the rows of a round, rank 0 writes them. A row of the image is cut into chunks from its
left edge, so what a pixel is computed with depends neither on the ranks nor on the windows that are read.
"""

import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptrain.data.normalization import Scaling
from ptrain.data.scenes.classes import Classes
from ptrain.data.scenes.open import open_grid
from ptrain.data.scenes.pairing import Fitted, fitted
from ptrain.data.scenes.raster import Raster
from ptrain.data.scenes.reading import WINDOW_BYTES, read_padded
from ptrain.data.scenes.validity import REASONS, around, listed
from ptrain.data.scenes.windows import neighborhoods, windows
from ptrain.data.scenes.writing import TILE, Grid, TiffWriter, write_beside, write_category_names
from ptrain.data.seen import Seen, merged
from ptrain.errors import DataError
from ptrain.models.base import Operation
from ptrain.models.inference import CHUNK_ROWS, ChunkResult, Inference
from ptrain.run.session import Session
from ptrain.run.trained import Trained

NO_CLASS = 0
"""What a pixel without a value gets before the map is written; class i gets i + 1."""
_Part = tuple[NDArray[Any], NDArray[np.int64]]
"""Rows of classes, and pixels without one by the reason."""
ROUND_BYTES = 64 * 2**20
"""Classes that rank 0 takes in at a time, unless a single row of tiles is larger."""


def predict_map(session: Session, trained: Trained, spec: str, out: Path) -> None:
    """Write the map of a scene to ``out``, its legend beside it, and say how much of it each class covers.

    Memory: on every rank one window of WINDOW_BYTES and what GDAL keeps, on rank 0 also one round.

    Raises InputError where scene or output are at fault; on every rank alike.
    """
    with ExitStack() as stack:
        # SIGTERM ends the work as Ctrl-C does, so that what is half written is removed.
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, signal.default_int_handler))
        found = session.agreed(lambda: fitted(stack.enter_context(open_grid(spec)), trained.schema or {}))
        assert trained.schema is not None
        scene = found.scene
        _say(session, found)
        classes, side = Classes.from_schema(trained.schema), int(trained.schema["neighborhood"])
        session.agreed(lambda: _check_fit(scene, out, side))
        seen: list[Seen] = []
        classify = partial(
            _classify,
            seen=seen,
            scene=scene,
            side=side,
            dtype=np.dtype(np.uint8 if len(classes.values) < 256 else np.uint16),
            scaling=trained.normalization.on(session.device, scene.dtype),
            inference=stack.enter_context(trained.inference(session)),
        )
        drawing = session.agreed(lambda: _Drawing(scene, out, classes) if session.is_root else None)
        if drawing is not None:
            stack.callback(drawing.close)
        tiles = max(1, min(session.comm.info.size, ROUND_BYTES // (TILE * scene.width * classes.in_map[0].itemsize)))
        with session.console.progress(scene.height, "predicting", "rows") as progress:
            for top in range(0, scene.height, tiles * TILE):
                rows = range(top, min(top + tiles * TILE, scene.height))
                part = session.owned(len(rows))
                done = session.agreed(partial(classify, rows[part.start : part.stop]))
                gathered = session.comm.gather_object(done)
                session.agreed(partial(drawing.add, top, gathered or []) if drawing else lambda: None)
                progress.update(rows.stop)
        session.agreed(lambda: drawing.finish() if drawing else None)
        if drawing is not None:
            _tell(session, drawing, scene)
        known = trained.normalization.seen
        known = None if known is None else known.of_bands(scene.bands)
        session.warn_if_foreign(scene.origin, seen, known, scene.identity.labels)


def _say(session: Session, found: Fitted) -> None:
    """Say how the scene is read, and that a map of a scene without a place has none."""
    nowhere = f"{found.scene.origin} does not say where it is, and neither does the map"
    session.console.tell(found.notes + ([] if found.scene.place.is_known else [nowhere]), found.warnings)


def _check_fit(scene: Raster, out: Path, side: int) -> None:
    if side > min(scene.height, scene.width):
        raise DataError(
            f"{scene.origin}: {scene.width} x {scene.height} pixels; expected at least {side} x {side}, the "
            "neighbourhood that the network was trained with"
        )
    for target in (out, out.with_suffix(".png")):
        if target.exists() and (not target.is_file() or target.samefile(scene.path)):
            what = "the scene itself" if target.is_file() else "no file"
            raise DataError(f"--out {out}: {target} is {what}; expected another name")


def _classify(
    rows: range,
    *,
    scene: Raster,
    side: int,
    dtype: np.dtype[Any],
    scaling: Scaling,
    inference: Inference,
    seen: list[Seen],
) -> _Part:
    """Classes of some rows, NO_CLASS for pixels without a value or near one; and the pixels of each reason for that.

    side: of the neighbourhood of a pixel, in pixels. dtype: of the result. scaling: of the features, on the device.
    Chunks in which no pixel has a value are not computed. seen: gets what the pixels hold.
    """
    result, without = np.full((len(rows), scene.width), NO_CLASS, dtype), np.zeros(max(REASONS) + 1, np.int64)
    # whole chunks wide, so that windows do not change which pixels are in a chunk
    wide = -(-scene.width // CHUNK_ROWS)
    chunk_bytes = CHUNK_ROWS * scene.bands * scene.dtype.itemsize
    for down, across in windows(len(rows), wide, chunk_bytes, min(scene.block_rows, len(rows)), WINDOW_BYTES):
        window = rows[down.start : down.stop]
        columns = range(across.start * CHUNK_ROWS, min(across.stop * CHUNK_ROWS, scene.width))
        pixels, why = read_padded(scene, window, columns, side // 2)
        why = around(why, side)
        without += np.bincount(why.reshape(-1), minlength=len(without))
        missing = why > 0
        radius = side // 2
        valid = pixels[radius : radius + len(window), radius : radius + len(columns)][~missing]
        if len(valid):
            seen[:] = [merged([*seen, Seen.of(valid)], scene.bands)]
        starts = np.arange(0, missing.shape[1], CHUNK_ROWS)
        chunks = np.argwhere(~np.logical_and.reduceat(missing, starts, axis=1))
        parts = [(row, slice(chunk * CHUNK_ROWS, (chunk + 1) * CHUNK_ROWS)) for row, chunk in chunks.tolist()]
        target = result[down.start : down.stop, columns.start : columns.stop]

        def keep(done: ChunkResult, target: Any = target, missing: Any = missing, parts: Any = parts) -> None:
            part = parts[done.chunk]
            target[part] = np.where(missing[part], NO_CLASS, done.predictions.numpy() + 1)

        loader = partial(_RowLoader, neighborhoods(pixels, side), missing, parts, scaling)
        inference.run(range(len(parts)), loader, keep)
    return result, without


@dataclass
class _RowLoader:
    """Fills chunks with CHUNK_ROWS neighbouring pixels of a row, the last of a row with those that are left."""

    around: NDArray[np.generic]
    """(h, w, side, side, bands)."""
    missing: NDArray[np.bool_]
    parts: Sequence[tuple[int, slice]]
    """Row and columns of every chunk."""
    scaling: Scaling
    part: tuple[int, slice] = (0, slice(0))

    def select(self, epoch: int, index: int) -> None:
        """Choose chunk ``index``."""
        self.part = self.parts[index]

    def bind(self, shards: range, features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> Operation:
        """Make what fills (1, CHUNK_ROWS, F), (1, CHUNK_ROWS) and (1, CHUNK_ROWS); pixels without a value are 0."""
        return lambda: self._fill(features[0], labels[0], weights[0])

    def _fill(self, features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> None:
        missing = self.missing[self.part]
        count = len(missing)
        # torch lacks some of the types that a file may have, and its byte orders
        with np.errstate(over="ignore", invalid="ignore"):  # of pixels without a value
            working = np.float32 if self.scaling.working == torch.float32 else np.float64
            values = np.array(self.around[self.part].reshape(count, -1), dtype=working)
        values[missing] = 0
        features[:count].copy_(self.scaling.apply_(torch.from_numpy(values).to(features.device)))
        features[count:] = 0
        labels.zero_()
        weights[:count] = 1
        weights[count:] = 0


class _Drawing:
    """The map while it grows, on rank 0: the file, what the picture shows of it, and the pixels of each class."""

    def __init__(self, scene: Raster, out: Path, classes: Classes) -> None:
        from ptrain.report import scene_picture  # loads matplotlib: only rank 0 needs it

        self._picture, self.out, self.classes = scene_picture, out, classes
        self._stride = scene_picture.stride_of(scene.height, scene.width)
        self._shown: list[NDArray[Any]] = []
        dtype, self.nothing = classes.in_map
        self._values = np.array([self.nothing, *classes.values], dtype)
        self.counts = np.zeros(len(self._values), np.int64)
        self.without = np.zeros(max(REASONS) + 1, np.int64)
        self._writer = TiffWriter(
            out,
            Grid(height=scene.height, width=scene.width, place=scene.place),
            bands=1,
            dtype=dtype,
            nodata=self.nothing,
        )
        try:
            self._writer.describe(classes)
        except BaseException:
            self._writer.close()
            raise

    def add(self, top: int, parts: list[_Part]) -> None:
        """Write rows of classes, from ``top`` on: those of every rank, in order."""
        classes = np.concatenate([part for part, _ in parts])
        self._writer.write(top, self._values[classes])
        self.counts += np.bincount(classes.reshape(-1), minlength=len(self.counts))
        self.without += sum(without for _, without in parts)
        self._shown.append(classes[-top % self._stride :: self._stride, :: self._stride].copy())

    def finish(self) -> None:
        """Give the map its name and write its legend and its picture beside it."""
        self._writer.finish()
        write_category_names(self.out, self.classes)
        numbers = range(1, len(self._values))
        image = self._picture.paint(np.concatenate(self._shown), numbers, self.classes.colors)
        total = max(1, int(self.counts[1:].sum()))
        png = self._picture.draw(
            [(self.out.stem, image)],
            self.classes.names,
            self.classes.colors,
            shares=[self.counts[number] / total for number in numbers],
            unclassified="no value" if self.counts[NO_CLASS] else None,
        )
        write_beside(self.out.with_suffix(".png"), png)

    def close(self) -> None:
        """Remove what was not finished."""
        self._writer.close()


def _tell(session: Session, drawing: _Drawing, scene: Raster) -> None:
    counts = drawing.counts[1:].tolist()
    total = max(1, sum(counts))
    rows = [
        [value, name, count, f"{100 * count / total:.1f}%"]
        for value, name, count in zip(drawing.classes.values, drawing.classes.names, counts, strict=True)
    ]
    session.console.table(["value", "class", "pixels", "share"], rows)
    without = int(drawing.counts[NO_CLASS])
    if without:
        drawing.without[0] = 0
        session.console.say(
            f"{without:,} pixels without a value in the scene ({listed(drawing.without)}) are {drawing.nothing}, the "
            "map's nodata value"
        )
    size = f"{scene.width:,} x {scene.height:,} pixels"
    session.console.say(f"{size} written to {drawing.out}, the picture to {drawing.out.with_suffix('.png')}")
