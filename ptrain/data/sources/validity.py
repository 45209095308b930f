"""What the attributes of an array say about its values: which stand for none, scale and offset.

Source: NetCDF Climate and Forecast (CF) conventions 1.11, sections 2.5.1 (missing data, valid range) and 8.1 (packed
data), and the attribute conventions of the NetCDF users guide (valid_range, _Unsigned).
"""

import base64
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrain.data.sources.arrays import Array, Rows
from ptrain.errors import DataError

_OTHERS = ("scale_factor", "add_offset", "valid_min", "valid_max", "valid_range", "_Unsigned")
_MISSING = ("fillvalue", "missingvalue", "nodata", "nodatavalue")
_EXACT = 2**53


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How stored values become the values that are meant: real = stored * scale + offset, or none (NaN)."""

    origin: str
    stored: np.dtype[Any]
    """Type of the values in the file, seen without sign where the file says so."""
    missing: tuple[int | float, ...] = ()
    """Stored values that stand for none."""
    low: float | None = None
    high: float | None = None
    """Smallest and largest valid value: stored ones, or real ones where ``real_range``."""
    real_range: bool = False
    scale: float = 1.0
    offset: float = 0.0

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the real values: float64 where a narrower one would not hold them."""
        packed = (self.scale, self.offset) != (1.0, 0.0)
        if self.stored.kind == "f" and not packed:
            return self.stored.newbyteorder("=")
        return np.dtype(np.float32 if not packed and self.stored.itemsize <= 2 else np.float64)

    def decode(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """The real values, NaN where there is none. Raises DataError for integers that float64 does not hold."""
        values = values.view(self.stored)
        none = np.isin(values, np.array([self.stored.type(value) for value in self.missing], self.stored))
        if self.stored.kind in "iu" and self.stored.itemsize == 8:
            self._need_exact(values[~none])
        numbers = values.astype(np.float64)
        real = numbers * self.scale + self.offset
        judged = real if self.real_range else numbers
        with np.errstate(invalid="ignore"):
            none |= judged < self.low if self.low is not None else False
            none |= judged > self.high if self.high is not None else False
        return np.where(none, np.nan, real).astype(self.dtype)

    def _need_exact(self, values: NDArray[np.generic]) -> None:
        wide = next((value for value in (values.min(initial=0), values.max(initial=0)) if abs(int(value)) > _EXACT), 0)
        if wide:
            raise DataError(
                f"{self.origin}: value {wide}, which its attributes make a float; expected at most 2**53, which "
                "float64 holds: write it without _FillValue, scale_factor and the like"
            )

    def __str__(self) -> str:
        """What is done, for people."""
        said = [f"{value:g} stands for no value" for value in self.missing]
        bounds = [
            f"{word} {bound:g}" for word, bound in (("below", self.low), ("above", self.high)) if bound is not None
        ]
        said += [f"values {' and '.join(bounds)} are none"] if bounds else []
        packed = (self.scale, self.offset) != (1.0, 0.0)
        said += [f"values are scaled by {self.scale:g} and shifted by {self.offset:g}"] if packed else []
        return f"{self.origin}: by its attributes {', '.join(said)}"


def says_how(name: str) -> bool:
    """Whether an attribute of this name says how values are to be read, also in other spellings than CF's."""
    return name in _OTHERS or name.lower().replace("_", "") in _MISSING


def coding_of(attributes: Mapping[str, Any], dtype: np.dtype[Any], origin: str) -> Coding | None:
    """What attributes say of an array of numbers of this type; None where values are what they are.

    Raises DataError where an attribute is not what it has to be.
    """
    found = {name: value for name, value in attributes.items() if says_how(name) and value is not None}
    if not found or dtype.kind not in "iuf":
        return None
    stored = dtype
    if dtype.kind == "i" and str(_plain(found.get("_Unsigned", "false"))).lower() == "true":
        stored = np.dtype(dtype.str.replace("i", "u"))
    numbers = {name: _numbers(value, name, origin) for name, value in found.items() if name != "_Unsigned"}
    bounds = [*numbers.get("valid_range", [])]
    if bounds and len(bounds) != 2:
        raise _wrong(origin, "valid_range", found["valid_range"], "two numbers")
    low, high = (_one(numbers, name, origin) for name in ("valid_min", "valid_max"))
    if bounds:
        low, high = bounds
    given = _one(numbers, "scale_factor", origin), _one(numbers, "add_offset", origin)
    scale, offset = (default if one is None else one for one, default in zip(given, (1.0, 0.0), strict=True))
    for name, value in (("scale_factor", scale), ("add_offset", offset)):
        if not np.isfinite(value) or (name == "scale_factor" and value == 0):
            raise _wrong(origin, name, value, "a finite number, and no scale of 0")
    missing = {value for name, values in numbers.items() if name not in _OTHERS for value in values}
    packed = (scale, offset) != (1.0, 0.0)
    kinds = {np.asarray(found[name]).dtype.kind for name in ("valid_range", "valid_min", "valid_max") if name in found}
    if stored != dtype:  # written with a sign, as the type of the file has none without
        missing = {value % 2 ** (8 * dtype.itemsize) for value in missing}
    coding = Coding(
        origin=origin,
        stored=stored,
        missing=tuple(sorted(value for value in missing if _fits(value, stored))),
        low=low,
        high=high,
        real_range=packed and kinds == {"f"} and dtype.kind != "f",
        scale=scale,
        offset=offset,
    )
    changes = coding.missing or packed or stored != dtype or low is not None or high is not None
    return coding if changes else None


def decoded(array: Array, coding: Coding | None, fill: Any = None) -> Array:
    """An array of the real values of another one; ``fill`` is what a file has where nothing was written."""
    if coding is None:
        is_value = isinstance(fill, int | float | np.number) and np.isfinite(fill) and fill != 0
        said = f"{array.origin}: {fill}, its fill value, is a value like others without an attribute _FillValue"
        return replace(array, note=said) if is_value and array.dtype.kind in "iuf" else array

    @contextmanager
    def opened() -> Iterator[Rows]:
        with array.open() as read:
            yield lambda start, stop: coding.decode(read(start, stop))

    return replace(array, dtype=coding.dtype, open=opened, note=str(coding))


def masked(array: Array, mask: Array) -> Array:
    """An array with no value where the mask of numpy.ma is set."""
    coding = Coding(origin=array.origin, stored=array.dtype)

    @contextmanager
    def opened() -> Iterator[Rows]:
        with array.open() as read, mask.open() as read_mask:
            yield lambda start, stop: np.where(
                read_mask(start, stop).astype(bool), np.nan, coding.decode(read(start, stop))
            ).astype(coding.dtype)

    note = f"{array.origin}: no value where {mask.origin} is true"
    return replace(array, dtype=coding.dtype, open=opened, note=f"{array.note}; {note}" if array.note else note)


def _numbers(value: Any, name: str, origin: str) -> list[int | float]:
    """An attribute as numbers: a number, some of them, or a text of base64, which Zarr has for floats."""
    value = _plain(value)
    if isinstance(value, str) and name not in _OTHERS:
        try:
            content = base64.b64decode(value, validate=True)
            return [struct.unpack("<d" if len(content) == 8 else "<f", content)[0]]
        except (ValueError, struct.error):
            pass
    numbers: list[Any] = np.asarray(value).reshape(-1).tolist()
    if not numbers or not all(isinstance(one, int | float) for one in numbers):
        raise _wrong(origin, name, value, "a number")
    return numbers


def _plain(value: Any) -> Any:
    """Text as str, whether the file has it as bytes or as an array of one."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _one(numbers: Mapping[str, list[int | float]], name: str, origin: str) -> float | None:
    values = numbers.get(name)
    if values is not None and len(values) != 1:
        raise _wrong(origin, name, values, "one number")
    return None if values is None else values[0]


def _fits(value: int | float, dtype: np.dtype[Any]) -> bool:
    """Whether a stored value can be this number; NaN is none in any case."""
    if dtype.kind == "f" or not np.isfinite(value):
        return not np.isnan(value) and dtype.kind == "f"
    limits = np.iinfo(dtype)
    return value == int(value) and limits.min <= value <= limits.max


def _wrong(origin: str, name: str, value: Any, expected: str) -> DataError:
    return DataError(f"{origin}: attribute {name} is {str(value)[:60]}; expected {expected}: correct the file")
