"""What a text in a table is: a number, a code such as 0101, or a number in a spelling that has to be asked about.

Python and Arrow share these rules: a number has ASCII digits, one decimal point, perhaps a sign and an exponent.
"""

import re
import unicodedata
from collections.abc import Collection
from decimal import Decimal

_NUMBER = r"[+-]?([0-9]+{point}?[0-9]*|{point}[0-9]+)([eE][+-]?[0-9]+)?"
_SPECIAL = r"[+-]?([iI][nN][fF]([iI][nN][iI][tT][yY])?|[nN][aA][nN])"
PATTERNS = {decimal: f"^({_NUMBER.format(point=re.escape(decimal))}|{_SPECIAL})$" for decimal in (".", ",")}
"""What the whole of a number looks like, by its decimal point, for ``re`` and for Arrow's RE2 alike."""
_PATTERNS = {decimal: re.compile(pattern[:-1] + r"\Z") for decimal, pattern in PATTERNS.items()}
CODE = r"^0[0-9]+$"
"""Whole numbers with zeros in front: the zeros say that this is a code, and get lost in a number."""
_CODE = re.compile(CODE[:-1] + r"\Z")
_WHOLE = re.compile(r"[+-]?[0-9]+\Z")
_MOST_DIGITS = 40
SAFE_DIGITS = 15
"""float64 has every whole number of as many digits."""
_CURRENCIES = "$€£¥₹₩₽¢"
_UNIT = re.compile(r"(?P<number>.*[0-9.,])\s?(?P<unit>[^\W\d_]{1,5}[²³]?|°[CF]?)\Z")
_FEW = 20
"""Different values up to which a text with a unit, such as 10m, may well be a category."""


def number_of(text: str, decimal: str = ".") -> float | None:
    """A text as a number, which may be infinite or NaN, or None."""
    return float(text.replace(decimal, ".")) if _PATTERNS[decimal].match(text) else None


def is_code(text: str) -> bool:
    """Whether a text is a whole number with zeros in front, such as 01."""
    return _CODE.match(text) is not None


def whole_of(text: str, decimal: str = ".") -> int | None:
    """A text as a whole number of any size: 7, +7, 7.0 or 7e0, but no code; else None."""
    if _WHOLE.match(text):
        return None if is_code(text) or len(text) > _MOST_DIGITS else int(text)
    number = number_of(text, decimal)
    if number is None or not number.is_integer() or is_code(text.partition(decimal)[0]):
        return None
    exact = Decimal(text.replace(decimal, "."))
    return int(exact) if exact == exact.to_integral_value() and exact.adjusted() < _MOST_DIGITS else None


def loses_digits(text: str) -> bool:
    """Whether a text is a whole number that float64 has not."""
    return bool(_WHOLE.match(text)) and (len(text) > _MOST_DIGITS or int(float(text)) != int(text))


def spelling_of(texts: Collection[str], decimal: str = ".") -> str | None:
    """How numbers are written in these texts where every one of them is one, though no plain one; else None.

    Such as ``with commas``. The texts are those of a column, some of which may be plain numbers.
    """
    odd = [text for text in texts if number_of(text, decimal) is None]
    bare = [_bare(text) for text in odd]
    if not odd:
        return None
    if all(text is not None for text in bare):
        ways = {
            "per cent": ("%", "‰"), "a currency": tuple(_CURRENCIES), "commas": (",",), "underscores": ("_",),
            "apostrophes": ("'", "\u2019"), "several points": (".",), "blanks": (" ", "\xa0", "\u202f"),
            "parentheses": ("(",),
        }  # fmt: skip
        found = next((way for way, marks in ways.items() if any(mark in text for text in odd for mark in marks)), None)
        return f"with {found}" if found else "with other characters than the digits 0 to 9"
    units = {match and match["unit"] for match in map(_UNIT.match, odd)}
    if len(units) == 1 and None not in units and len(odd) == len(texts) > _FEW and not units & {"e", "E"}:
        numbers = [text[: -len(next(iter(units)) or "")].strip() for text in odd]
        if all(number_of(text, decimal) is not None or _bare(text) is not None for text in numbers):
            return f"with the unit {next(iter(units))}"
    return None


def _bare(text: str) -> str | None:
    """The digits of a number with per cent, a currency, separated thousands or other digits; None for anything else."""
    plain = unicodedata.normalize("NFKC", text).replace("\u2212", "-").replace("\u2019", "'").strip()
    plain = plain[1:-1] if plain[:1] + plain[-1:] == "()" else plain  # what is owed
    plain = plain.strip(_CURRENCIES + "%‰ ")
    sign = plain[:1] if plain[:1] in ("+", "-") else ""
    plain = plain.removeprefix(sign).strip(_CURRENCIES + " ")
    if not re.match(r"[0-9]+(?:[.,'_ ][0-9]+)*(?:[eE][+-]?[0-9]+)?\Z|[.,][0-9]+\Z", plain):
        return None
    marks, groups = re.sub(r"[^.,'_ ]", "", plain), re.split(r"[.,'_ ]", plain)
    # separated thousands have three digits; the last of several marks may be that of the decimals
    thousands = groups[1:] if set(marks) == {" "} else groups[1:-1]
    return plain if "_" in marks or all(len(group) == 3 for group in thousands) else None
