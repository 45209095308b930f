"""Run a script of the project on a machine that the test makes up: chosen programs on PATH, folders of its own."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.ranks import ROOT, run_group

_MPI_OR_COMPILER = re.compile(r"(.*-)?(c\+\+|g\+\+|clang\+\+|gcc|cc|mpi.*|oshrun|oshcc)(-[0-9.]+)?(\.\w+)?")


def plain_machine(folder: Path) -> Path:
    """Return a folder for PATH that has the system's programs, but no compiler and no MPI."""
    folder.mkdir()
    for place in (Path("/usr/bin"), Path("/bin")):
        for program in place.iterdir():
            link = folder / program.name
            if not _MPI_OR_COMPILER.fullmatch(program.name) and not link.is_symlink():
                link.symlink_to(program)
    return folder


def run(
    script: Path | str, *words: str, env: Mapping[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a script (a name in scripts/, or a path)."""
    return run_group([str(ROOT / "scripts" / script), *words], env=env, timeout=timeout)
