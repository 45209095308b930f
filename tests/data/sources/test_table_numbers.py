"""What a text is: a number, for Python and Arrow alike, a code, or a number that has to be asked about."""

import io
import math
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ptrain.data.sources.table_bytes import may_hold_codes
from ptrain.data.sources.table_numbers import CODE, PATTERNS, is_code, loses_digits, number_of, spelling_of, whole_of

WIDE = "\uff11\uff12"
"""12 in digits of full width."""


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("-1.5", -1.5), ("+1", 1), (".5", 0.5), ("5.", 5), ("1e-3", 0.001), ("007", 7), ("1E5", 1e5),
     ("inf", math.inf), ("-Infinity", -math.inf), ("1e400", math.inf)],
)  # fmt: skip
def test_numbers(text: str, number: float) -> None:
    assert number_of(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "1\n",
        "1_000",
        WIDE,
        "٣",
        "1,5",
        "0x1F",
        "1e",
        "e5",
        ".",
        "--1",
        "1.2.3",
        "12%",
        "$1",
        "1d",
        "NA",
    ],
)
def test_what_is_no_number(text: str) -> None:
    assert number_of(text) is None
    assert whole_of(text) is None


def test_a_decimal_comma_is_one_where_it_is_said() -> None:
    assert number_of("1,5", ",") == 1.5
    assert number_of("1.5", ",") is None
    assert whole_of("2,0", ",") == 2


@given(st.one_of(st.text(max_size=8), st.from_regex("[+-]?[0-9_\uff11.,eE]{1,8}", fullmatch=True)))
@example("1_000").via("a number for Python alone")
@example(WIDE).via("a number for Python alone")
@example("+1").via("a number for Python alone")
@example("infinity").via("both")
def test_arrow_and_python_agree(text: str) -> None:
    """What Arrow reads as a number is one here, with the same value; and both kinds of expressions say the same."""
    array = pa.array([text], pa.string())
    for decimal, pattern in PATTERNS.items():
        assert pc.match_substring_regex(array, pattern)[0].as_py() == (number_of(text, decimal) is not None)
    assert pc.match_substring_regex(array, CODE)[0].as_py() == is_code(text)
    if not text.startswith("nan("):
        with suppress(pa.ArrowInvalid):
            value = pc.cast(array, pa.float64())[0].as_py()
            assert value == number_of(text) or (math.isnan(value) and math.isnan(number_of(text) or 0))


@given(st.integers(-(10**30), 10**30))
def test_whole_numbers_of_any_size_are_kept(number: int) -> None:
    assert whole_of(str(number)) == number
    assert whole_of(f"{number}.0") == number
    assert loses_digits(str(number)) == (int(float(number)) != number)


def test_codes_are_no_numbers() -> None:
    assert [text for text in ("0", "00", "01", "10", "0.5", "-1", "0101", "0x1") if is_code(text)] == [
        "00",
        "01",
        "0101",
    ]
    assert [whole_of(text) for text in ("01", "1", "001", "1.0", "1e3", "1.5", "01.0")] == [
        None,
        1,
        None,
        1,
        1000,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("texts", "way"),
    [
        (["1,234", "5"], "with commas"),
        (["0,77", "-1,5"], "with commas"),
        (["1,234,567.5"], "with commas"),
        (["12%", "5.5 %"], "with per cent"),
        (["$5", "$1,000"], "with a currency"),
        (["1.234,50 €"], "with a currency"),
        (["1.234.567"], "with several points"),
        (["1 234", "12"], "with blanks"),
        (["1'000"], "with apostrophes"),
        (["1_000"], "with underscores"),
        (["(1000)", "5"], "with parentheses"),
        ([WIDE, "3"], "with other characters than the digits 0 to 9"),
        (["\u22125"], "with other characters than the digits 0 to 9"),
        ([f"{number} kg" for number in range(30)], "with the unit kg"),
        ([f"{number / 2}°C" for number in range(30)], "with the unit °C"),
    ],
)
def test_numbers_in_other_spellings_are_known(texts: list[str], way: str) -> None:
    assert spelling_of(texts) == way


@pytest.mark.parametrize(
    "texts",
    [["1", "2.5"], ["red"], ["1", "red"], ["12%", "red"], ["2020-01-05"], ["10.0.0.1"], ["12:30"], ["5-10"], ["<5"],
     ["1 2"], ["10m", "20m"], ["A1", "B2"], ["1A", "2B"], ["0x1F"], ["Q1"], ["1,2,3"], []],
)  # fmt: skip
def test_names_and_dates_are_no_numbers(texts: list[str]) -> None:
    assert spelling_of(texts) is None


CODES: list[tuple[bytes, bool]] = [
    (b"x,y\n1,2\n", False),
    (b"x,y\n1,02\n", True),
    (b"01,2\n", True),
    (b'"01",2\n', True),
    (b"10,0\n0.5,1e-05\n", False),
    (b"123456789012345,1\n", False),
    (b"1234567890123456,1\n", True),
]


@pytest.mark.parametrize(("text", "found"), CODES)
@pytest.mark.parametrize("before", [0, 2**20 - 20, 2**20 - 3, 2**20 - 2, 2**20 - 1, 2**20])
def test_codes_and_long_numbers_are_found_wherever_they_lie(text: bytes, found: bool, before: int) -> None:
    assert may_hold_codes(io.BytesIO(b"x" * before + b"\n" * (before > 0) + text), ",") == found
