"""Opening a GeoTIFF or ENVI file as a raster: what the file and its sidecar say is found, and hostile files refused."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.scenes import envi, gdal, validity
from ptrain.data.scenes.bands import Bands, described
from ptrain.data.scenes.place import place_of
from ptrain.data.scenes.raster import Color, Raster
from ptrain.data.scenes.sidecar import Sidecar
from ptrain.data.scenes.validity import Mask, declared
from ptrain.data.store.reading import need_content, quiet_stderr
from ptrain.errors import DataError

BLOCK_LIMIT = 256 * 2**20
"""Bytes of a block (strip or tile) as GDAL decodes it: it can only decode blocks whole."""
RATIO_LIMIT = 10_000
"""Declared bytes a byte of the file: no compression of real images comes near."""
_RATIO_FREE = 64 * 2**20
_SAMPLED_ROWS, _SAMPLED_COLUMNS = 8, 4096
"""Of an alpha band, to see whether it is one."""


@contextmanager
def open_raster(path: Path) -> Iterator[Raster]:
    """Open a GeoTIFF or ENVI file; raises DataError for other files and for what cannot be trained on."""
    with ExitStack() as stack:
        dataset = stack.enter_context(gdal.opened(path))
        pixels, _ = gdal.find(path)
        _check(pixels, dataset)
        sidecar, header = Sidecar(pixels), envi.header_of(dataset)
        said = [sidecar.band(number) for number in range(1, dataset.count + 1)]
        names = _descriptions(dataset, said)
        alpha, notes, warnings = _alpha_bands(dataset, pixels, names, said)
        good = envi.good_bands(header, dataset.count)
        numbers = [band for band in range(dataset.count) if band not in alpha and band in good]
        if len(good) < dataset.count:
            bad = dataset.count - len(good)
            notes.append(f"{path}: {bad} of {dataset.count} bands are left out, which its header calls bad (bbl)")
        stored = np.dtype(dataset.dtypes[0])
        if header:
            size = dataset.width * dataset.height * dataset.count * stored.itemsize
            warnings += envi.check_size(header, pixels, size)
        scaling = _scaling(dataset, said, header, numbers)
        yield Raster(
            path=pixels,
            origin=str(path),
            height=dataset.height,
            width=dataset.width,
            numbers=tuple(numbers),
            dtype=stored if scaling is None else validity.scaled_type(stored),
            nodata=_nodata(dataset, said, numbers),
            scaling=scaling,
            masked=_mask(pixels, str(path), dataset, alpha, stack),
            identity=_identity(dataset, names, said, numbers),
            place=place_of(dataset, sidecar),
            class_names=_class_names(dataset, header) or sidecar.class_names,
            class_colors=_class_colors(dataset),
            notes=tuple(notes),
            warnings=tuple(warnings),
            block_rows=dataset.block_shapes[0][0],
            source=dataset,
        )


def files_of(path: Path) -> tuple[Path, ...]:
    """Return every file that the raster is read from, besides its sidecar."""
    pixels, driver = gdal.find(path)
    header = gdal.header_of(pixels) if driver == "ENVI" else None
    return tuple(one for one in (pixels, header, _mask_file(pixels)) if one is not None)


def _check(path: Path, dataset: Any) -> None:
    size = f"{dataset.width} x {dataset.height} pixels of {dataset.count} bands"
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


def _descriptions(dataset: Any, said: Sequence[dict[str, str]]) -> list[str | None]:
    try:
        names = list(dataset.descriptions)
    except UnicodeDecodeError:  # of a damaged file; names are for people, the bands have numbers
        names = [None] * dataset.count
    return [name or one.get("Description") for name, one in zip(names, said, strict=True)]


def _colors(dataset: Any, said: Sequence[dict[str, str]]) -> list[str]:
    """What each band is shown as, in lower case."""
    try:
        colors = [one.name for one in dataset.colorinterp]
    except ValueError:  # one that rasterio does not know
        colors = ["undefined"] * dataset.count
    return [(one.get("ColorInterp") or color).lower() for color, one in zip(colors, said, strict=True)]


def _alpha_bands(
    dataset: Any, path: Path, names: Sequence[str | None], said: Sequence[dict[str, str]]
) -> tuple[list[int], list[str], list[str]]:
    """The bands that say which pixels have a value, and what is to be said and warned of."""
    alpha, notes, warnings = [], [], []
    for band in (band for band, color in enumerate(_colors(dataset, said)) if color == "alpha"):
        starts = sorted({dataset.height * part // _SAMPLED_ROWS for part in range(_SAMPLED_ROWS)})
        columns = range(min(dataset.width, _SAMPLED_COLUMNS))
        rows = [gdal.read(dataset, str(path), path, range(start, start + 1), columns, [band]) for start in starts]
        if dataset.count > 1 and validity.is_alpha(names[band], np.stack(rows)):
            alpha.append(band)
            notes.append(f"{path}: band {band + 1} is alpha: it says which pixels have a value, and is no feature")
        elif dataset.count > 1:
            warnings.append(f"{path}: band {band + 1} is called alpha, but is none by its name or values: a feature")
    return (alpha, notes, warnings) if len(alpha) < dataset.count else ([], [], [])


def _nodata(dataset: Any, said: Sequence[dict[str, str]], numbers: Sequence[int]) -> tuple[float | None, ...]:
    found = dataset.nodatavals
    return tuple(declared(said[band], "NoDataValue") if found[band] is None else found[band] for band in numbers)


def _scaling(
    dataset: Any, said: Sequence[dict[str, str]], header: dict[str, str], numbers: Sequence[int]
) -> NDArray[np.float64] | None:
    """Scale and offset of the bands: those of the file, of its sidecar, or the one of an ENVI header."""
    scales, offsets = [dataset.scales[band] for band in numbers], [dataset.offsets[band] for band in numbers]
    if validity.scaling(scales, offsets) is None:
        scales = [declared(said[band], "Scale") or envi.scale(header) for band in numbers]
        offsets = [declared(said[band], "Offset") or 0.0 for band in numbers]
    return validity.scaling(scales, offsets)


def _identity(
    dataset: Any, names: Sequence[str | None], said: Sequence[dict[str, str]], numbers: Sequence[int]
) -> Bands:
    """What the file says of the bands that are read; ENVI's colours are only a choice of what to show."""
    own = [{**dataset.tags(band + 1), **dataset.tags(band + 1, ns="IMAGERY")} for band in range(dataset.count)]
    colors = [_colors(dataset, said)[band] for band in numbers] if dataset.driver == "GTiff" else None
    return described([names[band] for band in numbers], [said[band] | own[band] for band in numbers], colors)


def _mask_file(path: Path) -> Path | None:
    mask = path.with_name(path.name + ".msk")
    return mask if mask.is_file() else None


def _mask(path: Path, origin: str, dataset: Any, alpha: Sequence[int], stack: ExitStack) -> Mask | None:
    """What tells which pixels the file masks out: alpha bands, a .msk beside it, or a mask inside."""
    beside = _mask_file(path)
    other = None
    if beside is not None:
        # GDAL would open it with any driver, also with one that names other files
        need_content(beside, gdal.KIND)
        other = stack.enter_context(gdal.opened(beside))
        _check(beside, other)
        if other.shape != dataset.shape:
            raise DataError(
                f"{beside}: {other.width} x {other.height} pixels; expected {dataset.width} x {dataset.height}, those "
                f"of {path.name}: remove it, or write it again"
            )
    inside = beside is None and _has_mask(path, dataset)
    if not alpha and other is None and not inside:
        return None

    def masked(rows: range, columns: range) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.zeros((len(rows), len(columns)), np.bool_)
        if alpha:
            found |= (gdal.read(dataset, origin, path, rows, columns, alpha) == 0).any(axis=0)
        if other is not None:
            other_bands = gdal.read(other, str(beside), beside or path, rows, columns, range(other.count))
            found |= (other_bands == 0).any(axis=0)
        if inside:
            found |= gdal.read(dataset, origin, path, rows, columns, []) == 0
        return found

    return masked


def _has_mask(path: Path, dataset: Any) -> bool:
    """Whether the file has a mask inside, which is none of an alpha band and of nodata."""
    try:
        with quiet_stderr():
            flags = {flag.name for flag in dataset.mask_flag_enums[0]}
    except (gdal.load_rasterio().errors.RasterioError, ValueError) as error:
        raise DataError(
            f"{path}: its mask cannot be read ({gdal.reason(error, path)}); the file is damaged: write it again"
        ) from None
    return "per_dataset" in flags and "alpha" not in flags


def _class_names(dataset: Any, header: dict[str, str]) -> dict[int, str]:
    """The names in the band's tags CLASS_<value>, or in the ENVI header."""
    tags = dataset.tags(1)
    names = {int(key[6:]): str(value) for key, value in tags.items() if re.fullmatch(r"CLASS_\d{1,10}", key)}
    return names or envi.class_names(header)


def _class_colors(dataset: Any) -> dict[int, Color]:
    try:
        table = dataset.colormap(1)
    except ValueError:  # none there
        return {}
    return {int(value): (int(color[0]), int(color[1]), int(color[2])) for value, color in table.items()}
