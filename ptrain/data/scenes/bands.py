"""Which band is which: by name, by wavelength or by colour, and by position only where a file says nothing. Pure."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ptrain.errors import DataError

Order = tuple[int, ...]
"""Positions of bands in a file, from 0."""

_NAMES = ("bandname", "band_name", "name", "long_name")
_WAVELENGTHS = (("wavelength", "wavelength_units"), ("wavelength", "wavelength_unit"), ("central_wavelength", "unit"))
_UNITS = {"nanometers": 1.0, "nanometres": 1.0, "nanometer": 1.0, "nm": 1.0}
_UNITS |= dict.fromkeys(("micrometers", "micrometres", "micrometer", "microns", "um", "µm", "μm"), 1000.0)
_NO_COLORS = {"gray", "undefined", "palette"}
_IN_TEXT = re.compile(r"(?:^|[\s(])(\d+(?:\.\d+)?)\s*([a-zµμ]+)\)?$", re.IGNORECASE)
_CLOSE = 0.01
"""Wavelengths that differ by less, relatively, can be the same band of two instruments of a kind."""
_OTHER = 0.03
"""Wavelengths that differ by more are different bands, whatever they are called."""
_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Bands:
    """What a file says of its bands, by which those of another file are found again."""

    names: tuple[str, ...] | None = None
    wavelengths: tuple[float, ...] | None = None
    """In nm, all different."""
    colors: tuple[str, ...] | None = None
    """Such as red, green, blue; all different."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """What to call the bands, where the file says it."""
        waves = None if self.wavelengths is None else tuple(f"{wave:g} nm" for wave in self.wavelengths)
        return self.names or waves or self.colors

    def select(self, order: Sequence[int]) -> "Bands":
        """What is said of these bands."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        return Bands(**{key: values and tuple(values[band] for band in order) for key, values in said.items()})

    def to_schema(self) -> dict[str, Any]:
        """As JSON has it; ``from_schema`` makes it again."""
        return {f"band_{one.name}": (values := getattr(self, one.name)) and list(values) for one in fields(self)}

    @classmethod
    def from_schema(cls, schema: Mapping[str, Any]) -> "Bands":
        """What ``to_schema`` described; runs of old know only names."""
        said = {one.name: schema.get(f"band_{one.name}") for one in fields(cls)}
        return cls(**{key: values and tuple(values) for key, values in said.items()})


def described(
    descriptions: Sequence[str | None], tags: Sequence[Mapping[str, str]], colors: Sequence[str] | None
) -> Bands:
    """From what a file says of each of its bands: description, tags by their names, and colour.

    Names, wavelengths and colours count only where every band has one.
    """
    lower = [{key.lower(): value.strip() for key, value in one.items()} for one in tags]
    pairs = list(zip(descriptions, lower, strict=True))
    texts = [text or next((one[key] for key in _NAMES if one.get(key)), "") for text, one in pairs]
    waves = _wavelengths(lower, texts)
    if waves is not None:  # GDAL's "red (650 Nanometers)" of an ENVI file is called red
        texts = [re.sub(r"(?<=\S)\s*\([\d.]+\s*\w*\)$", "", text) for text in texts]
    names = tuple(text.strip() for text in texts)
    usable = colors is not None and len({*colors}) == len(colors) and not _NO_COLORS & {*colors}
    return Bands(
        names=names if all(names) else None, wavelengths=waves, colors=tuple(colors) if colors and usable else None
    )


def _wavelengths(tags: Sequence[Mapping[str, str]], texts: Sequence[str]) -> tuple[float, ...] | None:
    """The wavelengths in nm from tags, or else from names such as ``560 nm``; None unless all bands have their own."""
    found = [_wavelength(one, text) for one, text in zip(tags, texts, strict=True)]
    known = [one for one in found if one is not None and 0 < one[0] < math.inf]
    if len(known) < len(found):
        return None
    # without a unit: micrometres are small numbers
    guess = 1000.0 if max(value for value, _ in known) < 100 else 1.0
    waves = tuple(value * (unit or guess) for value, unit in known)
    return waves if len(set(waves)) == len(waves) else None


def _wavelength(tags: Mapping[str, str], text: str) -> tuple[float, float | None] | None:
    """A wavelength and what makes nm of it, None where no unit is given; None where there is no wavelength."""
    for key, unit in _WAVELENGTHS:
        said = tags.get(unit, "").lower()
        if key in tags and (said in _UNITS or said in ("", "unknown")):
            return _number(tags[key]), _UNITS.get(said)
    if "central_wavelength_um" in tags:
        return _number(tags["central_wavelength_um"]), 1000.0
    inside = _IN_TEXT.search(text)
    if inside is not None and inside[2].lower() in _UNITS:
        return float(inside[1]), _UNITS[inside[2].lower()]
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def match(trained: Bands, found: Bands, counts: tuple[int, int], origin: str) -> tuple[Order, list[str], list[str]]:
    """Where the bands of the training scene are in another one, in their order; what to say, and what to warn of.

    ``counts``: the bands of the training scene and of the other. Raises DataError, with their names, for bands that
    are not there and for bands that cannot be told apart.
    """
    same = tuple(range(counts[0]))
    if trained.names is not None and trained.names == found.names and _agree(trained, found, same):
        return same, [], []
    keys = _folded(trained.names, found.names), _waves(trained, found), (trained.colors, found.colors)
    mixed = _folded(trained.names or trained.colors, found.names or found.colors)
    for wanted, there in (*keys, mixed):
        if wanted is not None and there is not None and {*wanted} <= {*there}:
            order = tuple(there.index(one) for one in wanted)
            _need_agreement(trained, found, order, origin)
            return order, _told(trained, found, order, counts[1], origin), []
    # both files name their bands in the same way, but not the same bands
    for kind, (wanted, there) in zip(("names", "wavelengths", "colors"), keys, strict=True):
        if wanted is None or there is None:
            continue
        labels, others = (Bands(**{kind: getattr(bands, kind)}).labels or () for bands in (trained, found))
        missing = [label for label, one in zip(labels, wanted, strict=True) if one not in there]
        raise DataError(
            f"{origin}: has no band {_listed(missing)}, only {_listed(others)}; expected {_listed(labels)}, those of "
            "the training scene: give these bands, under these names or without any"
        )
    real = [names for names in (trained.names, found.names) if names and not _default(names)]
    twice = [name for names in real for name in names if names.count(name) > 1]
    if twice and len(real) == 2 and trained.names:
        raise DataError(
            f"{origin}: band name {twice[0]} occurs twice, so bands cannot be told apart; expected "
            f"{_listed(trained.names)}, in this order"
        )
    if counts[0] != counts[1]:
        raise DataError(
            f"{origin}: {counts[1]} bands; expected {counts[0]}, those of the training scene"
            + (f" ({_listed(trained.labels)})" if trained.labels else "")
            + ": give the same bands in the same order"
        )
    mine, theirs = _real(trained), _real(found)
    if mine is None and theirs is None:
        return same, [], []
    if theirs is None:
        told = f"its bands have no names; their order is taken to be {_listed(mine or ())}"
    elif mine is None:
        told = f"the training scene's bands have no names; they are taken to be {_listed(theirs)}"
    else:
        told = f"its bands, {_listed(theirs)}, are taken to be {_listed(mine)} of the training, by their order"
    return same, [], [f"{origin}: {told}"]


def _real(bands: Bands) -> tuple[str, ...] | None:
    """What a file calls its bands, unless it just counts them."""
    counted = bands.names is not None and _default(bands.names)
    return Bands(names=None if counted else bands.names, wavelengths=bands.wavelengths).labels


def _default(names: Sequence[str]) -> bool:
    """Whether these tell nothing apart: all the same, or Band 1, Band 2, ..., as GDAL and ENVI call bands."""
    if len(names) > 1 and len({*names}) == 1:
        return True
    return all(
        re.fullmatch(rf"(band|layer)?[ _]?{number}", name, re.IGNORECASE) for number, name in enumerate(names, 1)
    )


def _folded(
    first: tuple[str, ...] | None, second: tuple[str, ...] | None
) -> tuple[Sequence[str] | None, Sequence[str] | None]:
    """Names as they are compared, without case, spaces and leading zeros; None for those that tell nothing apart."""
    plain = [
        None if not names or _default(names) or len({*names}) < len(names) else [*names] for names in (first, second)
    ]
    folded = [names and [_fold(name) for name in names] for names in plain]
    if any(names and len({*names}) < len(names) for names in folded):
        folded = plain
    return folded[0], folded[1]


def _fold(name: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\s_-]+", "", name)).casefold()


def _waves(trained: Bands, found: Bands) -> tuple[Sequence[float] | None, Sequence[float] | None]:
    """Wavelengths of both, those of ``found`` replaced by the one of ``trained`` that they are nearest to."""
    mine, theirs = trained.wavelengths, found.wavelengths
    if mine is None or theirs is None:
        return mine, theirs
    ordered = sorted(mine)
    gap = min((high - low for low, high in itertools.pairwise(ordered)), default=math.inf)
    nearest: list[float] = list(theirs)
    for wave in mine:
        close = min(range(len(theirs)), key=lambda band: abs(theirs[band] - wave))
        if abs(theirs[close] - wave) <= min(_CLOSE * wave, 0.499 * gap):
            nearest[close] = wave
    return mine, nearest


def _agree(trained: Bands, found: Bands, order: Order) -> bool:
    return _contradiction(trained, found, order) is None


def _contradiction(trained: Bands, found: Bands, order: Order) -> tuple[int, float, float] | None:
    """A band, its wavelength in the training scene and that of the band that is taken for it, where they disagree."""
    if trained.wavelengths is None or found.wavelengths is None:
        return None
    pairs = [(wave, found.wavelengths[band]) for wave, band in zip(trained.wavelengths, order, strict=True)]
    wrong = (band for band, (mine, theirs) in enumerate(pairs) if abs(mine - theirs) > _OTHER * mine)
    return next(((band, *pairs[band]) for band in wrong), None)


def _need_agreement(trained: Bands, found: Bands, order: Order, origin: str) -> None:
    wrong = _contradiction(trained, found, order)
    if wrong is not None:
        band, mine, theirs = wrong
        raise DataError(
            f"{origin}: band {_labels(trained, len(order))[band]} is at {theirs:g} nm, that of the training scene at "
            f"{mine:g} nm; expected the same bands: is it of another instrument?"
        )


def _told(trained: Bands, found: Bands, order: Order, count: int, origin: str) -> list[str]:
    """What is done with bands in another order, and with those that the network does not know."""
    told = []
    if list(order) != sorted(order):
        wanted = _listed(_labels(trained, len(order)))
        told.append(f"{origin}: its bands are in another order, and are read in that of the training: {wanted}")
    extra = [label for band, label in enumerate(_labels(found, count)) if band not in order]
    if extra:
        told.append(f"{origin}: bands that the training scene does not have are left out: {_listed(extra)}")
    return told


def _labels(bands: Bands, count: int) -> tuple[str, ...]:
    return bands.labels or tuple(str(number) for number in range(1, count + 1))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", ... ({len(names)})" if len(names) > _SHOWN else "")
