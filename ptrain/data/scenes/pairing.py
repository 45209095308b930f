"""Whether a scene fits its reference, and whether it can be read as the scene that a network was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptrain.data.scenes import validity
from ptrain.data.scenes.bands import Bands, match
from ptrain.data.scenes.place import compare
from ptrain.data.scenes.raster import Raster
from ptrain.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A scene with the bands of the training, in their order, and what people should know of it."""

    scene: Raster
    notes: list[str]
    warnings: list[str]


def alone(scene: Raster) -> Fitted:
    """A scene to train on."""
    notes = [*scene.notes]
    if scene.scaling is not None:
        notes.append(f"{scene.origin}: scale and offset of its bands ({validity.shown(scene.scaling)}) are applied")
    warnings = [*scene.warnings]
    if scene.class_colors:
        warnings.append(
            f"{scene.origin}: its values are numbers of a colour table, and are taken as they are; is it a scene, and "
            "no map or picture with a palette?"
        )
    return Fitted(scene=scene, notes=notes, warnings=warnings)


def fitted(scene: Raster, schema: Mapping[str, Any]) -> Fitted:
    """A scene as the network knows it: bands by name where both scenes have names, else in the order of the file.

    Raises DataError where bands are missing or cannot be told apart.
    """
    if schema.get("kind") != "scene":
        raise DataError(f"{scene.origin}: a scene, but the network was trained on other data; expected such data again")
    counts = int(schema["bands"]), scene.bands
    order, notes, warnings = match(Bands.from_schema(schema), scene.identity, counts, scene.origin)
    found = alone(scene.select(order))
    values = _values(scene)
    if {values, schema.get("values")} == {"scaled", "whole"}:
        here, there = ("a scale or offset", "none") if values == "scaled" else ("no scale or offset", "one")
        found.warnings.append(
            f"{scene.origin}: its bands have {here}; those of the training scene have {there}: see that both are in "
            "one unit"
        )
    return Fitted(scene=found.scene, notes=found.notes + notes, warnings=found.warnings + warnings)


def described(scene: Raster, side: int) -> dict[str, Any]:
    """What is needed to read another scene like this one, as JSON has it."""
    about = {"kind": "scene", "bands": scene.bands, "neighborhood": side, "values": _values(scene)}
    return about | scene.identity.to_schema()


def _values(scene: Raster) -> str:
    """What the values are: scaled by the file's scale and offset, whole numbers as they are stored, or real numbers."""
    return "scaled" if scene.scaling is not None else "whole" if scene.dtype.kind in "biu" else "real"


def check_pair(scene: Raster, reference: Raster) -> list[str]:
    """What should be said of scene and reference; raises DataError unless they cover the same pixels."""
    fix = f"bring it onto the scene's grid, with rio warp {reference.path.name} NEW.tif --like {scene.path.name}"
    if not reference.place.is_known:
        fix = "give the reference of this scene"
    if reference.bands != 1:
        raise DataError(
            f"{reference.origin}: {reference.bands} bands; expected 1 band with class numbers: are --data and --labels "
            "swapped?"
        )
    if (scene.height, scene.width) != (reference.height, reference.width):
        raise DataError(
            f"{reference.origin}: {reference.width} x {reference.height} pixels; expected {scene.width} x "
            f"{scene.height} (width x height), those of {scene.origin}: {fix}"
        )
    difference, note = compare(scene.place, reference.place, scene.width, scene.height)
    if difference is not None:
        found, expected = difference
        raise DataError(f"{reference.origin}: {found}; expected {expected}, that of {scene.origin}: {fix}")
    return [] if note is None else [f"{reference.origin} and {scene.origin}: {note}"]
