"""The .aux.xml beside a raster, where GDAL, QGIS and ArcGIS keep what the file itself has no place for."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

_LIMIT = 2**20
_VALUE, _NAME = ("value", "code"), ("class", "class_name", "classname", "name", "label", "category")


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


class Sidecar:
    """What the sidecar of a raster says; nothing where there is none.

    GDAL is not asked, since such a file can make it open others. A file with a document type, which may define
    entities, counts as none.
    """

    def __init__(self, path: Path) -> None:
        """Read the sidecar of the raster at ``path``."""
        from xml.etree import ElementTree

        sidecar, self._root = sidecar_of(path), ElementTree.Element("PAMDataset")
        try:
            if not sidecar.is_file() or sidecar.stat().st_size > _LIMIT:
                return
            content = sidecar.read_bytes()
            if not re.search(rb"<!(DOCTYPE|ENTITY)", content, re.IGNORECASE):
                self._root = ElementTree.fromstring(content)  # noqa: S314, it is small and defines no entities
        except (OSError, ElementTree.ParseError, ValueError):
            return

    def band(self, number: int) -> dict[str, str]:
        """What is said of a band, counted from 1: NoDataValue, Description, Scale, Offset, ColorInterp and its tags."""
        node = self._root.find(f"./PAMRasterBand[@band='{number}']")
        if node is None:
            return {}
        tags = {str(one.get("key")): one.text or "" for one in node.findall("./Metadata/MDI")}
        return tags | {one.tag: one.text.strip() for one in node if one.text and one.text.strip()}

    @property
    def place(self) -> tuple[str | None, tuple[float, ...] | None]:
        """Coordinate system as text, and transform as a, b, c, d, e, f."""
        try:
            c, a, b, f, d, e = (float(number) for number in (self._root.findtext("GeoTransform") or "").split(","))
        except ValueError:
            return self._root.findtext("SRS"), None
        return self._root.findtext("SRS"), (a, b, c, d, e, f)

    @property
    def class_names(self) -> dict[int, str]:
        """Names of the values of band 1: its categories, or a table of attributes as ArcGIS and QGIS write it."""
        band = "./PAMRasterBand[@band='1']"
        names = [node.text or "" for node in self._root.findall(f"{band}/CategoryNames/Category")]
        if names:
            return dict(enumerate(names))
        table = self._root.find(f"{band}/GDALRasterAttributeTable")
        return {} if table is None else dict(_named(table))


def read_category_names(path: Path) -> list[str]:
    """The names of the values 0, 1, 2, ... from the sidecar of a raster; [] where there are none."""
    found: Mapping[int, str] = Sidecar(path).class_names
    return [found.get(value, "") for value in range(max(found, default=-1) + 1)]


def _named(table: Any) -> Iterator[tuple[int, str]]:
    """Value and name of each row of a table of attributes, by the declared use of its columns or by their headings."""
    columns = [(node.findtext("Usage", ""), node.findtext("Name", "").lower()) for node in table.findall("FieldDefn")]
    places = []
    for usages, headings in ((("5", "3"), _VALUE), (("2",), _NAME)):  # GFU_MinMax, GFU_Min; GFU_Name
        uses = [place for usage in usages for place, column in enumerate(columns) if column[0] == usage]
        uses += [place for heading in headings for place, column in enumerate(columns) if column[1] == heading]
        if not uses:
            return
        places.append(uses[0])
    for row in table.findall("Row"):
        cells = [node.text or "" for node in row.findall("F")]
        try:
            value = float(cells[places[0]])
        except (ValueError, IndexError):
            continue
        if value.is_integer() and len(cells) > places[1]:
            yield int(value), cells[places[1]]
