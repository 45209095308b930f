"""The environment of the tests: made here, so that no test depends on the caller's."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

KEPT = {
    *("PATH", "LD_LIBRARY_PATH", "OPAL_PREFIX"),  # where programs, libraries and a relocated Open MPI are
    *("USER", "LOGNAME", "CI"),  # Slurm's programs ask for the name; where CI is set pytest shortens nothing
    *("CUDA_VISIBLE_DEVICES", "PTRAIN_CHROMIUM"),  # which GPU, which browser
}
KEPT_PREFIXES = ("PYTEST_", "COVERAGE_")
"""For pytest itself, and for coverage, which follows processes by a variable."""
DEFINED = {
    "LANG": "C.UTF-8",
    # One thread a library, as the command line has it, and no fights between tests that run side by side.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def set_up() -> Path:
    """Replace this process's environment and make the home folder in it, which holds Fashion-MNIST and nothing else.

    ``scripts/fetch-fashion-mnist`` puts the data where the caller's variables say, so those are asked first. Every
    other cache starts empty, and nothing is left in the caller's.
    """
    from ptrain.data.sources import fashion_mnist

    found = fashion_mnist.find(fashion_mnist.folders(os.environ))
    for name in list(os.environ):
        if name not in KEPT and not name.startswith(KEPT_PREFIXES):
            del os.environ[name]
    os.environ.update(DEFINED)
    tempfile.tempdir = None  # TMPDIR is gone, and pytest's capture has asked for it before
    os.umask(0o022)
    home = Path(tempfile.mkdtemp(prefix="ptrain-tests-"))
    os.environ["HOME"] = str(home)
    if found is not None:
        data = home / ".cache" / "ptrain" / "data"
        data.mkdir(parents=True)
        (data / "fashion-mnist").symlink_to(found.resolve())
    return home


def remove(home: Path) -> None:
    """Remove the home folder; what the link in it leads to stays."""
    shutil.rmtree(home, ignore_errors=True)


def processes_of(home: Path) -> list[int]:
    """The processes that tests have started and that still run: all of them have this home folder."""
    found = []
    for entry in Path("/proc").iterdir():
        # Not readable are the processes of others, and those that end meanwhile.
        with contextlib.suppress(OSError):
            if (
                entry.name.isdecimal()
                and f"\0HOME={home}\0".encode() in b"\0" + (entry / "environ").read_bytes()
                # Belongs to the process that runs the tests and ends with it.
                and b"multiprocessing.resource_tracker" not in (entry / "cmdline").read_bytes()
            ):
                found.append(int(entry.name))
    return found
