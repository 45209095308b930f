"""Flags made from the fields of dataclasses: their names, types, docstrings and defaults; and from argv to values."""

import argparse
import ast
import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from ptrain.config.sections import RENAMED, SECTIONS
from ptrain.config.values import annotations, build, choices_of, from_text, kinds, marked, shown
from ptrain.errors import ConfigError

T = TypeVar("T")

_HABITS = {
    "--learning-rate": "--lr",
    "--layers": "--hidden",
    "--dataset": "--data",
    "--output": "--run-dir",
    **dict.fromkeys(("--num-workers", "--nproc", "--np", "-np", "-n"), "--ranks"),
}
"""Flags that other programs use, and ours, where the spelling alone would not lead there."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """Marks a field whose flag does not follow from its name and type alone."""

    metavar: str | None = None
    is_positional: bool = False
    is_switch: bool = False
    """--name without a --no-name."""
    repeats: bool = False
    """Each --name adds one value to the list."""
    alone: str | None = None
    """Value of --name without a value behind it."""
    heading: str | None = None
    """Heading of the help under which this field and those behind it stand."""


SWITCH = Flag(is_switch=True)


@dataclass(frozen=True, kw_only=True)
class FlagGroup:
    """Flags of some fields of a dataclass."""

    of: type[Any]
    names: Sequence[str] | None = None
    """None: all of them but those in ``without``."""
    without: Sequence[str] = ()
    heading: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    """Help in place of the field's docstring and default."""

    @property
    def fields(self) -> "list[dataclasses.Field[Any]]":
        """The fields that are flags."""
        of = dataclasses.fields(self.of)
        return [one for one in of if one.name not in self.without and one.name in (self.names or [one.name])]


@dataclass(frozen=True, kw_only=True)
class Given:
    """What stood on a command line."""

    values: dict[type[Any], dict[str, Any]]
    """The flags that were given, by dataclass and field, as a TOML file would give them."""
    behind: tuple[str, ...] = ()
    """The words behind a ``--``."""

    def of(self, kind: type[T]) -> T:
        """The dataclass with what was given for it. Raises ConfigError for a value that does not fit."""
        return build(kind, self.values.get(kind, {}))


class Parser(argparse.ArgumentParser):
    """A parser that raises ConfigError where argparse would print its usage and exit."""

    def __init__(
        self, prog: str, usage: str = "", description: str = "", examples: str = "", groups: Sequence[FlagGroup] = ()
    ) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,  # an abbreviation would mean something else once there is another flag
        )
        self._groups = groups
        for group in groups:
            self._add(group)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found wrong."""
        raise ConfigError(f"{message.removeprefix('argument ')}; see {self.prog} --help")

    def _add(self, group: FlagGroup) -> None:
        """Add the flags of a group; those that are not given are absent from the result."""
        target, types_of = self._under(group.heading), annotations(group.of)
        for one in group.fields:
            annotation = types_of[one.name]
            flag = _flag_of(annotation)
            if flag.heading is not None:
                target = self._under(flag.heading)
            text = group.texts.get(one.name) or _help(group.of, one, flag)
            _add(target, one, annotation, text.replace("%", "%%"))

    def _under(self, heading: str | None) -> argparse._ActionsContainer:
        """Where flags of this heading are added: groups of the same heading are one."""
        known = (group for group in self._action_groups if group.title == heading)
        return self if heading is None else next(known, None) or self.add_argument_group(heading)

    def read(self, argv: Sequence[str], *, behind: Sequence[str] = ()) -> Given:
        """Take a command line apart; what the values mean is for ``Given.of`` to check.

        Raises ConfigError for an unknown flag, naming the nearest valid one, and for a missing argument; SystemExit
        after ``--help``.
        """
        tokens = [_spelled(token) for token in argv]
        self._refuse_unknown(tokens)
        # Intermixed: words of one positional argument may stand before and behind flags.
        namespace, extra = self.parse_known_intermixed_args(tokens)
        if extra:
            raise ConfigError(f"unexpected argument {extra[0]}; see {self.prog} --help")
        values: dict[type[Any], dict[str, Any]] = {}
        sections = SECTIONS.values()
        for group in self._groups:
            types_of = annotations(group.of)
            for one in group.fields:
                value, annotation = getattr(namespace, one.name, None), types_of[one.name]
                if value is not None:
                    # Text as it stands: a run may be called none, and so may a file that a verb's own flag names.
                    is_text = _flag_of(annotation).is_positional or (value == "none" and group.of not in sections)
                    if not (isinstance(value, bool) or is_text):
                        value = from_text([value] if isinstance(value, str) else value, annotation)
                    values.setdefault(group.of, {})[one.name] = value
        return Given(values=values, behind=tuple(behind))

    def _refuse_unknown(self, tokens: Sequence[str]) -> None:
        known = [flag for action in self._actions for flag in action.option_strings]
        for token in tokens:
            flag = token.partition("=")[0]
            if len(flag) > 1 and flag.startswith("-") and flag not in known and not _is_number(token):
                long = [name for name in known if name.startswith("--")]
                raise ConfigError(f"unknown flag {flag}: {closest(flag, long)} {self.prog} --help lists all of them")


def without(argv: Sequence[str], flag: str) -> list[str]:
    """A valid command line without a flag that takes one value."""
    kept: list[str] = []
    tokens = iter(argv)
    for token in tokens:
        name, equals, _ = token.partition("=")
        if name.replace("_", "-") != flag:
            kept.append(token)
        elif not equals:
            next(tokens, None)
    return kept


def closest(word: str, valid: Sequence[str]) -> str:
    """Ask for the nearest valid word, however far it is."""
    import difflib

    known = _HABITS.get(word)
    close = [known] if known in valid else difflib.get_close_matches(word, valid, n=1, cutoff=0.0)
    return f"did you mean {close[0]}?"


def _flag_of(annotation: Any) -> Flag:
    return marked(annotation, Flag) or Flag()


def _add(target: argparse._ActionsContainer, one: "dataclasses.Field[Any]", annotation: Any, text: str) -> None:
    flag = _flag_of(annotation)
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text}
    name = "--" + one.name.replace("_", "-")
    if bool in kinds(annotation):
        action = "store_true" if flag.is_switch else argparse.BooleanOptionalAction
        target.add_argument(name, action=action, **options)
        return
    options["metavar"] = flag.metavar or _metavar(annotation)
    is_list = any(typing.get_origin(kind) is tuple for kind in kinds(annotation))
    required = one.default is dataclasses.MISSING
    if flag.is_positional:
        options["nargs"] = ("+" if required else "*") if is_list else None if required else "?"
        target.add_argument(one.name, **options)
        return
    if flag.repeats:
        options["action"] = "append"
    elif is_list:
        options["nargs"] = "+"
    elif flag.alone is not None:
        options |= {"nargs": "?", "const": flag.alone}
    target.add_argument(name, required=required, **options)


def _help(section: type[Any], one: "dataclasses.Field[Any]", flag: Flag) -> str:
    """The docstring under a field, with its default unless it tells of it itself."""
    text = _docstrings(section.__module__)[section.__name__, one.name]
    silent = flag.is_switch or one.default in (None, dataclasses.MISSING, ()) or "(default: " in text
    return text if silent else f"{text} (default: {shown(one.default)})"


def _metavar(annotation: Any) -> str:
    words: list[str] = []
    for kind in kinds(annotation):
        if kind is not types.NoneType:
            item = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
            words += choices_of(kind) or [{int: "N", float: "X", str: "TEXT"}[item]]
    return "|".join(words)


@functools.cache
def _docstrings(module: str) -> dict[tuple[str, str], str]:
    """The docstring under each field of a module's classes, by class and field name, on one line.

    Python does not keep them, so they are read from the source.
    """
    texts = {}
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        if isinstance(node, ast.ClassDef):
            for one, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(one, ast.AnnAssign) and isinstance(text, ast.Expr):
                    texts[node.name, ast.unparse(one.target)] = " ".join(ast.literal_eval(text.value).split())
    return texts


def _spelled(token: str) -> str:
    """A flag under its present name, with dashes for underscores; values and other tokens stay as they are."""
    if not token.startswith("--"):
        return token
    flag, equals, value = token.partition("=")
    name = flag.removeprefix("--").replace("-", "_")
    return "--" + RENAMED.get(name, name).replace("_", "-") + equals + value


def _is_number(token: str) -> bool:
    try:
        float(token)
    except ValueError:
        return False
    return True
