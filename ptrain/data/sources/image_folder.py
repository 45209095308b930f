"""Folders of images: by class, as torchvision's ImageFolder has them, with or without splits, or any images to predict.

What counts as a sample is in ``image_tree``, what as a split and a class in ``image_layout``, and how an image becomes
features in ``image_files``.
"""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ptrain.data.samples import Named
from ptrain.data.sources.image_files import Form, common_mode, conversions, pixels, survey
from ptrain.data.sources.image_layout import Layout, arrange, left_out, losses
from ptrain.data.sources.image_tree import KIND, SUFFIXES, Tree, holds_images, is_image, tree_of
from ptrain.data.store.reading import need_folder
from ptrain.data.store.stream import Block, Request, Stream, blocks_of
from ptrain.errors import DataError

_VERSION = 2


def open_image_folder(spec: str, request: Request) -> Stream:
    """The stream of a folder of images by class, in the order of torchvision's ImageFolder.

    To predict, classes need not be there: then it is all images below the folder, or the one that is named. Memory: one
    image and a block of 4 MiB. Raises DataError where an image cannot be read, or is not of the size of the first one
    or of the training images.
    """
    folder = Path(spec).expanduser()
    if not request.labelled and folder.is_file() and is_image(folder.name):
        tree = Tree(folder.parent, images=[folder.name])
    else:
        need_folder(folder, KIND)
        tree = tree_of(folder)
    layout = arrange(tree, request.class_names) if request.labelled else _unlabelled(tree)
    schema = request.schema if request.schema is not None and request.schema.get("kind") == "images" else None
    return _stream(f"images:{spec}", tree.folder, layout, schema)


def is_image_folder(folder: Path) -> bool:
    """Whether a folder looks like one."""
    try:
        return holds_images(folder)
    except OSError:
        return False


def _stream(name: str, folder: Path, layout: Layout, schema: Mapping[str, Any] | None) -> Stream:
    """The stream of a layout; ``schema`` is that of training images, whose size and mode these get."""
    paths = {split: [folder / image for image, _ in images] for split, images in layout.splits.items()}
    files = [path for part in paths.values() for path in part]
    size, kinds = survey(files, None if schema is None else (schema["width"], schema["height"]))
    form = Form(*size, common_mode(kinds, files, None if schema is None else schema["mode"]))
    notes, warnings = conversions(kinds, form.mode, str(folder))
    width = math.prod(form.shape)

    def blocks(split: str) -> Iterator[Block]:
        labels = (label for _, label in layout.splits[split])
        samples = ((pixels(path, form), label) for path, label in zip(paths[split], labels, strict=True))
        return blocks_of(len(paths[split]), width, form.dtype, samples)

    readers: dict[str, Any] = {split: partial(blocks, split) for split in layout.splits}
    counts = {split: [label for _, label in images] for split, images in layout.splits.items()}
    return Stream(
        name=name,
        description=f"images of {folder}, {form.width} x {form.height} pixels, {form.mode}",
        files=tuple(files),
        options={"format": "images", "version": _VERSION, "form": form, "counts": counts},
        dtype=form.dtype,
        num_features=width,
        image_shape=form.shape,
        feature_range=(0, 255) if form.dtype.itemsize == 1 else None,
        class_names=layout.classes,
        schema={"kind": "images", **form._asdict()},
        notes=(*layout.notes, *notes),
        warnings=(*layout.warnings, *warnings),
        num_samples=len(paths["train"]),
        named=Named("file", [image for image, _ in layout.splits["train"]]),
        **readers,
    )


def _unlabelled(tree: Tree) -> Layout:
    """All images as samples of a class without a name, in the order of their folders and names."""
    if not tree.images:
        raise DataError(f"{tree.folder}: no images; expected files that end in {', '.join(SUFFIXES)}: check the path")
    return Layout(
        classes=("",),
        splits={"train": [(image, 0) for image in tree.images]},
        notes=tuple(left_out(tree)),
        warnings=tuple(losses(tree)),
    )
