"""Folders of images by class, as torchvision's ImageFolder has them: FOLDER/CLASS/anything/NAME.png.

FOLDER/train/CLASS and FOLDER/test/CLASS hold a training and a test split.
"""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptrain.data.store.reading import decoding, need_content, need_folder, need_package, quiet_stderr, reading
from ptrain.data.store.stream import Block, Request, Stream, blocks_of
from ptrain.errors import DataError

KIND = "a folder with a folder of images for each class"
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision.datasets.ImageFolder."""
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
PIXELS = 2**24
"""The most pixels of an image, such as 4096 x 4096: more are refused before anything is unpacked."""
_MODES = {"L": "L", "RGB": "RGB", "RGBA": "RGBA", "1": "L", "P": "RGB", "LA": "LA", "I;16": "I;16"}
"""Modes of Pillow that are read, and what they are turned into without loss."""
_TYPES = {"I;16": np.dtype(np.uint16)}
_NO_LOG = logging.NullHandler()


class Form(NamedTuple):
    """Size and mode that all images of a set have."""

    width: int
    height: int
    mode: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and, where there are several, channels."""
        channels = {"RGB": 3, "RGBA": 4, "LA": 2}.get(self.mode)
        return (self.height, self.width) if channels is None else (self.height, self.width, channels)


def open_image_folder(spec: str, request: Request) -> Stream:
    """The stream of a folder of images by class, in the order of torchvision's ImageFolder.

    Memory: one image and a block of 4 MiB. Raises DataError where an image cannot be read, or is not of the size and
    mode of the first one. Images of a palette become RGB and bilevel ones grey, nothing else is converted.
    """
    folder = Path(spec).expanduser()
    need_folder(folder, KIND)
    names = _folders(folder)
    split = {"train", "test"} <= set(names)
    parts = [folder / "train", folder / "test"] if split else [folder]
    classes = tuple(_folders(parts[0]))
    if not classes:
        raise DataError(f"{folder}: no folders in it; expected {KIND}: sort the images into FOLDER/CLASS/")
    found = [_images(part, classes) for part in parts]
    model = found[0][0][0]
    with _opened(model) as image:
        form = _form(image, model)
    dtype = _TYPES.get(form.mode, np.dtype(np.uint8))
    num_features = math.prod(form.shape)

    def blocks(part: list[tuple[Path, int]]) -> Iterator[Block]:
        samples = ((pixels(path, form, model.name), label) for path, label in part)
        return blocks_of(len(part), num_features, dtype, samples)

    return Stream(
        name=f"images:{spec}",
        description=f"images of {folder}, {form.width} x {form.height} pixels, {form.mode}",
        files=tuple(path for part in found for path, _ in part),
        options={"format": "images", "classes": classes, "counts": [[label for _, label in part] for part in found]},
        dtype=dtype,
        num_features=num_features,
        image_shape=form.shape,
        feature_range=(0, 255) if dtype == np.uint8 else None,
        class_names=classes,
        num_samples=len(found[0]),
        train=partial(blocks, found[0]),
        test=partial(blocks, found[1]) if split else None,
    )


def is_image_folder(folder: Path) -> bool:
    """Whether a folder looks like one: a folder in it, or in its train/, holds an image."""
    try:
        return any(
            path.suffix.lower() in SUFFIXES
            for part in (folder / "train", folder)
            if part.is_dir()
            for name in _folders(part)[:3]
            for path in sorted((part / name).rglob("*"))[:1000]
        )
    except OSError:
        return False


def pixels(path: Path, form: Form, like: str) -> NDArray[np.generic]:
    """The values of an image, (height, width[, channels]); raises DataError where it is not as the image ``like``."""
    with _opened(path) as image:
        own = _form(image, path)
        if own != form:
            fix = {"RGB": "-type TrueColor", "RGBA": "-type TrueColorAlpha"}.get(form.mode, "-type Grayscale")
            raise DataError(
                f"{path}: {own.width} x {own.height} pixels, {own.mode}, but {like} has {form.width} x {form.height}, "
                f"{form.mode}: expected all images alike; convert them, such as with ImageMagick: "
                f"mogrify -resize '{form.width}x{form.height}!' {fix}"
            )
        with quiet_stderr() if image.format == "TIFF" else nullcontext():
            values = np.asarray(image if image.mode == form.mode else image.convert(form.mode))
        if values.shape != form.shape:
            raise DataError(f"{path}: values of shape {values.shape}; expected {form.shape}: the image is damaged")
        return values.astype(_TYPES.get(form.mode, np.dtype(np.uint8)), copy=False)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an image with Pillow, of which only the header is read yet; what goes wrong becomes a DataError."""
    need_content(path, "an image")
    # a logger without a handler writes on stderr; what is wrong is told by the errors
    logging.getLogger("PIL").addHandler(_NO_LOG)
    pillow = need_package("PIL.Image", str(path))
    with decoding(str(path), "an image"), reading(path, "an image"), path.open("rb") as stream:
        try:
            image = pillow.open(stream, formats=FORMATS)
        except pillow.UnidentifiedImageError:
            raise DataError(
                f"{path}: is damaged or no image; expected one of {', '.join(FORMATS)}: remove it or write it again"
            ) from None
        yield image


def _form(image: Any, path: Path) -> Form:
    width, height = image.size
    if width * height > PIXELS or width * height == 0:
        raise DataError(f"{path}: {width} x {height} pixels; expected 1 to {PIXELS}: cut or shrink it")
    mode = image.mode.removesuffix("B") if image.mode.startswith("I;16") else image.mode
    if mode not in _MODES:
        raise DataError(f"{path}: is of mode {image.mode}; expected grey, RGB or RGBA: convert it, such as to RGB")
    if getattr(image, "n_frames", 1) > 1:
        raise DataError(f"{path}: holds {image.n_frames} images; expected one: give each a file of its own")
    return Form(width, height, _MODES[mode])


def _folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted as torchvision sorts them; hidden ones are none."""
    with reading(folder, KIND):
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """The images below a folder with the numbers of their classes; raises DataError where a class has none."""
    unknown = sorted(set(_folders(folder)) - set(classes))
    if unknown:
        raise DataError(f"{folder / unknown[0]}: a class without training images; expected one of {', '.join(classes)}")
    images: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        count = len(images)
        for parent, folders, files in os.walk(folder / name, followlinks=True):
            folders.sort()
            images += [(Path(parent, file), label) for file in sorted(files) if Path(file).suffix.lower() in SUFFIXES]
        if len(images) == count and (folder / name).is_dir():
            raise DataError(
                f"{folder / name}: no images; expected files that end in {', '.join(SUFFIXES)}: remove the folder, or "
                "add images"
            )
    if not images:
        raise DataError(f"{folder}: no images; expected {KIND}: sort the images into FOLDER/CLASS/")
    return images
