"""``--data SCENE --labels REFERENCE``: the labelled pixels of a scene as samples, read window by window."""

from dataclasses import replace
from functools import partial

from ptrain.data.scenes.labels import find_labels
from ptrain.data.scenes.open import cube_of, files_of, open_grid
from ptrain.data.scenes.pairing import alone, check_pair, described, fitted
from ptrain.data.scenes.raster import Raster
from ptrain.data.scenes.reading import Reading, Sampling, kept
from ptrain.data.scenes.windows import default_block_size
from ptrain.data.sources import mat
from ptrain.data.store.stream import Request, Stream
from ptrain.errors import DataError


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
    config, known = request.config, request.schema
    if not request.labelled:
        raise DataError(f"{spec}: a scene is predicted as a map; expected --out MAP.tif")
    if config.labels is None:
        raise DataError(f"{spec}: a scene without a reference; expected --labels REFERENCE.tif with the classes")
    with open_grid(spec) as opened, open_grid(config.labels, reference=True) as reference:
        found = alone(opened) if known is None else fitted(opened, known)
        scene, notes, warnings = found.scene, found.notes, found.warnings
        notes += check_pair(scene, reference)
        warnings += reference.warnings
        side = config.neighborhood if known is None else int(known["neighborhood"])
        sampling = Sampling(
            side=side,
            block=config.block_size or default_block_size(scene.height, scene.width, side),
            inside=config.split == "blocks",
        )
        check_sampling(scene, sampling)
        labels = find_labels(reference, request, partial(kept, scene, sampling))
        size = f"{scene.height} x {scene.width} pixels of {scene.bands} bands"
        schema = described(scene, side) | labels.schema if known is None else dict(known)
    reading = Reading(
        spec=spec,
        labels=config.labels,
        sampling=sampling,
        schema=schema,
        numbers=labels.numbers,
        unlabelled=labels.found.unlabelled,
    )
    return Stream(
        name=f"scene:{spec}",
        description=f"labelled pixels of {spec}, {size}" + (f", {side} x {side} around each" if side > 1 else ""),
        files=(*files_of(spec), *files_of(config.labels)),
        options=reading.options,
        dtype=scene.dtype.newbyteorder("="),
        num_features=side * side * scene.bands,
        image_shape=(side, side, scene.bands) if side > 1 else None,
        feature_names=None if side > 1 else scene.identity.labels,
        class_names=labels.classes.names,
        schema=schema,
        notes=(*notes, *labels.notes),
        warnings=(*warnings, *labels.warnings),
        train=reading.samples,
        counted=reading.counted,
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
