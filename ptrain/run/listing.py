"""files.json: the SHA-256 of the files in a folder of a run, so that a change of any of them is found.

Written when a run is finished; whoever writes one of the files anew brings it up to date. A training that is continued
takes it away, so that it never speaks of an unfinished run.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from ptrain.errors import RunDirectoryError, os_error_as
from ptrain.files import write_file

LIST = "files.json"


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(folder: Path, patterns: Iterable[str], known: Mapping[str, str] | None = None) -> None:
    """List the files that are there and match one of the patterns of glob, besides those ``known``.

    Raises RunDirectoryError where a file cannot be read, or the list cannot be written.
    """
    path = folder / LIST
    with os_error_as(RunDirectoryError, f"{path}: cannot be written", "expected a folder you can write to"):
        there = [one for pattern in patterns for one in folder.glob(pattern) if one.is_file()]
        found = {one.relative_to(folder).as_posix(): sha256(one) for one in there}
        write_file(path, json.dumps({"sha256": dict(sorted(({**(known or {}), **found}).items()))}, indent=1) + "\n")


def read(folder: Path) -> dict[str, str] | None:
    """The SHA-256 of every listed file by its name, None where there is no list.

    Raises RunDirectoryError where the list is damaged.
    """
    path = folder / LIST
    try:
        with os_error_as(RunDirectoryError, f"{path}: cannot be read", "expected the list that ptrain train wrote"):
            if not path.exists():
                return None
            return {str(name): str(digest) for name, digest in json.loads(path.read_bytes())["sha256"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RunDirectoryError(f"{path}: is damaged (not a list of files and their SHA-256)") from None


def remove(folder: Path) -> None:
    """Take the list away, where there is one. Raises OSError."""
    (folder / LIST).unlink(missing_ok=True)


@contextmanager
def renewing(run_dir: Path, folder: Path, patterns: Sequence[str]) -> Iterator[None]:
    """Take files of ``folder``, the run directory or one below it, off its list while the block writes them anew.

    A run without a list, unfinished or of an earlier version, gets none. Raises RunDirectoryError as ``write`` does.
    """
    known: dict[str, str] | None = None
    with contextlib.suppress(RunDirectoryError):  # a damaged list stays as it is, for ptrain verify to name it
        known = read(run_dir)
        if known is not None and folder.resolve() != run_dir.resolve():
            known = read(folder) or {}
    if known is None:
        yield
        return
    others = {name: one for name, one in known.items() if not any(fnmatchcase(name, pattern) for pattern in patterns)}
    # First without them: a crash in the middle of the block then leaves files that are not listed, and no false ones.
    write(folder, (), others)
    yield
    write(folder, patterns, others)
