"""GDAL as far as ptrain trusts it: two drivers, regular files, no network, a bounded cache, errors of one line."""

import functools
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.store.reading import need_content, need_package, quiet_stderr, reading
from ptrain.errors import DataError

KIND = "a GeoTIFF (.tif) or an ENVI file with its .hdr beside it"
CACHE_MIB = 64
"""Decoded blocks that GDAL keeps."""
BLOCK_LIMIT = 256 * 2**20
"""Bytes of a block (strip or tile) as GDAL decodes it: it can only decode blocks whole."""
RATIO_LIMIT = 10_000
"""Declared bytes a byte of the file: no compression of real images comes near."""
_RATIO_FREE = 64 * 2**20
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_ENVI_DATA = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Yield the rasterio dataset of a GeoTIFF or ENVI file. Raises DataError for everything else.

    GDAL guesses no driver, so a VRT that names other files or addresses is refused whatever it is called, and it gets
    an absolute path of a regular file, never one that it would take for an address.
    """
    path, driver = find(path)
    try:
        with quiet_stderr():
            dataset = open_quietly(os.path.abspath(path), driver=driver)
    except (load_rasterio().errors.RasterioError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be opened ({reason(error, path)}); expected {KIND}: the file is damaged or of "
            "another format, write it again with gdal_translate"
        ) from None
    with dataset:
        yield dataset


def open_quietly(path: str | Path, mode: str = "r", **options: Any) -> Any:
    """rasterio.open without its warning about images that lie nowhere on the ground."""
    rasterio = load_rasterio()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path, mode, **options)


@functools.cache
def load_rasterio() -> Any:
    """Return rasterio with GDAL's options set; raises DataError with the fix where it is not installed.

    The options hold for the process: rasterio's environments must end in the reverse order of their start, and
    generators that read scenes do not.
    """
    rasterio = need_package("rasterio", "a scene", "scenes")
    rasterio.Env(
        GDAL_CACHEMAX=CACHE_MIB, GDAL_DISABLE_READDIR_ON_OPEN="TRUE", GDAL_PAM_ENABLED="NO", GDAL_NUM_THREADS="1"
    ).__enter__()
    return rasterio


def check(path: Path, dataset: Any) -> None:
    """Raise DataError for types that are no real numbers, and for sizes that the file cannot honestly hold."""
    size = f"{dataset.width} x {dataset.height} pixels of {dataset.count} bands"
    if len(dataset.subdatasets) > 1:  # GDAL reads the first alone
        raise DataError(
            f"{path}: holds {len(dataset.subdatasets)} images one after the other (pages); expected one image with all "
            "bands: write them as the bands of one, such as with gdalbuildvrt -separate and gdal_translate"
        )
    kinds = sorted(set(dataset.dtypes))
    try:
        types = [np.dtype(kind) for kind in kinds]
    except TypeError:
        types = [np.dtype(object)]
    if len(types) != 1 or types[0].kind not in "biuf" or types[0].itemsize > 8:
        raise DataError(
            f"{path}: bands of type {', '.join(kinds)}; expected integers or floats, the same for all bands: convert "
            "them, such as with gdal_translate -ot Float32"
        )
    if dataset.count < 1 or dataset.width < 1 or dataset.height < 1:
        raise DataError(f"{path}: {size}; expected at least 1 of each")
    size_of = dataset.width * dataset.height * dataset.count * types[0].itemsize
    found = path.stat().st_size
    if size_of > RATIO_LIMIT * found + _RATIO_FREE:
        raise DataError(
            f"{path}: declares {size}, {size_of} bytes, in a file of {found} bytes; expected at most {RATIO_LIMIT} "
            "bytes a byte of the file: the header is damaged, write the file again"
        )
    rows, columns = dataset.block_shapes[0]
    interleaved = str(getattr(dataset.interleaving, "value", "")).lower() == "pixel"
    block = rows * columns * types[0].itemsize * (dataset.count if interleaved else 1)
    if block > BLOCK_LIMIT:
        raise DataError(
            f"{path}: blocks of {columns} x {rows} pixels take {block} bytes each; expected at most {BLOCK_LIMIT}: "
            "write it in tiles, with gdal_translate -co TILED=YES"
        )


def read(dataset: Any, path: Path, rows: range, columns: range, bands: Sequence[int]) -> NDArray[Any]:
    """A window of some bands, counted from 0, or of the mask where none are named.

    Result: (bands, rows, columns), of the mask (rows, columns), 0 where there is no value.

    Raises DataError where the file is damaged there.
    """
    window = ((rows.start, rows.stop), (columns.start, columns.stop))
    try:
        with quiet_stderr():
            if not bands:
                return dataset.read_masks(1, window=window)  # type: ignore[no-any-return]
            return dataset.read([band + 1 for band in bands], window=window)  # type: ignore[no-any-return]
    except (load_rasterio().errors.RasterioError, ValueError) as error:
        raise DataError(
            f"{path}: rows {rows.start} to {rows.stop - 1} cannot be read ({reason(error, path)}); the file is "
            "truncated or damaged: fetch or write it again"
        ) from None


def is_scene(path: Path) -> bool:
    """Whether a file is a TIFF, or the pixels of an ENVI file, whatever it is called."""
    try:
        return _is_tiff(path) or header_of(path) is not None
    except OSError:
        return False


def find(path: Path) -> tuple[Path, str]:
    """The file with the pixels, which is another one for an ENVI header, and the driver to read it with."""
    need_content(path, KIND)
    if path.suffix.lower() == ".hdr":
        path = _pixels_of(path)
        need_content(path, KIND)
    with reading(path, KIND):
        if _is_tiff(path):
            return path, "GTiff"
    headers = _headers_of(path)
    with reading(path, KIND):
        differ = len(headers) > 1 and len({header.read_bytes() for header in headers}) > 1
    if differ:
        raise DataError(
            f"{path}: {headers[0].name} and {headers[1].name} beside it differ; expected one header: remove the other"
        )
    if headers:
        return path, "ENVI"
    raise DataError(f"{path}: no TIFF, and no ENVI header ({path.stem}.hdr) beside it; expected {KIND}")


def header_of(path: Path) -> Path | None:
    """The ENVI header beside a file of pixels, or None."""
    return next(iter(_headers_of(path)), None)


def _headers_of(path: Path) -> list[Path]:
    """Those that GDAL would take, in its order."""
    names = [path.with_suffix(".hdr"), path.with_suffix(".HDR"), *(Path(f"{path}{end}") for end in (".hdr", ".HDR"))]
    return [header for header in dict.fromkeys(names) if header != path and header.is_file()]


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in _TIFF


def _pixels_of(header: Path) -> Path:
    """The file of pixels beside an ENVI header: scene.dat, scene, ... of scene.hdr; scene.dat of scene.dat.hdr."""
    wanted = [f"{header.stem}{suffix}".lower() for suffix in _ENVI_DATA]
    with reading(header, KIND):
        there = {path for path in header.parent.iterdir() if path.name.lower() in wanted}
    found = sorted((path for path in there if path.is_file() and header_of(path) is not None), key=str)
    # another case of the name is another file; its own goes first
    own = [path for path in found if path.name.startswith(header.stem)] or found
    if not own:
        names = ", ".join(f"{header.stem}{suffix}" for suffix in _ENVI_DATA)
        raise DataError(f"{header}: an ENVI header without its data; expected one of {names} beside it")
    if len(own) > 1:
        raise DataError(
            f"{header}: {own[0].name} and {own[1].name} beside it; expected one file of pixels: name it instead of the "
            "header"
        )
    return own[0]


def reason(error: BaseException, path: Path) -> str:
    """Return GDAL's own words, the most exact that there are, on one line and without the path."""
    while error.__cause__ is not None:
        error = error.__cause__
    words = str(getattr(error, "errmsg", error)).replace(os.path.abspath(path), path.name)
    return " ".join(words.split()).rstrip(".")[:160]
