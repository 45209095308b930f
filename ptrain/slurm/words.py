"""Text that goes into a job script: what may stand in a directive, and how the shell gets it as one word."""

import re
import shlex

from ptrain.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_.,:/@%+=*&|()\[\]~-]+", re.ASCII)
_VARIABLE = re.compile(r"\$(?:[A-Z][A-Z0-9_]*)", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_.,:/@+=-]*", re.ASCII)


def one_line(what: str, text: str) -> str:
    """``text`` unless it has a control character, which could begin a line of its own in the script.

    Raises ConfigError that names ``what``.
    """
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text) or not _is_unicode(text):
        raise ConfigError(f"{what} {text!r}: has a control character; expected text of one line")
    return text


def directive_value(what: str, text: str) -> str:
    """``text`` as the value of an option of sbatch: names, numbers and lists of them, without quotes.

    Raises ConfigError that names ``what``.
    """
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
    """A text of a site's file as one word in which only ``$NAME`` is expanded.

    Raises ConfigError for control characters.
    """
    one_line(what, text)
    if "$" not in text:
        return words(text)
    pieces, end = [], 0
    for match in _VARIABLE.finditer(text):
        pieces += [
            _inside(text[end : match.start()]),
            f"${{{match[0][1:]}}}" if _continues(text, match.end()) else match[0],
        ]
        end = match.end()
    return f'"{"".join(pieces)}{_inside(text[end:])}"'


def grouped(argv: list[str]) -> list[str]:
    """The quoted words of a command line, one flag with its values an entry."""
    groups: list[list[str]] = []
    for word in argv:
        if word.startswith("--") or not groups:
            groups.append([])
        groups[-1].append(word)
    return [words(*group) for group in groups]


def _inside(text: str) -> str:
    """Text for inside double quotes, where nothing of it is expanded."""
    return re.sub(r'([\\"$`])', r"\\\1", text)


def _continues(text: str, end: int) -> bool:
    return bool(re.match(r"\w", text[end:], re.ASCII))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
