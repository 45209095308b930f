"""Opening a GeoTIFF or ENVI file as a raster."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from ptrain.data.scenes import envi, gdal, validity
from ptrain.data.scenes.masks import alpha_bands, mask_file, mask_of
from ptrain.data.scenes.place import place_of
from ptrain.data.scenes.raster import Raster
from ptrain.data.scenes.stated import Stated
from ptrain.data.store.reading import decoding


@contextmanager
def open_raster(path: Path) -> Iterator[Raster]:
    """Open a GeoTIFF or ENVI file; raises DataError for other files and for what cannot be trained on."""
    with ExitStack() as stack:
        dataset = stack.enter_context(gdal.opened(path))
        pixels, _ = gdal.find(path)
        gdal.check(pixels, dataset)
        with decoding(str(path), gdal.KIND):
            found = _raster(str(path), Stated.of(pixels, dataset), stack)
        yield found


def files_of(path: Path) -> tuple[Path, ...]:
    """Return every file that the raster is read from, besides its sidecar."""
    pixels, driver = gdal.find(path)
    header = gdal.header_of(pixels) if driver == "ENVI" else None
    return tuple(one for one in (pixels, header, mask_file(pixels)) if one is not None)


def _raster(origin: str, file: Stated, stack: ExitStack) -> Raster:
    dataset, stored = file.dataset, np.dtype(file.dataset.dtypes[0])
    alpha, notes, warnings = alpha_bands(file)
    good = envi.good_bands(file.header, dataset.count)
    bands = tuple(band for band in good if band not in alpha) or tuple(good)
    if len(good) < dataset.count:
        bad = dataset.count - len(good)
        notes.append(f"{origin}: {bad} of {dataset.count} bands are left out, which its header calls bad (bbl)")
    if file.header:
        size = dataset.width * dataset.height * dataset.count * stored.itemsize
        warnings += envi.check_size(file.header, file.path, size)
    scaling = file.scaling(bands)
    return Raster(
        path=file.path,
        origin=origin,
        height=dataset.height,
        width=dataset.width,
        numbers=bands,
        dtype=stored if scaling is None else validity.scaled_type(stored),
        nodata=file.nodata(bands),
        scaling=scaling,
        masked=mask_of(file, alpha, stack),
        identity=file.identity(bands),
        place=place_of(dataset, file.sidecar),
        class_names=file.class_names,
        class_colors=file.class_colors,
        notes=tuple(notes),
        warnings=tuple(warnings),
        block_rows=dataset.block_shapes[0][0],
        source=dataset,
    )
