"""Values of the configuration: converted to the type of their field, or refused in words."""

import sys
import types
import typing
from typing import Any, Literal

from ptrain.errors import ConfigError


def given(name: str, value: object) -> str:
    """Return a field and its value as on the command line."""
    shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return f"--{name.replace('_', '-')} {shown or repr(shown)}"


def nearest(name: str, valid: list[str]) -> str:
    """Return a hint such as ``did you mean lr?`` or the list of valid names, for an error message."""
    import difflib  # this and other imports in functions: ptrain --help should not wait for them

    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"expected one of {', '.join(valid)}"


def convert(name: str, value: Any, expected: Any) -> Any:
    """Return ``value`` as the annotated type ``expected``, or raise ConfigError."""
    origin = typing.get_origin(expected)
    if origin in (types.UnionType, typing.Union):
        for option in typing.get_args(expected):
            try:
                return convert(name, value, option)
            except ConfigError:
                continue
    elif origin is Literal:
        if value in typing.get_args(expected):
            return value
    elif origin is tuple and isinstance(value, (list, tuple)):
        return tuple(convert(name, item, typing.get_args(expected)[0]) for item in value)
    elif expected is type(None) and value is None:
        return None
    elif expected is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    elif expected in (int, str, bool) and type(value) is expected and (expected is not str or _is_text(value)):
        return value
    raise ConfigError(f"{given(name, value)}: {_expectation(value, expected)}")


_WORDS = {int: "a whole number", float: "a number", str: "text that is not empty", bool: "true or false"}


def _is_text(value: str) -> bool:
    """Return whether a text can be a path and be written to TOML: not empty, no NUL, valid Unicode."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return bool(value.strip()) and "\0" not in value


def _expectation(value: Any, expected: Any) -> str:
    """Say what ``expected`` asks for, in words, with the nearest choice first where there are choices."""
    options = (
        typing.get_args(expected) if typing.get_origin(expected) in (types.UnionType, typing.Union) else [expected]
    )
    words = []
    for option in options:
        if typing.get_origin(option) is Literal:
            choices = [str(choice) for choice in typing.get_args(option)]
            if len(options) == 1 and isinstance(value, str):
                return nearest(value, choices) + (f" ({', '.join(choices)})" if len(choices) < 10 else "")
            words.append(", ".join(choices))
        elif typing.get_origin(option) is tuple:
            kind = {int: "whole numbers", float: "numbers"}[typing.get_args(option)[0]]
            words.append(f"a list of {kind}")
        elif option is not type(None):
            words.append(_WORDS[option])
    return "expected " + " or ".join(words)
