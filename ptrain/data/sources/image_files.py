"""Files of images: their pixels as every viewer shows them, in the size and mode that all images of a set get."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptrain.data.store import cache
from ptrain.data.store.reading import decoding, need_content, need_package, quiet_stderr, reading
from ptrain.errors import DataError

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
PIXELS = 2**24
"""The most pixels of an image, such as 4096 x 4096: more are refused before anything is unpacked."""
_MODES = {
    "L": "L", "RGB": "RGB", "RGBA": "RGBA", "1": "L", "P": "RGB", "LA": "LA", "I;16": "I;16", "PA": "RGBA",
    "CMYK": "RGB", "YCbCr": "RGB",
}  # fmt: skip
"""Modes of Pillow that are read, and what they are turned into where all images have them."""
_CHANNELS = {"RGB": 3, "RGBA": 4, "LA": 2}
_TURNS = (2, 3, 4, 5, 6, 7, 8)
"""Values of EXIF's orientation for which a viewer turns or mirrors the pixels (JEITA CP-3451, 4.6.4); 1 is upright."""
_ORIENTATION = 0x0112
_MARKS = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
"""What in a PNG says that it may have EXIF or XMP."""
_DEEP = (";16B", ";16L", ";16N", ", 65535)")
"""What Pillow's names for stored values hold where these have 16 bits of which 8 are read."""
_VERSION = 1
_NO_LOG = logging.NullHandler()
Kinds = Mapping[str, Sequence[int]]
"""How many images have a kind, and which is the first of them, by the kind: mode, and what else is to be said of it."""


class Form(NamedTuple):
    """Size and mode that all images of a set have."""

    width: int
    height: int
    mode: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and, where there are several, channels."""
        channels = _CHANNELS.get(self.mode)
        return (self.height, self.width) if channels is None else (self.height, self.width, channels)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(np.uint16 if self.mode == "I;16" else np.uint8)


def survey(paths: Sequence[Path], size: tuple[int, int] | None) -> tuple[tuple[int, int], Kinds]:
    """The size of the images, upright, and their kinds, by their headers; the cache remembers it by content.

    size: width and height that they must have, by default those of the first. Raises DataError for another size, and
    for what is no image.
    """
    key = cache.key_of([_VERSION, [cache.file_sha256(cache.stamp(path)) for path in paths], size])
    found = cache.remembered("images", key, lambda: _survey(paths, size))
    return tuple(found["size"]), found["kinds"]


def _survey(paths: Sequence[Path], size: tuple[int, int] | None) -> dict[str, Any]:
    kinds: dict[str, list[int]] = {}
    like = "the training images have" if size is not None else f"{paths[0].name} has"
    for number, path in enumerate(paths):
        with opened(path) as (image, stream):
            own, kind = _header(image, stream, path)
        size = size or own
        if own != size:
            upright = " when it is turned as its EXIF orientation says" if "turned" in kind else ""
            raise DataError(
                f"{path}: {own[0]} x {own[1]} pixels{upright}, but {like} {size[0]} x {size[1]}: "
                "expected all images alike; resize them, such as with ImageMagick: "
                f"mogrify -auto-orient -resize '{size[0]}x{size[1]}!' {path.name}"
            )
        kinds.setdefault(kind, [0, number])[0] += 1
    return {"size": size, "kinds": kinds}


def _header(image: Any, stream: Any, path: Path) -> tuple[tuple[int, int], str]:
    """Width and height as a viewer shows it, and the kind: the mode, then words for what is to be said of it."""
    width, height = image.size
    if width * height > PIXELS or width * height == 0:
        raise DataError(f"{path}: {width} x {height} pixels; expected 1 to {PIXELS}: cut or shrink it")
    stored = [str(tile[3]) for tile in image.tile]
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and stored == ["I;16B"]):  # the latter of a PGM
        mode = "I;16"
    if mode not in _MODES:
        raise DataError(f"{path}: is of mode {image.mode}; expected grey, RGB or RGBA: convert it, such as to RGB")
    # of several pictures in a JPEG (MPO) the first is what cameras mean and viewers show
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise DataError(f"{path}: holds {image.n_frames} images; expected one: give each a file of its own")
    words = [mode]
    if mode != "I;16" and any(end in text for text in stored for end in _DEEP):
        words.append("deep")
    if mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        words.append("alpha")
    turn = 1
    if image.format != "PNG" or _is_marked(stream):  # of a PNG, whose EXIF may lie behind the pixels, all is unpacked
        turn = _orientation(image)
    if turn in _TURNS:
        words.append("turned")
        # Pillow turns the size of a TIFF itself, some releases do not
        sides = (image.tag_v2.get(256), image.tag_v2.get(257)) if image.format == "TIFF" else (width, height)
        if turn >= 5 and sides == (width, height):
            width, height = height, width
    return (width, height), " ".join(words)


def common_mode(kinds: Kinds, paths: Sequence[Path], wanted: str | None) -> str:
    """The mode that all images are turned into: ``wanted``, the training images', or what they have in common.

    Grey and colours become RGB; a channel of transparency stays where all have one. Raises DataError where some have
    16 bits and others 8.
    """
    found = {_MODES[kind.split()[0]]: paths[first] for kind, (_, first) in reversed(list(kinds.items()))}
    others = [mode for mode in (*found, wanted) if mode not in ("I;16", None)]
    if others and ("I;16" in found or wanted == "I;16"):
        path, bits, other = (found["I;16"], 16, 8) if "I;16" in found else (found[others[0]], 8, 16)
        raise DataError(f"{path}: {bits} bits a pixel, but other images have {other}: expected all alike; convert them")
    if wanted is not None:
        return wanted
    if len(found) == 1:
        return next(iter(found))
    return "L" if set(found) <= {"L", "LA"} else "RGB"


def conversions(kinds: Kinds, mode: str, origin: str) -> tuple[list[str], list[str]]:
    """What is to be said of the images that are turned into ``mode``: lines for notes, and for warnings."""
    total = sum(count for count, _ in kinds.values())
    words = {frozenset(kind.split()): count for kind, (count, _) in kinds.items()}

    def lines(told: Mapping[str, int]) -> list[str]:
        return [f"{origin}: {count:,} of {total:,} images {text}" for text, count in told.items() if count]

    def count(*those: str) -> int:
        return sum(number for kind, number in words.items() if kind & set(those))

    colour, has_alpha = mode.startswith("RGB"), mode in ("RGBA", "LA")
    notes = {
        "are turned as their EXIF orientation says": count("turned"),
        f"are grey and become {mode}": count("L", "1", "LA", "I;16") if colour else 0,
        "get a channel of transparency, opaque, as the others have one": total - count("alpha") if has_alpha else 0,
    }
    warnings = {
        "have colours and become grey, as the training images are": 0 if colour else count("RGB", "RGBA", "P", "PA"),
        "have transparency, which is left out": 0 if has_alpha else count("alpha"),
        "are CMYK or YCbCr and become RGB without a colour profile": count("CMYK", "YCbCr"),
        "have 16 bits a channel, of which the upper 8 are read": count("deep"),
    }
    return lines(notes), lines(warnings)


def pixels(path: Path, form: Form) -> NDArray[np.generic]:
    """The values of an image, upright, (height, width[, channels]); raises DataError where it is not of the form."""
    with opened(path) as (image, _):
        with quiet_stderr() if image.format == "TIFF" else nullcontext():
            image.load()
        turn = _orientation(image)
        values = np.asarray(image if image.mode == form.mode else image.convert(form.mode))
        values = _turned(values, turn)
        if values.shape != form.shape:
            raise DataError(f"{path}: values of shape {values.shape}; expected {form.shape}: the image is damaged")
        return values.astype(form.dtype, copy=False)


def _turned(values: NDArray[Any], turn: int) -> NDArray[Any]:
    """Pixels as a viewer shows them, by EXIF's orientation."""
    if turn >= 5:
        values = values.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        values = values[::-1]
    if turn in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open an image with Pillow, of which only the header is read yet, and its file.

    What goes wrong becomes a DataError.
    """
    need_content(path, "an image")
    # a logger without a handler writes on stderr; what is wrong is told by the errors
    logging.getLogger("PIL").addHandler(_NO_LOG)
    pillow = need_package("PIL.Image", str(path))
    with reading(path, "an image"):
        stream = path.open("rb")
    with stream, decoding(str(path), "an image"):
        try:
            image = pillow.open(stream, formats=FORMATS)
        except pillow.UnidentifiedImageError:
            raise DataError(
                f"{path}: is damaged or no image; expected one of {', '.join(FORMATS)}: remove it or write it again"
            ) from None
        yield image, stream


def _orientation(image: Any) -> int:
    """EXIF's orientation of an image; 1 where there is none, or what is there is damaged, as viewers have it."""
    found = None
    with contextlib.suppress(Exception):  # of struct, Unicode, regular expressions, ...
        found = image.getexif().get(_ORIENTATION)
    return found if found in _TURNS else 1


def _is_marked(stream: Any) -> bool:
    """Whether a PNG may say which way is up."""
    place = stream.tell()
    stream.seek(0)
    content = stream.read()
    stream.seek(place)
    return any(mark in content for mark in _MARKS)
