"""Scenes as a line of the table of formats; what reads them is loaded when one is opened."""

from ptrain.data.sources import mat
from ptrain.data.store.stream import Request, Stream

EXTENSIONS = (".tif", ".tiff", ".hdr", ".bsq", ".bil", ".bip")
"""What is a scene by its name; scene:PATH says it of other names, such as ENVI's .img and .dat."""


def open_scene(spec: str, request: Request) -> Stream:
    """Return the labelled pixels of a GeoTIFF, an ENVI file, or a cube in a .mat file."""
    from ptrain.data.scenes import scene

    return scene.open_scene(spec, request)


def open_mat(spec: str, request: Request) -> Stream:
    """Return the samples of a .mat file, or the labelled pixels where it is a cube with its reference."""
    from ptrain.data.scenes import open as grids

    if grids.is_cube(spec, request.config.labels) or (request.schema or {}).get("kind") == "scene":
        return open_scene(spec, request)
    return mat.open_mat(spec, request)
