"""What a GeoTIFF or ENVI file and its sidecar state, band by band."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy import float64
from numpy.typing import NDArray

from ptrain.data.scenes import envi, validity
from ptrain.data.scenes.bands import Bands, described
from ptrain.data.scenes.raster import Color
from ptrain.data.scenes.sidecar import Sidecar
from ptrain.data.scenes.validity import declared

_FILL = ("_FillValue", "missing_value")


@dataclass(frozen=True, kw_only=True, eq=False)
class Stated:
    """An open dataset with its sidecar. What the file itself says goes before what the sidecar says."""

    path: Path
    dataset: Any
    sidecar: Sidecar
    header: dict[str, str]
    """Of ENVI."""
    said: tuple[dict[str, str], ...]
    """What the sidecar says of each band."""
    names: tuple[str | None, ...]
    """Description of each band."""
    colors: tuple[str, ...]
    """What each band is shown as, in lower case."""

    @classmethod
    def of(cls, path: Path, dataset: Any) -> "Stated":
        """Ask an open dataset."""
        sidecar = Sidecar(path)
        said = tuple(sidecar.band(number) for number in range(1, dataset.count + 1))
        try:
            names = dataset.descriptions
        except UnicodeDecodeError:  # of a damaged file; names are for people, the bands have numbers
            names = (None,) * dataset.count
        try:
            colors = [one.name for one in dataset.colorinterp]
        except ValueError:  # one that rasterio does not know
            colors = ["undefined"] * dataset.count
        return cls(
            path=path,
            dataset=dataset,
            sidecar=sidecar,
            header=envi.header_of(dataset),
            said=said,
            names=tuple(name or one.get("Description") for name, one in zip(names, said, strict=True)),
            colors=tuple((one.get("ColorInterp") or color).lower() for color, one in zip(colors, said, strict=True)),
        )

    def nodata(self, bands: Sequence[int]) -> tuple[float | None, ...]:
        """The value of each of these bands that stands for no value."""
        own = self.dataset.nodatavals
        return tuple(self._declared(band, "NoDataValue", *_FILL) if own[band] is None else own[band] for band in bands)

    def scaling(self, bands: Sequence[int]) -> NDArray[float64] | None:
        """Scale and offset of these bands: the file's, its sidecar's, or the one of an ENVI header."""
        own = validity.scaling(
            *([values[band] for band in bands] for values in (self.dataset.scales, self.dataset.offsets))
        )
        if own is not None:
            return own
        common = envi.scale(self.header)
        scales = [self._declared(band, "Scale", "scale_factor") or common for band in bands]
        return validity.scaling(scales, [self._declared(band, "Offset", "add_offset") or 0.0 for band in bands])

    def _declared(self, band: int, *keys: str) -> float | None:
        """The first of these numbers that the sidecar or a tag of the band, such as CF's, declares."""
        tags = self.dataset.tags(band + 1) | self.said[band]
        return next((value for key in keys if (value := declared(tags, key)) is not None), None)

    def identity(self, bands: Sequence[int]) -> Bands:
        """What these bands are called. ENVI's colours are only a choice of what to show."""
        tags = [self.dataset.tags(band + 1) | self.dataset.tags(band + 1, ns="IMAGERY") for band in bands]
        colors = [self.colors[band] for band in bands] if self.dataset.driver == "GTiff" else None
        both = [self.said[band] | own for band, own in zip(bands, tags, strict=True)]
        return described([self.names[band] for band in bands], both, colors)

    @property
    def class_names(self) -> dict[int, str]:
        """Names of values: the tags CLASS_<value> of the band, the ENVI header, or the sidecar."""
        tags = self.dataset.tags(1)
        names = {int(key[6:]): str(value) for key, value in tags.items() if re.fullmatch(r"CLASS_\d{1,10}", key)}
        return names or envi.class_names(self.header) or self.sidecar.class_names

    @property
    def class_colors(self) -> dict[int, Color]:
        """The colour table."""
        try:
            table = self.dataset.colormap(1)
        except ValueError:  # none there
            return {}
        return {int(value): (int(color[0]), int(color[1]), int(color[2])) for value, color in table.items()}
