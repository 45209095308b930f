"""Names of classes in the .aux.xml beside a TIFF, where GDAL and QGIS look for them."""

import re
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

_LIMIT = 2**20


def sidecar_of(path: Path) -> Path:
    """The path of the sidecar file of a raster."""
    return path.with_name(path.name + ".aux.xml")


def category_names_xml(names: Sequence[str]) -> bytes:
    """The content of the sidecar for the names of the values 0, 1, 2, ...."""
    lines = "".join(f"      <Category>{escape(name)}</Category>\n" for name in names)
    return (
        '<PAMDataset>\n  <PAMRasterBand band="1">\n    <CategoryNames>\n'
        f"{lines}    </CategoryNames>\n  </PAMRasterBand>\n</PAMDataset>\n"
    ).encode()


def read_category_names(path: Path) -> list[str]:
    """The names of the values 0, 1, 2, ... from the sidecar of a raster; [] where there are none.

    GDAL is not asked, since such a file can make it open others. A file with a document type, which may define
    entities, counts as none.
    """
    from xml.etree import ElementTree

    sidecar = sidecar_of(path)
    try:
        if not sidecar.is_file() or sidecar.stat().st_size > _LIMIT:
            return []
        content = sidecar.read_bytes()
        if re.search(rb"<!(DOCTYPE|ENTITY)", content, re.IGNORECASE):
            return []
        root = ElementTree.fromstring(content)  # noqa: S314, it is small and defines no entities
    except (OSError, ElementTree.ParseError, ValueError):
        return []
    return [node.text or "" for node in root.findall("./PAMRasterBand[@band='1']/CategoryNames/Category")]
