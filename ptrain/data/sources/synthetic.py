"""Synthetic sets: or, xor, spirals, blobs. They are a pure function of their parameters."""

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptrain.data.samples import Samples, Source
from ptrain.data.sources.table import hint
from ptrain.data.store.stream import Request
from ptrain.errors import DataError
from ptrain.keys import derive_key

_CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float64)
_GRID = 2**16


class Parameter(NamedTuple):
    """A parameter of a synthetic set."""

    default: float | None
    smallest: float = 0
    whole: bool = True


Values = dict[str, Any]
_SEED = {"seed": Parameter(0)}
_LOGIC = {"samples": Parameter(None, 4), "noise": Parameter(0.0, whole=False), **_SEED}
_SAMPLES = {"samples": Parameter(1000, 2)}
PARAMETERS: dict[str, dict[str, Parameter]] = {
    "or": _LOGIC,
    "xor": _LOGIC,
    "spirals": _SAMPLES | {"classes": Parameter(2, 2), "noise": Parameter(0.05, whole=False)} | _SEED,
    "blobs": _SAMPLES
    | {"classes": Parameter(3, 2), "features": Parameter(2, 1), "noise": Parameter(1.0, whole=False)}
    | _SEED,
}
"""Parameters of each synthetic set, by name."""


def _open(name: str, rest: str, _: Request) -> Source:
    """The synthetic set ``name`` with the parameters that were given, as in ``samples=2000``; others have defaults.

    Class i has samples i, i + classes, i + 2 * classes, ... The four points of or and xor are training and test
    split at once; everything else is cut by --test-fraction.
    """
    values: Values = {key: parameter.default for key, parameter in PARAMETERS[name].items()} | _parameters(name, rest)
    generator = np.random.Generator(np.random.Philox(key=derive_key(values["seed"], f"synthetic/{name}")))
    if name in ("or", "xor"):
        return _logic(name, values, generator)
    labels: NDArray[np.int64] = np.arange(values["samples"]) % values["classes"]
    features = (_spirals if name == "spirals" else _blobs)(labels, values, generator)
    described = ", ".join(f"{key} {values[key]:g}" for key in PARAMETERS[name])
    return Source(
        name=name,
        description=f"synthetic {name}: {described}",
        train=Samples(_rounded(features), labels, name),
        class_names=tuple(map(str, range(values["classes"]))),
    )


def _logic(name: str, values: Values, generator: np.random.Generator) -> Source:
    count, noise = values["samples"], values["noise"]
    if count is None and noise > 0:
        raise DataError(f"{name}:noise={noise:g}: noise is for clouds of samples; add samples=1000, or leave noise out")
    corners = _CORNERS if count is None else _CORNERS[np.arange(count) % 4]
    labels = np.array(corners.any(axis=1) if name == "or" else corners[:, 0] != corners[:, 1], np.int64)
    samples = Samples(_rounded(_noisy(corners, values, generator)), labels, name)
    what = "the four points, for training and test" if count is None else f"{count:g} samples, noise {noise:g}"
    return Source(
        name=name,
        description=f"logical {name} of two inputs: {what}",
        train=samples,
        test=samples if count is None else None,
        class_names=("false", "true"),
    )


def _spirals(labels: NDArray[np.int64], values: Values, generator: np.random.Generator) -> NDArray[np.float64]:
    """Points on arms of three quarters of a turn around (0, 0), radius up to 1, noise as their deviation."""
    radius = np.sqrt(generator.random(len(labels)))
    angle = 2 * math.pi * (labels / values["classes"] + 0.75 * radius)
    points: NDArray[np.float64] = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return _noisy(points, values, generator)


def _blobs(labels: NDArray[np.int64], values: Values, generator: np.random.Generator) -> NDArray[np.float64]:
    """Normal clouds around centres that are uniform in [-10, 10], noise as their deviation."""
    centres = generator.uniform(-10, 10, (values["classes"], values["features"]))
    return _noisy(centres[labels], values, generator)


def _noisy(points: NDArray[np.float64], values: Values, generator: np.random.Generator) -> NDArray[np.float64]:
    noise: float = values["noise"]
    return points + noise * generator.standard_normal(points.shape)


def _rounded(features: NDArray[np.float64]) -> NDArray[np.float32]:
    """Float32 on a grid of 2**-16: sine and logarithm differ in their last bit between processors."""
    return (np.rint(features * _GRID) / _GRID).astype(np.float32)


def _parameters(name: str, text: str) -> Values:
    """The numbers in ``samples=2000,noise=0.1``, checked against the parameters of a synthetic set."""
    known = PARAMETERS[name]
    values: Values = {}
    for item in filter(None, text.split(",")):
        key, _, value = item.partition("=")
        if key not in known:
            raise DataError(
                f"{name}:{item}: unknown parameter {key}; {hint(key, list(known))}expected {', '.join(known)}"
            )
        parameter = known[key]
        try:
            number = int(value) if parameter.whole else float(value)
        except ValueError:
            number = -math.inf
        if not (math.isfinite(number) and number >= parameter.smallest):
            sort = "a whole number" if parameter.whole else "a number"
            raise DataError(f"{name}:{item}: expected {key} to be {sort} of at least {parameter.smallest:g}")
        values[key] = number
    return values


open_or, open_xor, open_spirals, open_blobs = (partial(_open, name) for name in PARAMETERS)
