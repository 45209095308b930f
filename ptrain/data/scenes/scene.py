"""``--data SCENE --labels REFERENCE``: the labelled pixels of a scene as samples, read window by window."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.scenes import gdal
from ptrain.data.scenes.classes import Classes, find_classes, labelled_values
from ptrain.data.scenes.open import cube_of, files_of, open_grid
from ptrain.data.scenes.raster import Raster, same_transform
from ptrain.data.scenes.windows import (
    default_block_size,
    inside_blocks,
    neighborhoods,
    padded,
    spread,
    windows,
    without_value,
)
from ptrain.data.sources import mat
from ptrain.data.store.stream import Block, Request, Stream
from ptrain.errors import DataError

WINDOW_BYTES = 16 * 2**20
"""Pixels that are read at a time. With GDAL's own blocks a scene takes at most about 0.6 GiB, whatever its size."""
_BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How pixels become samples."""

    side: int
    """Pixels on a side of a neighbourhood, odd."""
    block: int
    """Pixels on a side of a spatial block."""
    inside: bool
    """Whether a sample's neighbourhood must lie in its own block, as for ``--split blocks``."""

    @property
    def radius(self) -> int:
        """Pixels around the one in the middle."""
        return self.side // 2


def open_mat(spec: str, request: Request) -> Stream:
    """The samples of a .mat file, or the labelled pixels where it is a cube with its reference."""
    named = cube_of(spec, request.config.labels)
    if named is not None:
        return open_scene(named[0], replace(request, config=replace(request.config, labels=named[1])))
    if (request.schema or {}).get("kind") == "scene":
        return open_scene(spec, request)
    return mat.open_mat(spec, request)


def open_scene(spec: str, request: Request) -> Stream:
    """The labelled pixels of a scene as a stream, in the order of the image.

    The groups are the numbers of the spatial blocks, counted along the rows. Pixels that have no value in some band,
    or in whose neighbourhood such a pixel is, are left out. Reads the reference once for its classes.

    Raises DataError where scene and reference do not fit together or cannot be used.
    """
    config = request.config
    if not request.labelled:
        raise DataError(f"{spec}: a scene is predicted as a map; expected --out MAP.tif")
    if config.labels is None:
        raise DataError(f"{spec}: a scene without a reference; expected --labels REFERENCE.tif with the classes")
    with open_grid(spec) as scene, open_grid(config.labels) as reference:
        check_pair(scene, reference)
        if request.schema is not None:
            check_schema(scene, request.schema)
        side = config.neighborhood if request.schema is None else int(request.schema["neighborhood"])
        sampling = Sampling(
            side=side,
            block=config.block_size or default_block_size(scene.height, scene.width, side),
            inside=config.split == "blocks",
        )
        check_sampling(scene, sampling)
        if request.schema is None:
            classes, num_labelled, num_kept = find_classes(reference, partial(_kept, scene, sampling))
            schema = describe(scene, side, classes) | {"labelled": num_labelled, "kept": num_kept}
        else:
            classes, schema = Classes.from_schema(request.schema), dict(request.schema)
        dtype = scene.dtype.newbyteorder("=")
        size = f"{scene.height} x {scene.width} pixels of {scene.bands} bands"
    labels = config.labels
    return Stream(
        name=f"scene:{spec}",
        description=f"labelled pixels of {spec}, {size}" + (f", {side} x {side} around each" if side > 1 else ""),
        files=(*files_of(spec), *files_of(labels)),
        options={"scene": 1, "side": side, "block": sampling.block, "inside": sampling.inside, **schema},
        dtype=dtype,
        num_features=side * side * schema["bands"],
        image_shape=(side, side, schema["bands"]) if side > 1 else None,
        feature_names=None if schema["band_names"] is None or side > 1 else tuple(schema["band_names"]),
        class_names=classes.names,
        schema=schema,
        train=lambda: _samples(spec, labels, sampling, classes),
    )


def describe(scene: Raster, side: int, classes: Classes) -> dict[str, Any]:
    """What is needed to read another scene like this one and to draw its map, as JSON has it."""
    return {
        "kind": "scene",
        "bands": scene.bands,
        "neighborhood": side,
        "band_names": None if scene.band_names is None else list(scene.band_names),
        **classes.to_schema(),
    }


def check_schema(scene: Raster, schema: Mapping[str, Any]) -> None:
    """Raise DataError unless a scene has the bands that the network was trained on."""
    if schema.get("kind") != "scene":
        raise DataError(f"{scene.origin}: a scene, but the network was trained on other data; expected such data again")
    if scene.bands != schema["bands"]:
        raise DataError(
            f"{scene.origin}: {scene.bands} bands; expected {schema['bands']}, those of the training scene: give the "
            "same bands in the same order"
        )


def check_pair(scene: Raster, reference: Raster) -> None:
    """Raise DataError unless scene and reference cover the same pixels."""
    fix = f"bring it onto the scene's grid, with rio warp {reference.path.name} NEW.tif --like {scene.path.name}"
    if reference.bands != 1:
        raise DataError(
            f"{reference.origin}: {reference.bands} bands; expected 1 band with class numbers: are --data and --labels "
            "swapped?"
        )
    if (scene.height, scene.width) != (reference.height, reference.width):
        raise DataError(
            f"{reference.origin}: {reference.width} x {reference.height} pixels; expected {scene.width} x "
            f"{scene.height} (width x height), those of {scene.origin}: {fix}"
        )
    if scene.crs and reference.crs and not gdal.same_crs(scene.crs, reference.crs):
        raise DataError(
            f"{reference.origin}: coordinate system {reference.crs_name}; expected {scene.crs_name}, that of "
            f"{scene.origin}: {fix}"
        )
    here, there = scene.transform, reference.transform
    if here and there and not same_transform(here, there, scene.width, scene.height):
        raise DataError(
            f"{reference.origin}: transform {_shown(there)}; expected {_shown(here)}, that of "
            f"{scene.origin} (x and y of the upper left corner, width and height of a pixel): {fix}"
        )


def check_sampling(scene: Raster, sampling: Sampling) -> None:
    """Raise DataError where the image is smaller than a neighbourhood, or a block too small for one."""
    smaller = min(scene.height, scene.width)
    if sampling.side > smaller:
        raise DataError(
            f"--neighborhood {sampling.side} with {scene.origin} of {scene.width} x {scene.height} pixels; expected "
            f"at most {smaller}"
        )
    if sampling.inside and sampling.block < sampling.side:
        raise DataError(
            f"--block-size {sampling.block} with --neighborhood {sampling.side}: no neighbourhood lies in one block; "
            f"expected --block-size {sampling.side} or more"
        )


def read_padded(scene: Raster, rows: range, columns: range, radius: int) -> NDArray[np.generic]:
    """The pixels of a window and ``radius`` more on every side, mirrored at the edges of the image.

    Result: (rows + 2 * radius, columns + 2 * radius, bands).
    """
    down, across = padded(rows, radius, scene.height), padded(columns, radius, scene.width)
    top, left = int(down.min()), int(across.min())
    pixels = scene.read(range(top, int(down.max()) + 1), range(left, int(across.max()) + 1))
    if pixels.shape[:2] == (len(down), len(across)):
        return pixels
    result = np.empty((len(down), len(across), scene.bands), pixels.dtype)
    # only the mirrored edges are taken one by one
    first, last = max(0, radius - columns.start), len(across) - max(0, columns.stop + radius - scene.width)
    for target, row in zip(result, down - top, strict=True):
        target[first:last] = pixels[row, across[first] - left : across[last - 1] - left + 1]
    for edge in (slice(None, first), slice(last, None)):
        result[:, edge] = pixels[np.ix_(down - top, across[edge] - left)]
    return result


def _samples(spec: str, labels: str, sampling: Sampling, classes: Classes) -> Iterator[Block]:
    """Yield the samples of a scene; windows without a labelled pixel are not read."""
    with open_grid(spec) as scene, open_grid(labels) as reference:
        pixel = scene.bands * scene.dtype.itemsize
        across = -(-scene.width // sampling.block)
        lookup = np.full(2**16, -1, np.int64)  # the label of every class value, -1 for values without one
        lookup[list(classes.values)] = np.arange(len(classes.values))
        for rows, columns in windows(scene.height, scene.width, pixel, scene.block_rows, WINDOW_BYTES):
            values = labelled_values(reference, rows, columns)
            chosen = (values > 0) & _kept(scene, sampling, rows, columns)
            if not chosen.any():
                continue
            _check_known(reference, values, rows, columns, lookup)
            pixels = read_padded(scene, rows, columns, sampling.radius)
            chosen &= ~spread(without_value(pixels, scene.nodata), sampling.side)
            around = neighborhoods(pixels, sampling.side)
            down, right = np.nonzero(chosen)
            step = max(1, _BLOCK_BYTES // (sampling.side**2 * pixel))
            for start in range(0, len(down), step):
                y, x = down[start : start + step], right[start : start + step]
                group = (y + rows.start) // sampling.block * across + (x + columns.start) // sampling.block
                features = around[y, x].reshape(len(y), -1)
                yield features.astype(features.dtype.newbyteorder("="), copy=False), lookup[values[y, x]], group


def _kept(scene: Raster, sampling: Sampling, rows: range, columns: range) -> NDArray[np.bool_]:
    """Which pixels of a window may be samples: all, or those whose neighbourhood lies in their own block."""
    if not sampling.inside or sampling.side == 1:
        return np.ones((len(rows), len(columns)), np.bool_)
    down = inside_blocks(rows, sampling.radius, scene.height, sampling.block)
    across = inside_blocks(columns, sampling.radius, scene.width, sampling.block)
    return down[:, None] & across


def _check_known(
    reference: Raster, values: NDArray[np.integer[Any]], rows: range, columns: range, lookup: NDArray[np.int64]
) -> None:
    if (lookup[values[values > 0]] < 0).any():
        unknown = (values > 0) & (lookup[values] < 0)
        row, column = (int(index[0]) for index in np.nonzero(unknown))
        known = np.flatnonzero(lookup >= 0).tolist()
        raise DataError(
            f"{reference.origin}: class {values[row, column]} in row {rows[row]}, column {columns[column]}; expected "
            f"one of {', '.join(map(str, known[:20]))}, those of the training reference"
        )


def _shown(transform: tuple[float, ...]) -> str:
    return f"{transform[2]:.10g}, {transform[5]:.10g}, {transform[0]:.10g}, {transform[4]:.10g}"
