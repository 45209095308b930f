"""Small scenes for tests: arrays as GeoTIFF or ENVI."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from ptrain.config import DataConfig
from ptrain.data.scenes.scene import open_scene
from ptrain.data.store.stream import Request, Stream

UTM: dict[str, Any] = {"crs": "EPSG:32632", "transform": Affine(10, 0, 500_000, 0, -10, 5_400_000)}


def write(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    """Write (h, w) or (h, w, bands) as a GeoTIFF, or as the driver that is asked for.

    options: rasterio's, and colors (a table), names, tags, scales, offsets and colorinterp of the bands, mask (h, w) of
    pixels with a value, and gcps with their crs.
    """
    cube = pixels[:, :, None] if pixels.ndim == 2 else pixels
    more = {name: options.pop(name, None) for name in ("colors", "names", "tags", "scales", "offsets", "mask")}
    colorinterp = options.pop("colorinterp", None)
    profile = {"driver": "GTiff", "dtype": cube.dtype.name} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", height=cube.shape[0], width=cube.shape[1], count=cube.shape[2], **profile
        ) as file:
            if colorinterp is not None:
                file.colorinterp = [ColorInterp[name] for name in colorinterp]
            file.write(np.moveaxis(cube, -1, 0))
            if more["colors"] is not None:
                file.write_colormap(1, more["colors"])
            if more["names"] is not None:
                file.descriptions = more["names"]
            for name in ("scales", "offsets"):
                if more[name] is not None:
                    setattr(file, name, more[name])
            for band, tags in enumerate(more["tags"] or (), 1):
                file.update_tags(band, **tags)
            if more["mask"] is not None:
                file.write_mask(more["mask"])
    return path


def stream(scene: Path | str, labels: Path | str | None, **config: Any) -> Stream:
    """Open a scene as the command line does."""
    settings = DataConfig(data=str(scene), labels=None if labels is None else str(labels), **config)
    return open_scene(str(scene), Request(config=settings))


def samples(opened: Stream) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return all features, labels and groups of a stream."""
    blocks = list(opened.train())
    features = np.concatenate([block[0] for block in blocks])
    labels = np.concatenate([block[1] for block in blocks])
    return features, labels, np.concatenate([np.asarray(block[2]) for block in blocks])


def numbered(height: int, width: int, bands: int = 1) -> NDArray[np.uint32]:
    """Return a scene in which every value occurs once: 1, 2, 3, ... (h, w, bands)."""
    return np.arange(1, height * width * bands + 1, dtype=np.uint32).reshape(height, width, bands)
