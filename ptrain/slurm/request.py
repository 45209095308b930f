"""What a job is asked for, and what its ranks run."""

from dataclasses import dataclass

from ptrain.slurm.site import Site
from ptrain.slurm.sweep import Combination


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """What a person asks for; None leaves it to the site."""

    nodes: int = 1
    ranks_per_node: int | None = None
    cpus_per_rank: int | None = None
    time: str | None = None
    job_name: str = "ptrain"
    directives: tuple[tuple[str, str], ...] = ()
    """Options of sbatch without their dashes, with their values; they win over the site's."""
    array: str | None = None
    modules: tuple[str, ...] = ()
    venv: str | None = None
    """Folder of a virtual environment, or a packed one (.tar.gz) that is copied to each node."""
    image: str | None = None
    launcher: str | None = None
    mpi: str | None = None
    signal_before: int | None = None
    requeue: str | None = None
    max_restarts: int = 20
    preflight: bool = True


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """What the ranks run."""

    argv: tuple[str, ...]
    """Flags of ptrain train as the person wrote them."""
    run_dir: str
    shards: int
    backend: str = "auto"
    device: str = "auto"
    threads: int | None = None
    combinations: tuple[Combination, ...] = ()
    """Of a sweep: one a task of the array."""


def ranks_per_node(site: Site, request: JobRequest) -> int:
    """The number of ranks a node."""
    return site.node.ranks if request.ranks_per_node is None else request.ranks_per_node


def log_name(training: TrainCommand) -> str:
    """The name of the log in the run directory; %a is Slurm's number of the array task."""
    return "slurm-%a.log" if training.combinations else "slurm.log"


def requeue(site: Site, request: JobRequest) -> str:
    """How the job goes on after its time limit: requeue, successor or off."""
    return request.requeue or site.job.requeue
