"""What the values of a reference are to a network: labels, no class, or unknown."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.scenes.classes import Classes, Found, find_classes
from ptrain.data.scenes.raster import Raster
from ptrain.data.scenes.unlabelled import Unlabelled, doubtful, rule, told
from ptrain.data.store.stream import Request
from ptrain.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What a reference means: the classes of the network, and the label of each value."""

    classes: Classes
    numbers: dict[int, int]
    """Label by value; values that are not here and not ``unlabelled`` are no classes of the network."""
    found: Found
    notes: list[str]
    warnings: list[str]

    @property
    def schema(self) -> dict[str, Any]:
        """What is needed to read another reference like this one."""
        return self.classes.to_schema() | {"unlabelled": sorted(self.found.unlabelled)}


def find_labels(reference: Raster, request: Request, keep: Callable[[range, range], NDArray[np.bool_]]) -> Labels:
    """The classes of a reference; those of the training where there is one, with what means no class there."""
    asked, known = request.config.unlabelled, request.schema
    unlabelled = rule(reference, asked)
    notes: list[str] = []
    if known is None:
        found = find_classes(reference, unlabelled, keep)
        classes = found.classes
        numbers = {value: label for label, value in enumerate(classes.values)}
    else:
        classes = Classes.from_schema(known)
        numbers, notes = classes.numbering(reference)
        for value in unlabelled.given & {*numbers}:  # it is called Unclassified here, unless it was so in training
            if classes.names[numbers[value]].casefold() != reference.names.get(value, "").casefold():
                del numbers[value]
        if not numbers:
            raise DataError(
                f"{reference.origin}: its classes are called {', '.join([*reference.names.values()][:20])}; expected "
                f"{', '.join(classes.names[:20])}, those of the training reference: give them these names, or none"
            )
        nothing = {*unlabelled.given, *known.get("unlabelled", [0])} - {*numbers}
        found = find_classes(reference, Unlabelled(given=frozenset(nothing)), keep)
    names = {value: classes.names[label] for value, label in numbers.items()}
    warnings = doubtful(reference, asked, names) if known is None else []
    at_edges = found.labelled - found.kept
    if at_edges:
        warnings.append(
            f"{at_edges:,} of {found.labelled:,} labelled pixels are left out, whose neighbourhood reaches into "
            "another block"
        )
    return Labels(
        classes=classes,
        numbers=numbers,
        found=found,
        notes=notes + told(reference, found.left_out, asked, names if known is None else {}),
        warnings=warnings,
    )
