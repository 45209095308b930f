"""The one converter: what stands in a flag, a TOML file or a site's profile, as the type of its field or refused."""

import dataclasses
import functools
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from ptrain.errors import ConfigError

T = TypeVar("T")
Show = Callable[[str, object], str]
"""How a message names a field and its value: as a flag, or as a line of TOML."""


class OneOf:
    """Marks a text as one of some names: a Literal whose choices a table gives."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """Marks a value that must do more than be of its type."""

    expected: str
    """In words, as a message ends."""
    fits: Callable[[str, Any], bool]
    """Takes name and value; may raise a ConfigError of its own."""


def given(name: str, value: object) -> str:
    """A field and its value as on the command line."""
    shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return f"--{name.replace('_', '-')} {shown or repr(shown)}"


def shown(value: object) -> str:
    """A value of the configuration as people read it: lists as on the command line, yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) or "none" if isinstance(value, (list, tuple)) else str(value)


def nearest(name: str, valid: Sequence[str]) -> str:
    """A hint such as ``did you mean lr?`` or the list of valid names, for an error message."""
    import difflib  # here, since ptrain --help should not wait for it

    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"expected one of {', '.join(valid)}"


def require(values: object, names: Sequence[str], fits: Callable[[Any], bool], expected: str) -> None:
    """Raise ConfigError for the first of the named fields that does not fit; None, no value, always does."""
    for name in names:
        value = getattr(values, name)
        if value is not None and not fits(value):
            raise ConfigError(f"{given(name, value)}: expected {expected}")


def annotations(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields, with what marks them."""
    return typing.get_type_hints(kind, include_extras=True)


def build(kind: type[T], values: dict[str, Any], name: str = "", show: Show = given) -> T:
    """Make a dataclass of values as flags or TOML give them; ``name`` stands in front of the keys in messages.

    Raises ConfigError for a key that the class does not have, and for a value of the wrong type.
    """
    known = annotations(kind)
    for key in values:
        if key not in known:
            raise ConfigError(f"{name}unknown key {key}; expected {', '.join(one for one in known if one != 'name')}")
    return kind(**{key: convert(f"{name}{key}", value, known[key], show) for key, value in values.items()})


def convert(name: str, value: Any, annotation: Any, show: Show = given) -> Any:
    """Return ``value`` as the annotated type, or raise ConfigError with name, value and what was expected."""
    options = kinds(annotation)
    for kind in options:
        origin = typing.get_origin(kind)
        if origin is tuple and isinstance(value, (list, tuple)):
            item = typing.get_args(kind)[0]
            try:
                return tuple(convert(name, one, item, show) for one in value)
            except ConfigError:
                if len(options) == 1:  # else another option may take it, and the message names them all
                    raise
        elif origin is dict and isinstance(value, dict):
            item = typing.get_args(kind)[1]
            return {key: convert(f"{name}.{key}", one, item, show) for key, one in value.items()}
        elif dataclasses.is_dataclass(kind) and isinstance(value, dict):
            return build(typing.cast(type, kind), value, f"{name}.", show)
        elif kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
            return float(value)
        elif _is_of(name, value, kind):
            return value
    raise ConfigError(f"{show(name, value)}: {_expectation(value, options)}")


def _is_of(name: str, value: Any, kind: Any) -> bool:
    """Whether a value is of a type without parts, as it is."""
    if choices_of(kind):
        return value in choices_of(kind)
    rule = marked(kind, Rule)
    if rule is not None:
        return type(value) is kind.__origin__ and rule.fits(name, value)
    # type() and not isinstance(): True is no number here.
    return kind in (int, str, bool, types.NoneType) and type(value) is kind and (kind is not str or _is_text(value))


def from_text(words: Sequence[str], annotation: Any) -> Any:
    """The words of a flag as TOML would give them; what does not fit stays text, for ``convert`` to refuse.

    ``none`` is no value where the field may be without one, and the empty list where it is a list.
    """
    options = kinds(annotation)
    lists = [typing.get_args(kind)[0] for kind in options if typing.get_origin(kind) is tuple]
    if len(words) == 1 and any(words[0] in choices_of(kind) for kind in options):
        return words[0]
    if list(words) == ["none"]:
        if types.NoneType in options:
            return None
        if lists:
            return []
    return [_number(word, lists) for word in words] if lists else _number(words[0], options)


def _number(word: str, kinds: Sequence[Any]) -> Any:
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(word)
            except ValueError:
                continue
    return word


@functools.cache
def kinds(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of an annotation: ``int | None`` has two; marks that do not change what fits are left out."""
    if typing.get_origin(annotation) is Annotated and not any(marked(annotation, mark) for mark in (OneOf, Rule)):
        return kinds(annotation.__origin__)
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return tuple(kind for option in typing.get_args(annotation) for kind in kinds(option))
    return (annotation,)


def choices_of(kind: Any) -> tuple[str, ...]:
    """The texts that a Literal or OneOf takes; none for every other type."""
    one_of = marked(kind, OneOf)
    if one_of is not None:
        return one_of.choices
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def marked(kind: Any, mark: type[T]) -> T | None:
    """What marks an annotation, where something of that class does."""
    return next((one for one in getattr(kind, "__metadata__", ()) if isinstance(one, mark)), None)


def _is_text(value: str) -> bool:
    """Whether a text can be a path and be written to TOML: not empty, no NUL, valid Unicode."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return bool(value.strip()) and "\0" not in value


_WORDS = {int: "a whole number", float: "a number", str: "text that is not empty", bool: "true or false"}
_SEVERAL = {int: "a list of whole numbers", float: "a list of numbers"}


def _expectation(value: Any, options: Sequence[Any]) -> str:
    """Say what would have fitted, in words, with the nearest choice first where there are only choices."""
    options = [option for option in options if option is not types.NoneType]
    if len(options) == 1 and isinstance(value, str) and (choices := choices_of(options[0])):
        hint = nearest(value, choices)
        return f"{hint} ({', '.join(choices)})" if hint.startswith("did") and len(choices) < 10 else hint
    return "expected " + " or ".join(map(_word, options))


def _word(kind: Any) -> str:
    origin, rule = typing.get_origin(kind), marked(kind, Rule)
    if choices_of(kind):
        return ", ".join(choices_of(kind))
    if rule is not None:
        return rule.expected
    if origin is tuple:
        return _SEVERAL.get(typing.get_args(kind)[0], "a list of texts")
    return _WORDS.get(kind, "a table of texts" if origin is dict else "a table")
