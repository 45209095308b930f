"""Which values of a reference mean that a pixel has no class: those that the file or the user declares to. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ptrain.data.scenes.raster import Raster

_NOTHING = {
    "unclassified", "unlabelled", "unlabeled", "not labelled", "not labeled", "no data", "nodata", "no-data", "no_data",
    "no label", "no class", "undefined", "masked pixels", "void", "ignore",
}  # fmt: skip
Asked = Literal["auto", "none"] | tuple[int, ...]
"""What --unlabelled says."""
_OPEN = {"", "0", "background", "none", "unknown", "other"}
"""Names of 0 that do not say whether it is a class."""


@dataclass(frozen=True, kw_only=True)
class Unlabelled:
    """The rule by which a value is no class; a file's nodata value and mask hold besides it."""

    given: frozenset[int] = frozenset()
    """Values that mean no class, by --unlabelled or by their names."""
    zero: bool = False
    """Whether 0 does as well, since nothing says that it is a class; where there is but one other value it is one."""

    def among(self, values: Iterable[int]) -> set[int]:
        """The values that mean no class, where these occur."""
        left = {*values} - self.given
        is_class = 0 in left and len(left) == 2
        return {*self.given} | ({0} if self.zero and not is_class else set())


def rule(reference: Raster, asked: Asked) -> Unlabelled:
    """The rule for a reference.

    auto: values whose names say so, such as Unclassified; and 0, unless the file declares another value or a mask for
    pixels without a class, or names 0.
    """
    if not isinstance(asked, str):
        return Unlabelled(given=frozenset(asked))
    if asked == "none":
        return Unlabelled()
    given = frozenset(value for value, name in reference.names.items() if name.casefold() in _NOTHING)
    open_ = reference.names.get(0, "").casefold() in _OPEN
    return Unlabelled(given=given, zero=not reference.declares_nothing and 0 not in given and open_)


def told(reference: Raster, left_out: Mapping[int | None, int], asked: Asked, classes: Mapping[int, str]) -> list[str]:
    """What should be said of the values that are taken as no class, and of a 0 that is one. classes: name by value."""
    origin, notes = reference.origin, []
    for value, count in left_out.items():
        if value is None:
            notes.append(f"{origin}: {count:,} pixels have no class by its nodata value or mask")
            continue
        name = f" ({reference.names[value]})" if value in reference.names else ""
        change = "" if name or value != 0 else "; --unlabelled none makes 0 a class"
        notes.append(f"{origin}: {count:,} pixels of value {value}{name} are taken as not labelled{change}")
    if asked == "auto" and classes.get(0) == "0":
        why = "there is but one other value"
        if reference.declares_nothing:
            nodata = reference.nodata[0]
            why = "it has a mask" if nodata is None else f"its nodata value is {nodata:g}"
        notes.append(f"{origin}: 0 is a class, since {why}; --unlabelled 0 leaves it out")
    return notes


def doubtful(reference: Raster, asked: Asked, classes: Mapping[int, str]) -> list[str]:
    """A warning of a class that often means no class: the largest number of a byte or two, far above all others."""
    *others, last = sorted(classes)
    if asked != "auto" or reference.declares_nothing or last not in (255, 65535) or len(others) < 2:
        return []
    if classes[last] != str(last) or others[-1] == last - 1:
        return []
    both = "" if 0 in classes else f", or --unlabelled 0 {last} where 0 means none as well"
    return [f"{reference.origin}: {last} is taken as a class; where it means none, say --unlabelled {last}{both}"]
