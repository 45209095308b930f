"""GDAL as far as ptrain trusts it: two drivers, regular files, no network, a bounded cache, errors of one line."""

import functools
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptrain.data.store.reading import need_content, need_package, quiet_stderr, reading
from ptrain.errors import DataError

KIND = "a GeoTIFF (.tif) or an ENVI file with its .hdr beside it"
CACHE_MIB = 64
"""Decoded blocks that GDAL keeps."""
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


def same_crs(first: str, second: str) -> bool:
    """Whether two coordinate systems, as WKT, are the same one."""
    crs = load_rasterio().crs.CRS
    return first == second or bool(crs.from_wkt(first) == crs.from_wkt(second))


def find(path: Path) -> tuple[Path, str]:
    """The file with the pixels, which is another one for an ENVI header, and the driver to read it with."""
    if path.suffix.lower() == ".hdr":
        path = _data_of(path)
    need_content(path, KIND)
    with reading(path, KIND), path.open("rb") as file:
        if file.read(4) in _TIFF:
            return path, "GTiff"
    if header_of(path) is not None:
        return path, "ENVI"
    raise DataError(f"{path}: no TIFF, and no ENVI header ({path.stem}.hdr) beside it; expected {KIND}")


def header_of(path: Path) -> Path | None:
    """The ENVI header beside a file of pixels, or None."""
    candidates = (path.with_suffix(".hdr"), path.with_name(path.name + ".hdr"))
    return next((header for header in candidates if header.is_file()), None)


def reason(error: BaseException, path: Path) -> str:
    """Return GDAL's own words, the most exact that there are, on one line and without the path."""
    while error.__cause__ is not None:
        error = error.__cause__
    words = str(getattr(error, "errmsg", error)).replace(os.path.abspath(path), path.name)
    return " ".join(words.split()).rstrip(".")[:160]


def _data_of(header: Path) -> Path:
    need_content(header, KIND)
    found = next((base for base in map(header.with_suffix, _ENVI_DATA) if base.is_file()), None)
    if found is None:
        names = ", ".join(f"{header.stem}{suffix}" for suffix in _ENVI_DATA)
        raise DataError(f"{header}: an ENVI header without its data; expected one of {names} beside it")
    return found
