"""What an ENVI header says beyond what GDAL makes of it: bad bands, names of classes, a common scale."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptrain.errors import DataError


def header_of(dataset: Any) -> dict[str, str]:
    """The entries of the header, by their names in lower case with underscores; {} for other formats."""
    return {key.lower(): value.strip() for key, value in dataset.tags(ns="ENVI").items()}


def items(text: str) -> list[str]:
    """The items of a list in braces; an item in quotes may hold commas."""
    inside = " ".join(text.strip("{} \r\n").split())
    return [item.strip() for item in next(csv.reader([inside], skipinitialspace=True), [])]


def good_bands(header: Mapping[str, str], count: int) -> list[int]:
    """The bands that the header's list of bad bands lets through: all where there is none that fits."""
    flags = items(header.get("bbl", ""))
    good = [band for band, flag in enumerate(flags) if flag.strip("0.")]
    return good if len(flags) == count and good else list(range(count))


def class_names(header: Mapping[str, str]) -> dict[int, str]:
    """Names of the values 0, 1, 2, ...; {} where a comma in a name makes more of them than there are classes."""
    names = items(header.get("class_names", ""))
    expected = header.get("classes", "")
    return {} if expected.isdecimal() and len(names) > int(expected) else dict(enumerate(names))


def check_size(header: Mapping[str, str], path: Path, values: int) -> list[str]:
    """What should be said of a file that is larger than its header says; raises DataError where it is smaller.

    values: bytes of all its pixels.
    """
    offset = header.get("header_offset", "0")
    if not offset.isdecimal() or header.get("file_compression", "0") != "0":
        return []
    expected, found = int(offset) + values, path.stat().st_size
    if found < expected:
        raise DataError(
            f"{path}: {found} bytes; expected {expected}, as its header says: the file is truncated, or the header "
            "that of another file"
        )
    more = f"{path}: has {found - expected} bytes more than its header says: is it the header of this file?"
    return [more] if found > expected else []


def scale(header: Mapping[str, str]) -> float:
    """What makes reflectance of the values."""
    try:
        factor = float(header.get("reflectance_scale_factor", "1"))
    except ValueError:
        return 1.0
    return 1 / factor if factor > 0 else 1.0
