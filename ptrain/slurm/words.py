"""Text that goes into a job script: what may stand in a directive, and how the shell gets it as one word."""

import re
import shlex

from ptrain.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_.,:/@%+=*&|()\[\]~-]+", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # and surrogates, which are no text that could be written
_EXPANDED = re.compile(r'\$(?P<name>[A-Z][A-Z0-9_]*)(?P<goes_on>(?=\w))?|[\\"$`]', re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_.,:/@+=-]*", re.ASCII)


def one_line(what: str, text: str) -> str:
    """Give ``text`` back. Raises ConfigError that names ``what`` for a control character: it could begin a line."""
    if _CONTROL.search(text):
        raise ConfigError(f"{what} {text!r}: has a control character; expected text of one line")
    return text


def directive_value(what: str, text: str) -> str:
    """``text`` as the value of an option of sbatch, without quotes. Raises ConfigError that names ``what``."""
    if not _NAME.fullmatch(text):
        raise ConfigError(
            f"{what} {text!r}: expected letters, digits and the characters . , : / @ % + = * & | ( ) [ ] ~ - _ only"
        )
    return text


def directive_path(what: str, folder: str, name: str) -> str:
    """The path of a file for --output, in sbatch's own quotes where it needs them; ``name`` is ours.

    Raises ConfigError for what sbatch would replace: ``%j`` and the like, and backslashes.
    """
    text = one_line(what, folder)
    if "%" in text or "\\" in text:
        raise ConfigError(f"{what} {text!r}: Slurm replaces % and \\ in the name of a log; expected neither")
    path = f"{text.rstrip('/')}/{name}"
    return path if _PLAIN.fullmatch(text) else '"' + path.replace('"', '\\"') + '"'


def words(*parts: str) -> str:
    """The parts as words of a shell command, each quoted where it must be."""
    # A comma needs no quotes, but people and shellcheck take one in an array for a slip.
    return " ".join(f"'{part}'" if shlex.quote(part) == part and "," in part else shlex.quote(part) for part in parts)


def expandable(what: str, text: str) -> str:
    """A text of a site's file as one word in which only ``$NAME`` is expanded. Raises ConfigError as ``one_line``."""
    if "$" not in one_line(what, text):
        return words(text)

    def quoted(match: re.Match[str]) -> str:
        if match["name"] is None:  # would mean something else inside double quotes
            return "\\" + match[0]
        return match[0] if match["goes_on"] is None else f"${{{match['name']}}}"

    return f'"{_EXPANDED.sub(quoted, text)}"'


def grouped(argv: list[str]) -> list[str]:
    """The quoted words of a command line, one flag with its values an entry."""
    groups: list[list[str]] = []
    for word in argv:
        if word.startswith("--") or not groups:
            groups.append([])
        groups[-1].append(word)
    return [words(*group) for group in groups]
