"""What can be checked on a login node before a job waits for hours to fail in seconds."""

import getpass
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ptrain.config.values import nearest
from ptrain.errors import ConfigError, DataError, LaunchError, os_error_as
from ptrain.slurm import queue as slurm_queue
from ptrain.slurm.request import JobRequest
from ptrain.slurm.site import Site


def software(site: Site, request: JobRequest) -> str:
    """Say what the job will run; raises LaunchError where it is not here."""
    modules = (*site.software.modules, *request.modules)
    if modules:
        check_modules(modules)
    if request.image is not None:
        if not os.access(request.image, os.R_OK):
            raise LaunchError(f"--image {request.image}: cannot be read; expected an Apptainer image (apptainer build)")
        return f"image {request.image}"
    if request.venv is None:
        found = shutil.which("ptrain")
        if found is None and not request.modules:
            raise LaunchError("the job finds no ptrain: give it --venv DIR, --image FILE.sif or --module NAME")
        return f"{found or 'ptrain of a module'}"
    path = Path(request.venv)
    if path.is_dir() and not os.access(path / "bin" / "ptrain", os.X_OK):
        raise LaunchError(f"--venv {path}: has no bin/ptrain; install ptrain into it with {path}/bin/pip install")
    if not os.access(path, os.R_OK):
        raise LaunchError(f"--venv {path}: cannot be read; expected a virtual environment, or a packed one (.tar.gz)")
    return f"environment {path}"


def check_modules(names: Sequence[str]) -> None:
    """Raise LaunchError where a module cannot be loaded here; nothing is loaded into this process."""
    program = 'command -v module >/dev/null || . /etc/profile; command -v module >/dev/null || exit 3; module load "$@"'
    command, asked = ["bash", "-c", program, "modules", *names], f"module load {' '.join(names)}"
    code, _, err = slurm_queue.run(command, f"{asked}: no answer within {slurm_queue.TIME_LIMIT:g} s")
    if code == 3:
        fix = "run this on a login node of the site, or use another --site"
        raise LaunchError(f"there is no module command here: {fix}")
    # Older versions of module say it only in words.
    if code != 0 or any(text in err.lower() for text in ("unable to locate", "unknown module", "error:")):
        raise LaunchError(f"{asked}: {' '.join(err.split())[:300]}; module spider NAME shows what there is")


def data(paths: Sequence[tuple[str, str]]) -> None:
    """Raise DataError for a file or folder of data that cannot be read; paths: (flag, path)."""
    for flag, text in paths:
        path = Path(text)
        if not os.access(path, os.R_OK):
            reason = "cannot be read: you lack the permission" if path.exists() else "is not there"
            raise DataError(f"{flag} {text}: {reason}; expected a file that this node and the compute nodes can read")


def queue(partition: str | None, account: str | None) -> None:
    """Raise ConfigError for a partition or an account that this cluster does not have."""
    for flag, given, known in (
        ("--partition", partition, slurm_queue.partitions()),
        ("--account", account, [] if account is None else slurm_queue.accounts(getpass.getuser())),
    ):
        for one in given.split(",") if given is not None and known else ():
            if one not in known:
                raise ConfigError(f"{flag} {one}: is not known to this cluster; {nearest(one, known)}")


def run_directory(path: Path) -> None:
    """Make the run directory; raises LaunchError where a job of it is still in the queue, or it cannot be made."""
    with os_error_as(LaunchError, f"--run-dir {path}: cannot be made", "choose one you can write to"):
        path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise LaunchError(f"--run-dir {path}: cannot be written to; choose one that you can write to")
