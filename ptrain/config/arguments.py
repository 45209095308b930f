"""From argv to values. Nothing is validated here but the names of verbs and flags; config.build does the rest."""

import argparse
import contextlib
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ptrain import config
from ptrain.config import flags
from ptrain.errors import ConfigError

_HABITS = {
    "--learning-rate": "--lr",
    "--layers": "--hidden",
    "--dataset": "--data",
    "--output": "--run-dir",
    "--num-workers": "--ranks",
    "--nproc": "--ranks",
    "--np": "--ranks",
    "-np": "--ranks",
    "-n": "--ranks",
}
"""Flags that other programs use, and ours, where the spelling alone would not lead there."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A parsed command line."""

    verb: str
    values: dict[str, Any]
    """The configuration flags that were given, by field name, as a TOML file would give them."""
    options: dict[str, Any]
    """The verb's other arguments, by name, with their defaults."""


def parse(argv: Sequence[str]) -> Command:
    """Parse a command line without the program's name.

    Raises ConfigError for an unknown verb or flag, naming the nearest valid one, and for a missing argument;
    SystemExit after ``--help`` and ``--version``.
    """
    if not argv or argv[0].startswith("-"):
        _, rest = flags.main_parser().parse_known_args(list(argv[:1]))
        given = f"unknown flag {rest[0]}" if rest else "no verb"
        raise ConfigError(f"{given}: expected one of {', '.join(flags.SUMMARIES)} first; see ptrain --help")
    verb = argv[0]
    if verb not in flags.SUMMARIES:
        raise ConfigError(f"unknown verb {verb}: {_nearest(verb, list(flags.SUMMARIES))}; see ptrain --help")
    parser = flags.parser_of(verb)
    own, behind = list(argv[1:]), []
    if verb == "slurm" and "--" in own:
        own, behind = own[: own.index("--")], own[own.index("--") + 1 :]
    tokens = [_spelled(token) for token in own]
    _refuse_unknown(tokens, parser)
    namespace, extra = parser.parse_known_intermixed_args(tokens)
    if extra:
        raise ConfigError(f"unexpected argument {extra[0]}; see {parser.prog} --help")
    # A field of the configuration has no default here; an argument of the verb may share its name, as --split does.
    fields = {action.dest for action in parser._actions if action.default is argparse.SUPPRESS}
    annotations = {name: kind for name, kind in _annotations().items() if name in fields}
    values, options = {}, {}
    for name, value in vars(namespace).items():
        if name in annotations:
            values[name] = value_of(value, annotations[name])
        else:
            options[name] = value
    if verb == "slurm":
        options["train_argv"] = behind
    return Command(verb=verb, values=values, options=options)


def without_ranks(argv: Sequence[str]) -> list[str]:
    """Return a valid command line without ``--ranks N``, for the ranks that it starts."""
    kept: list[str] = []
    tokens = iter(argv)
    for token in tokens:
        if token == "--ranks":  # noqa: S105 (a flag, not a secret)
            next(tokens, None)
        elif not token.startswith("--ranks="):
            kept.append(token)
    return kept


def value_of(text: str | bool | list[str], annotation: Any) -> Any:
    """Return the text of a flag as TOML would give it; what does not fit stays text, for config.build to refuse.

    ``none`` is no value where the field may be without one, and the empty list where it is a list.
    """
    if isinstance(text, bool):
        return text
    union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    kinds = typing.get_args(annotation) if union else (annotation,)
    words = [text] if isinstance(text, str) else text
    choices = [choice for kind in kinds if typing.get_origin(kind) is Literal for choice in typing.get_args(kind)]
    if len(words) == 1 and words[0] in choices:
        return words[0]
    if words == ["none"] and type(None) in kinds:
        return None
    for kind in kinds:
        if typing.get_origin(kind) is tuple:
            return [] if words == ["none"] else [_scalar(word, typing.get_args(kind)[:1]) for word in words]
    return _scalar(words[0], kinds)


def _scalar(word: str, kinds: Sequence[Any]) -> Any:
    for kind in (int, float):
        if kind in kinds:
            with contextlib.suppress(ValueError):
                return kind(word)
    return word


def _annotations() -> dict[str, Any]:
    return {name: kind for section in config.SECTIONS.values() for name, kind in typing.get_type_hints(section).items()}


def _spelled(token: str) -> str:
    """Return a flag under its present name, with dashes for underscores; values and other tokens stay as they are."""
    if not token.startswith("--"):
        return token
    flag, equals, value = token.partition("=")
    name = flag.removeprefix("--").replace("-", "_")
    return "--" + config.RENAMED.get(name, name).replace("_", "-") + equals + value


def _nearest(word: str, valid: Sequence[str]) -> str:
    import difflib

    known = _HABITS.get(word)
    close = [known] if known in valid else difflib.get_close_matches(word, valid, n=1, cutoff=0.0)
    return f"did you mean {close[0]}?"


def _refuse_unknown(tokens: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Raise ConfigError for the first flag that the verb does not have."""
    known = [flag for action in parser._actions for flag in action.option_strings]
    for token in tokens:
        flag = token.partition("=")[0]
        if len(flag) > 1 and flag.startswith("-") and flag not in known and not _is_number(token):
            long = [name for name in known if name.startswith("--")]
            raise ConfigError(f"unknown flag {flag}: {_nearest(flag, long)} {parser.prog} --help lists all of them")


def _is_number(token: str) -> bool:
    try:
        float(token)
    except ValueError:
        return False
    return True
