"""Area-weighted accuracy of a classification map, after Olofsson et al. 2014 (good practices, equations 1 to 11).

The samples of each mapped class are a random sample of the area mapped as it (stratified), or of the whole map
(simple random, then post-stratified). A class is weighted with its area and not with its number of samples.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ptrain.errors import DataError
from ptrain.evaluation.confusion import class_counts
from ptrain.evaluation.intervals import around


def area_weighted(confusion: ArrayLike, mapped_areas: Sequence[float], class_names: Sequence[str]) -> dict[str, Any]:
    """Overall, user's and producer's accuracy and the area of each class, with standard errors.

    confusion: (classes, classes) sample counts, rows the reference, columns the map. The paper has it the other way
    round. mapped_areas: area mapped as each class, in any unit; estimated areas come in the same unit. A standard
    error is None where a class has fewer than two samples, and where all samples agree: they show no spread, and 0
    would say that no other sample could.
    Raises DataError where areas and classes do not fit, and where a class covers area but has no sample.
    """
    counts = class_counts(confusion)
    areas, num_classes = _check(mapped_areas, counts.predicted, class_names), len(counts.support)
    total = math.fsum(areas)
    # shares[i][j]: of the samples mapped as i, the share whose reference is j
    matrix = np.asarray(confusion).T.tolist()
    shares = [[cell / max(sum(row), 1) for cell in row] for row in matrix]
    weights = [area / total for area in areas]
    freedom = [m - 1 for m in counts.predicted]
    estimated = [math.fsum(areas[i] * shares[i][j] for i in range(num_classes)) for j in range(num_classes)]

    def spread(i: int, j: int) -> float:
        """The variance of shares[i][j]; nan marks a class with a single sample."""
        return shares[i][j] * (1 - shares[i][j]) / freedom[i] if freedom[i] > 0 else math.nan

    def error(variances: list[float]) -> float | None:
        variance = math.fsum(variances)
        return math.sqrt(variance) if variance > 0 else None  # nor for nan

    mapped = [i for i in range(num_classes) if areas[i] > 0]
    overall = math.fsum(weights[i] * shares[i][i] for i in mapped)
    overall_error = error([weights[i] ** 2 * spread(i, i) for i in mapped])
    per_class = []
    for k in range(num_classes):
        users = shares[k][k] if k in mapped else None
        users_error = error([spread(k, k)]) if k in mapped else None
        producers = areas[k] * shares[k][k] / estimated[k] if estimated[k] > 0 else None
        producers_error = None
        if producers is not None:
            wrong = {True: (1 - producers) ** 2, False: producers**2}
            producers_error = error([(areas[i] / estimated[k]) ** 2 * wrong[i == k] * spread(i, k) for i in mapped])
        area_error = error([areas[i] ** 2 * spread(i, k) for i in mapped])
        per_class.append(
            {
                "class": str(class_names[k]),
                "mapped_area": areas[k],
                **_score("area", estimated[k], area_error, highest=total),
                **_score("users_accuracy", users, users_error),
                **_score("producers_accuracy", producers, producers_error),
            }
        )
    return {"total_area": total, **_score("overall_accuracy", overall, overall_error), "per_class": per_class}


def add_areas(summary: dict[str, Any], mapped_areas: Sequence[float]) -> None:
    """Add the key area_weighted to a summary; ``mapped_areas`` in the order of its classes. Raises DataError."""
    summary["area_weighted"] = area_weighted(summary["confusion"], mapped_areas, summary["class_names"])


def _score(name: str, value: float | None, error: float | None, highest: float = 1.0) -> dict[str, Any]:
    return {name: value, f"{name}_standard_error": error, f"{name}_interval": around(value, error, highest=highest)}


def _check(mapped_areas: Sequence[float], predicted: Sequence[int], class_names: Sequence[str]) -> list[float]:
    areas = [float(area) for area in mapped_areas]
    if not len(areas) == len(class_names) == len(predicted):
        raise DataError(
            f"{len(areas)} areas and {len(class_names)} names for {len(predicted)} classes: expected one each"
        )
    for area, count, name in zip(areas, predicted, class_names, strict=True):
        if not (math.isfinite(area) and area >= 0):
            raise DataError(f"area {area} of class {name}: expected a number of 0 or more")
        if area > 0 and count == 0:
            raise DataError(
                f"class {name} covers an area of {area} and no sample was predicted as it: "
                "expected samples from every mapped class; take samples there or merge classes"
            )
        if area == 0 and count > 0:
            raise DataError(f"{count} samples predicted as class {name}, whose area is 0: correct the areas")
    return areas
