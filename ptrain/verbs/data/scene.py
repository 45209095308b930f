"""``ptrain data scene``: a synthetic scene with its reference, to try things out with."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ptrain.config import DataConfig, RunConfig
from ptrain.console import Console
from ptrain.data.scenes.classes import Classes
from ptrain.data.scenes.generate import NODATA, ROWS, Scene
from ptrain.data.scenes.place import Place
from ptrain.data.scenes.writing import TILE, Grid, TiffWriter, write_beside, write_category_names
from ptrain.errors import EXIT_DONE, DataError, os_error_as
from ptrain.verbs.data import DataOptions

CRS = "EPSG:32632"
TRANSFORM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_400_000.0)
"""Pixels of 10 m in zone 32 north of UTM."""


def run(options: DataOptions, _data: DataConfig, seed: int, _settings: RunConfig) -> int:
    """Write scene.tif, reference.tif, unseen.tif and scene.png into the folder OUT and return the exit code.

    The reference has a class for half of the parcels, unseen.tif for the others, to see how good a map is there.

    Raises InputError where the folder cannot be written to.
    """
    folder = Path(options.words[0])
    with os_error_as(DataError, f"{folder}: cannot be made", "expected a folder to write into"):
        folder.mkdir(parents=True, exist_ok=True)
    numbers = {name: getattr(options, name) for name in ("height", "width", "bands", "classes", "noise")}
    scene = Scene(**numbers, seed=seed)
    console = Console()
    _write(scene, folder, console)
    console.say(f"scene.tif, reference.tif, unseen.tif and scene.png written to {folder}")
    return EXIT_DONE


def _write(scene: Scene, folder: Path, console: Console) -> None:
    from ptrain.report import scene_picture  # loads matplotlib, which a wrong number should not wait for

    legend = Classes(values=tuple(range(1, scene.classes + 1)), names=scene.names, colors=scene.colors)
    grid = Grid(height=scene.height, width=scene.width, place=Place(crs=CRS, transform=TRANSFORM))
    writers: list[TiffWriter] = []
    stride = scene_picture.stride_of(scene.height, scene.width)
    rgb = [int(np.argmin(np.abs(scene.wavelengths - centre))) for centre in (850, 650, 450)]
    shown: list[tuple[Any, Any, Any]] = []
    with ExitStack() as stack:
        for name, bands, dtype in (("scene", scene.bands, "uint16"), ("reference", 1, "uint8"), ("unseen", 1, "uint8")):
            writer = TiffWriter(folder / f"{name}.tif", grid, bands=bands, dtype=dtype, nodata=NODATA)
            stack.callback(writer.close)
            writers.append(writer)
        writers[0].name_bands([f"{wavelength:.0f} nm" for wavelength in scene.wavelengths])
        for writer in writers[1:]:
            writer.describe(legend)
        step = TILE // ROWS
        with console.progress(scene.num_blocks, "generating", "blocks") as progress:
            for first in range(0, scene.num_blocks, step):
                blocks = [scene.rows(block) for block in range(first, min(first + step, scene.num_blocks))]
                pixels, reference, truth = (np.concatenate(part) for part in zip(*blocks, strict=True))
                unseen = np.where(reference == 0, truth, 0).astype(np.uint8)
                for writer, part in zip(writers, (pixels, reference, unseen), strict=True):
                    writer.write(first * ROWS, part)
                kept = slice(-(first * ROWS) % stride, None, stride)
                shown.append((pixels[kept, ::stride][:, :, rgb], reference[kept, ::stride], truth[kept, ::stride]))
                progress.update(first + len(blocks))
        for writer in writers:
            writer.finish()
    for writer in writers[1:]:
        write_category_names(writer.path, legend)
    pixels, reference, truth = (np.concatenate(part) for part in zip(*shown, strict=True))
    image = scene_picture.composite(pixels, range(3), truth == 0)
    painted = scene_picture.paint(reference, legend.values, legend.colors)
    title = f"scene ({', '.join(f'{scene.wavelengths[band]:.0f}' for band in rgb)} nm)"
    picture = scene_picture.draw(
        [(title, image), ("reference", painted)], legend.names, legend.colors, unclassified="no class"
    )
    write_beside(folder / "scene.png", picture)
