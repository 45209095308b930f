"""Who this process is among the processes of the job, read from the variables that launchers set."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ptrain.errors import LaunchError


@dataclass(frozen=True, kw_only=True)
class RankInfo:
    """Who this process is among the processes of the job."""

    rank: int
    size: int
    """World size: the number of ranks of the job."""
    local_rank: int
    local_size: int
    """Number of ranks on this host."""
    host: str
    launcher: str
    """What started the ranks: ``slurm``, ``openmpi``, ``pmi``, ``torchrun``, ``horovod`` or ``none``."""
    job_id: str
    """The same text on all ranks of one job, another one for another job; empty where the launcher gives none."""


@dataclass(frozen=True, kw_only=True)
class Launcher:
    """The variables of one launcher; of several names for one number the first that is set counts."""

    name: str
    marks: tuple[str, ...]
    """This launcher started the process where all of these are set."""
    rank: tuple[str, ...]
    size: tuple[str, ...]
    local_rank: tuple[str, ...]
    local_size: tuple[str, ...] = ()
    job_id: tuple[str, ...]
    """Those that are set, joined, make the job's id."""


def _prefixed(name: str, prefix: str, *job_id: str) -> Launcher:
    """One whose variables are PREFIX_RANK, PREFIX_SIZE, PREFIX_LOCAL_RANK and PREFIX_LOCAL_SIZE."""
    numbers = {one: (f"{prefix}_{one.upper()}",) for one in ("rank", "size", "local_rank", "local_size")}
    return Launcher(name=name, marks=numbers["rank"], **numbers, job_id=job_id)


TORCHRUN = Launcher(
    name="torchrun",
    marks=("TORCHELASTIC_RUN_ID",),
    rank=("RANK",),
    size=("WORLD_SIZE",),
    local_rank=("LOCAL_RANK",),
    local_size=("LOCAL_WORLD_SIZE",),
    job_id=("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT"),
)
HOROVOD = _prefixed("horovod", "HOROVOD", "HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_RENDEZVOUS_PORT")
OPENMPI = _prefixed("openmpi", "OMPI_COMM_WORLD", "PTRAIN_JOB_ID", "PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid")
PMI = replace(
    _prefixed("pmi", "PMI", "PTRAIN_JOB_ID", "PMI_JOBID", "PBS_JOBID", "SLURM_JOB_ID"),
    local_rank=("MPI_LOCALRANKID", "PMI_LOCAL_RANK"),
    local_size=("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"),
)
SLURM = Launcher(
    name="slurm",
    marks=("SLURM_PROCID",),
    rank=("SLURM_PROCID",),
    size=("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"),
    local_rank=("SLURM_LOCALID",),
    job_id=("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEPID", "SLURM_RESTART_COUNT"),
)
BY_HAND = replace(TORCHRUN, marks=("RANK", "WORLD_SIZE"), job_id=("MASTER_ADDR", "MASTER_PORT"))
LAUNCHERS = (TORCHRUN, HOROVOD, OPENMPI, PMI, SLURM, BY_HAND)
"""In order of precedence: the innermost launcher first, since mpirun and torchrun run inside Slurm, never around it.
RANK and WORLD_SIZE without torchrun come last, since job scripts export them for other programs."""

# Slurm numbers its batch, interactive, external and pending steps from here on (slurm.h): none is a task of ours.
FIRST_SPECIAL_STEP = 0xFFFFFFF0


def detect(environ: Mapping[str, str], host: str | None = None) -> RankInfo:
    """Who this process is; one process of its own where no launcher's variables are set.

    ``host`` is this machine's name, asked of the system by default. Raises LaunchError for variables that are missing,
    are not numbers, or contradict each other.
    """
    host = socket.gethostname() if host is None else host
    kind = find_launcher(environ)
    if kind is None:
        return RankInfo(rank=0, size=1, local_rank=0, local_size=1, host=host, launcher="none", job_id="")
    rank, size = _needed(environ, kind, kind.rank), _needed(environ, kind, kind.size)
    local_rank, local_size = _local(environ, kind, rank, size)
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size):
        raise LaunchError(
            f"{kind.name} says rank {rank} of {size} and local rank {local_rank} of {local_size}, which cannot be: "
            f"expected 0 <= rank < size; unset stale variables ({', '.join(kind.rank + kind.size)})"
        )
    job_id = ".".join(environ[name] for name in kind.job_id if environ.get(name))
    return RankInfo(
        rank=rank, size=size, local_rank=local_rank, local_size=local_size, host=host, launcher=kind.name, job_id=job_id
    )


def find_launcher(environ: Mapping[str, str]) -> Launcher | None:
    """The launcher that started this process, or None."""
    found = [launcher for launcher in LAUNCHERS if all(environ.get(mark) for mark in launcher.marks)]
    if SLURM in found and not is_slurm_task(environ):
        found.remove(SLURM)
    # srun --mpi=pmi2 sets both; Slurm knows more. Where they differ, MPICH's mpiexec runs inside a Slurm step.
    if found[:2] == [PMI, SLURM] and all(
        _number(environ, pmi) == _number(environ, slurm)
        for pmi, slurm in ((PMI.rank, SLURM.rank), (PMI.size, SLURM.size))
    ):
        return SLURM
    if not found and environ.get("PMIX_RANK"):
        raise LaunchError(
            f"PMIX_RANK is {environ['PMIX_RANK']}, but no variable says how many ranks there are: "
            "start ptrain through srun, mpirun or torchrun, or unset PMIX_RANK for one rank"
        )
    return found[0] if found else None


def is_slurm_task(environ: Mapping[str, str]) -> bool:
    """Whether srun started this process as a task; a batch script also has SLURM_PROCID=0, but is none."""
    step = environ.get("SLURM_STEP_ID", environ.get("SLURM_STEPID", ""))
    return step.isdecimal() and int(step) < FIRST_SPECIAL_STEP


def expand_counts(text: str) -> list[int]:
    """The numbers in Slurm's short form: ``2(x3),1`` is [2, 2, 2, 1]."""
    counts = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip(), re.ASCII)
        if match is None:
            raise LaunchError(f"SLURM_TASKS_PER_NODE is {text}: expected numbers such as 4(x2),3")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def first_host(nodelist: str) -> str:
    """The first host of Slurm's short form: ``r[07-09,12]n1,login`` gives r07n1."""
    first = re.match(r"(?:[^,\[\]]|\[[^\[\]]*\])+(?=,|$)", nodelist.strip())
    host = "" if first is None else re.sub(r"\[(\w+)[^\[\]]*\]", r"\1", first[0])
    if not re.fullmatch(r"[\w.-]+", host):
        raise LaunchError(f"SLURM_JOB_NODELIST is {nodelist or 'empty'}: expected host names such as node[01-04]")
    return host


def _number(environ: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    """The number in the first of the variables that is set, or None; raises LaunchError for other text."""
    for name in names:
        text = environ.get(name, "").strip()
        if text:
            if not (text.isascii() and text.isdecimal()):
                raise LaunchError(f"{name} is {text}: expected a whole number of 0 or more, as a launcher sets it")
            return int(text)
    return None


def _needed(environ: Mapping[str, str], launcher: Launcher, names: tuple[str, ...]) -> int:
    number = _number(environ, names)
    if number is None:
        raise LaunchError(
            f"{launcher.marks[0]} is set, but {' or '.join(names)} is not: expected all variables of {launcher.name}; "
            f"start ptrain through {launcher.name}'s launcher, or unset {launcher.marks[0]}"
        )
    return number


def _local(environ: Mapping[str, str], launcher: Launcher, rank: int, size: int) -> tuple[int, int]:
    """Local rank and local size, derived where they follow from what is there."""
    local_rank, local_size = _number(environ, launcher.local_rank), _number(environ, launcher.local_size)
    if local_size is None and launcher is SLURM:
        local_size = _slurm_local_size(environ, size)
    if local_size is None and size == 1:
        local_size = 1
    if local_rank is None and local_size is not None and local_size in (1, size):
        local_rank = 0 if local_size == 1 else rank
    if local_rank is not None and local_size is not None:
        return local_rank, local_size
    if local_rank is None:
        missing, meaning = launcher.local_rank[0], "each rank's number on its host"
    else:
        missing, meaning = (*launcher.local_size, "SLURM_TASKS_PER_NODE")[0], "the number of ranks on each host"
    raise LaunchError(f"{launcher.name} started {size} ranks without {missing}: set it to {meaning}")


def _slurm_local_size(environ: Mapping[str, str], size: int) -> int | None:
    text = environ.get("SLURM_STEP_TASKS_PER_NODE") or environ.get("SLURM_TASKS_PER_NODE")
    if not text:
        return size if _number(environ, ("SLURM_STEP_NUM_NODES", "SLURM_NNODES")) == 1 else None
    counts = expand_counts(text)
    node = _number(environ, ("SLURM_NODEID",))
    if node is None:
        return counts[0] if len(set(counts)) == 1 else None
    if node >= len(counts):
        raise LaunchError(f"SLURM_NODEID is {node}, but SLURM_TASKS_PER_NODE {text} tells of {len(counts)} nodes")
    return counts[node]
