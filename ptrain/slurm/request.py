"""What a job is asked for, and what its ranks run."""

from dataclasses import dataclass

from ptrain.slurm.sweep import Combination


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """What a person asks for, what the site says where the person leaves it open, and what the ranks run."""

    nodes: int
    ranks_per_node: int
    cpus_per_rank: int | None
    """None for as many as the site's nodes have for each."""
    time: str
    job_name: str
    directives: dict[str, str]
    """Options of sbatch without their dashes, with their values; they win over the site's."""
    array: str | None
    modules: tuple[str, ...]
    venv: str | None
    """Folder of a virtual environment, or a packed one (.tar.gz) that is copied to each node."""
    image: str | None
    launcher: str
    mpi: str
    signal_before: int
    requeue: str
    """How the job goes on after its time limit: requeue, successor or off."""
    max_restarts: int
    preflight: bool
    argv: tuple[str, ...]
    """Flags of ptrain train as the person wrote them."""
    run_dir: str
    shards: int
    backend: str
    device: str
    threads: int | None
    combinations: tuple[Combination, ...]
    """Of a sweep: one a task of the array."""

    @property
    def log_name(self) -> str:
        """The name of the log in the run directory; %a is Slurm's number of the array task."""
        return "slurm-%a.log" if self.combinations else "slurm.log"
