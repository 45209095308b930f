import base64
import struct
from typing import Any

import numpy as np
import pytest

from ptrain.data.sources.arrays import in_memory
from ptrain.data.sources.validity import coding_of, decoded, masked
from ptrain.errors import DataError

NAN = float("nan")


def read(values: Any, dtype: str, **attributes: Any) -> np.ndarray:
    array = in_memory(np.array(values, dtype), "a.h5:/x")
    coding = coding_of(attributes, array.dtype, "a.h5:/x")
    found = decoded(array, coding)
    with found.open() as rows:
        block = rows(0, len(values))
    assert block.dtype == found.dtype
    assert (found.note is None) == (coding is None)
    return block


@pytest.mark.parametrize(
    ("values", "dtype", "attributes", "expected", "type_found"),
    [
        ([1, -9999], "i2", {"_FillValue": np.int16(-9999)}, [1, NAN], "f4"),
        ([1, 254], "u1", {"NoData": 254, "MissingValue": [253]}, [1, NAN], "f4"),
        ([1, 255], "u1", {"missing_value": np.array([255], "u1")}, [1, NAN], "f4"),
        ([1, 7, 8], "i4", {"missing_value": np.array([7, 8])}, [1, NAN, NAN], "f8"),
        ([1, 1e20], "f4", {"_FillValue": 1e20}, [1, NAN], "f4"),
        ([1, 1e20], ">f4", {"_FillValue": np.float32(1e20)}, [1, NAN], "f4"),
        ([1, 2], "i2", {"scale_factor": 0.1, "add_offset": 5}, [5.1, 5.2], "f8"),
        ([1, 2], "i2", {"scale_factor": np.array([0.5])}, [0.5, 1], "f8"),
        ([1, 2], "f4", {"add_offset": 1.7e9}, [1.7e9 + 1, 1.7e9 + 2], "f8"),
        ([1, 5, 9], "i2", {"valid_range": np.array([2, 8], "i2")}, [NAN, 5, NAN], "f4"),
        ([1, 5, 9], "f8", {"valid_min": 2.0}, [NAN, 5, 9], "f8"),
        ([1, 5, 9], "f8", {"valid_max": 5.0}, [1, 5, NAN], "f8"),
        # bounds of the packed type are of packed values, of the real type of real ones
        ([1, 5, 9], "i2", {"scale_factor": 10.0, "valid_range": np.array([2, 8], "i2")}, [NAN, 50, NAN], "f8"),
        ([1, 5, 9], "i2", {"scale_factor": 10.0, "valid_range": np.array([20.0, 80.0])}, [NAN, 50, NAN], "f8"),
        ([-1, 1], "i1", {"_Unsigned": "true"}, [255, 1], "f4"),
        ([-1, -2], "i1", {"_Unsigned": b"true", "_FillValue": np.int8(-1)}, [NAN, 254], "f4"),
        ([2**64 - 1, 3], "u8", {"_FillValue": np.uint64(2**64 - 1)}, [NAN, 3], "f8"),
        ([-(2**63), 3], "i8", {"_FillValue": np.int64(-(2**63))}, [NAN, 3], "f8"),
        ([1, 2], "f8", {"_FillValue": base64.b64encode(struct.pack("<d", 2.0)).decode()}, [1, NAN], "f8"),
        # what changes nothing
        ([1, 2], "i2", {}, [1, 2], "i2"),
        ([1, NAN], "f4", {"_FillValue": np.float32(NAN)}, [1, NAN], "f4"),
        ([1, 2], "u1", {"_FillValue": -1, "units": "m"}, [1, 2], "u1"),
        ([1, 2], "i4", {"scale_factor": 1.0, "add_offset": 0.0}, [1, 2], "i4"),
        ([1, 2], "f8", {"_FillValue": base64.b64encode(struct.pack("<d", NAN)).decode()}, [1, 2], "f8"),
    ],
)
def test_values_are_what_the_attributes_say(
    values: list[float], dtype: str, attributes: dict[str, Any], expected: list[float], type_found: str
) -> None:
    found = read(values, dtype, **attributes)
    assert found.dtype == np.dtype(type_found)
    np.testing.assert_array_equal(found, np.array(expected, type_found))


def test_what_is_done_is_said() -> None:
    coding = coding_of(
        {"_FillValue": -1, "valid_min": 0, "scale_factor": 0.5, "add_offset": 2}, np.dtype("i2"), "a.h5:/x"
    )
    assert str(coding) == (
        "a.h5:/x: by its attributes -1 stands for no value, values below 0 are none, values are scaled by 0.5 and "
        "shifted by 2"
    )


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"scale_factor": "abc"}, "attribute scale_factor is abc; expected a number"),
        ({"scale_factor": 0}, "attribute scale_factor is 0; expected a finite number"),
        ({"add_offset": [1, 2]}, "attribute add_offset .* expected one number"),
        ({"valid_range": [1, 2, 3]}, "attribute valid_range .* expected two numbers"),
        ({"_FillValue": {"a": 1}}, "attribute _FillValue"),
        ({"missing_value": []}, "attribute missing_value"),
    ],
)
def test_attributes_that_make_no_sense_are_refused(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read([1], "i2", **attributes)


def test_integers_that_no_float_holds_are_refused_and_not_rounded() -> None:
    with pytest.raises(DataError, match=r"a.h5:/x: value 9007199254740993, which its attributes make a float"):
        read([2**53 + 1, 0], "i8", _FillValue=0)


def test_a_mask_of_numpy_hides_values() -> None:
    array, mask = in_memory(np.array([[1, 2], [3, 4]], "i2"), "x"), in_memory(np.array([[0, 1], [0, 0]], bool), "mask")
    found = masked(array, mask)
    with found.open() as rows:
        np.testing.assert_array_equal(rows(0, 2), np.array([[1, NAN], [3, 4]], "f4"))
        np.testing.assert_array_equal(rows(0, 1), np.array([[1, NAN]], "f4"))
    assert found.note == "x: no value where mask is true"
