"""Where a file says which pixels have a value: alpha bands, a mask inside, or one beside it."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptrain.data.scenes import gdal, validity
from ptrain.data.scenes.stated import Stated
from ptrain.data.scenes.validity import Mask
from ptrain.data.store.reading import need_content, quiet_stderr
from ptrain.errors import DataError

_SAMPLED_ROWS, _SAMPLED_COLUMNS = 8, 4096
"""Of an alpha band, to see whether it is one."""


def alpha_bands(file: Stated) -> tuple[list[int], list[str], list[str]]:
    """The bands that say which pixels have a value; what is to be said of them, and what to be warned of."""
    alpha, notes, warnings = [], [], []
    height, width, count = file.dataset.height, file.dataset.width, file.dataset.count
    for band in (band for band, color in enumerate(file.colors) if color == "alpha" and count > 1):
        starts = sorted({height * part // _SAMPLED_ROWS for part in range(_SAMPLED_ROWS)})
        columns = range(min(width, _SAMPLED_COLUMNS))
        rows = [gdal.read(file.dataset, file.path, range(start, start + 1), columns, [band]) for start in starts]
        if validity.is_alpha(file.names[band], np.stack(rows)):
            alpha.append(band)
            notes.append(f"{file.path}: band {band + 1} is alpha: it says which pixels have a value, and is no feature")
        else:
            what = "is called alpha, but is none by its name or values: a feature"
            warnings.append(f"{file.path}: band {band + 1} {what}")
    return (alpha, notes, warnings) if len(alpha) < count else ([], [], [])


def mask_file(path: Path) -> Path | None:
    """The .msk beside a raster, or None."""
    mask = path.with_name(path.name + ".msk")
    return mask if mask.is_file() else None


def mask_of(file: Stated, alpha: list[int], stack: ExitStack) -> Mask | None:
    """What tells which pixels the file masks out; None where nothing does. Files that it opens go onto the stack."""
    dataset, beside, other = file.dataset, mask_file(file.path), None
    if beside is not None:
        # GDAL would open it with any driver, also with one that names other files
        need_content(beside, gdal.KIND)
        other = stack.enter_context(gdal.opened(beside))
        gdal.check(beside, other)
        if other.shape != dataset.shape:
            raise DataError(
                f"{beside}: {other.width} x {other.height} pixels; expected {dataset.width} x {dataset.height}, those "
                f"of {file.path.name}: remove it, or write it again"
            )
    inside = beside is None and _has_mask(file)
    if not alpha and other is None and not inside:
        return None

    def masked(rows: range, columns: range) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.zeros((len(rows), len(columns)), np.bool_)
        if alpha:
            found |= (gdal.read(dataset, file.path, rows, columns, alpha) == 0).any(axis=0)
        if other is not None and beside is not None:
            found |= (gdal.read(other, beside, rows, columns, range(other.count)) == 0).any(axis=0)
        if inside:
            found |= gdal.read(dataset, file.path, rows, columns, []) == 0
        return found

    return masked


def _has_mask(file: Stated) -> bool:
    """Whether the file has a mask inside, which is none of an alpha band and of nodata."""
    with quiet_stderr():
        flags = {flag.name for flag in file.dataset.mask_flag_enums[0]}
    return "per_dataset" in flags and "alpha" not in flags
