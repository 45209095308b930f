"""Sites: what a job script needs to know about a cluster, one TOML file each."""

import tomllib
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal

from ptrain.config.values import Rule, build
from ptrain.errors import ConfigError
from ptrain.slurm.words import one_line

Line = Annotated[str, Rule(expected="text", fits=lambda name, text: one_line(name, text) == text)]
Count = Annotated[int, Rule(expected="a whole number of 1 or more", fits=lambda _, number: number >= 1)]


@dataclass(frozen=True, kw_only=True)
class Node:
    """Ranks and cores of a node."""

    ranks: Count = 1
    """Ranks a node, unless --ranks-per-node says otherwise."""
    cpus: Count | None = None
    """What Slurm counts as CPUs of a node and ranks may use; the ranks share them."""
    cpus_per_rank: Count | None = None
    """CPUs a rank where ``cpus`` is not known."""


@dataclass(frozen=True, kw_only=True)
class Gpus:
    """How GPUs are asked for."""

    option: Line = ""
    """Option of sbatch, such as gres or gpus-per-node; empty where GPUs come without being asked for."""
    count: Line = "{ranks}"
    """Its value; {ranks} is the number of ranks a node."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How ranks are started."""

    launcher: Literal["srun", "mpirun"] = "srun"
    """srun, or mpirun of Open MPI inside the allocation."""
    mpi: Line = "pmix"
    """srun --mpi: pmix for Open MPI, pmi2 for MPICH, Cray MPICH and Intel MPI."""
    options: tuple[Line, ...] = ()
    """More options of srun."""
    whole_node_options: tuple[Line, ...] = ()
    """More options of srun where a job uses as many ranks a node as ``node.ranks``."""
    mpirun_options: tuple[Line, ...] = ("--map-by", "ppr:{ranks}:node", "--bind-to", "none")
    """Options of mpirun; {ranks} is the number of ranks a node."""


@dataclass(frozen=True, kw_only=True)
class Software:
    """What has to be loaded."""

    modules: tuple[Line, ...] = ()
    """Modules to load, in this order, besides those of --module."""
    container: tuple[Line, ...] = ("apptainer", "exec", "--nv")
    """Command and options that run a program in the image of --image."""
    node_local: Line = "/tmp"  # noqa: S108 (on the compute nodes)
    """Folder on a node's own disk, for a packed environment; $NAME is expanded on the node."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """Names of hosts."""

    host_suffix: Line = ""
    """Appended to the first node's name, where its name on the fast network differs so."""


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """What happens around a job."""

    time: Line = "01:00:00"
    """Time limit, unless --time says otherwise."""
    signal_before: Count = 120
    """Seconds before the time limit at which the ranks are asked to stop."""
    requeue: Literal["requeue", "successor", "off"] = "requeue"
    """scontrol requeue, or a new job that depends on this one, or neither."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """One cluster."""

    name: Line
    title: Line
    notes: tuple[Line, ...] = ()
    sources: tuple[Line, ...] = ()
    required: tuple[Line, ...] = ()
    """Directives that a job must be given, such as account."""
    directives: dict[str, Line] = field(default_factory=dict)
    """Options of sbatch without their dashes."""
    node: Node = field(default_factory=Node)
    gpus: Gpus = field(default_factory=Gpus)
    launch: Launch = field(default_factory=Launch)
    software: Software = field(default_factory=Software)
    network: Network = field(default_factory=Network)
    job: JobSettings = field(default_factory=JobSettings)
    environment: dict[str, Line] = field(default_factory=dict)
    """Variables of the job; $NAME is expanded when the job runs."""
    rank_environment: dict[str, Line] = field(default_factory=dict)
    """Variables of each rank; $NAME is expanded by the rank, for instance $SLURM_LOCALID."""

    def __post_init__(self) -> None:
        for key in self.directives:
            if not (key.isascii() and key.replace("-", "").isalnum()):
                raise ConfigError(f"directives.{key}: expected an option of sbatch without its dashes")
        for table in ("environment", "rank_environment"):
            for key in getattr(self, table):
                if not (key.isascii() and key.isidentifier()):
                    raise ConfigError(f"{table}.{key}: expected the name of a variable")


def files() -> Traversable:
    """The folder of templates and sites: ``slurm/`` of the repository, or its copy in the wheel."""
    return resources.files("ptrain") / "slurm_files"


def names() -> list[str]:
    """The names of the sites that come with ptrain, the general ones first."""
    found = [Path(entry.name).stem for entry in (files() / "sites").iterdir() if entry.name.endswith(".toml")]
    return sorted(found, key=lambda name: (not name.startswith("generic"), name))


def load(name: str) -> Site:
    """A site by the name of its profile, or by the path of a TOML file.

    Raises ConfigError for an unknown name, an unreadable file, and a key or value that does not belong there.
    """
    is_ours, stem = name in names(), Path(name).stem
    if not is_ours and not name.endswith(".toml"):
        raise ConfigError(f"--site {name}: expected one of {', '.join(names())}, or FILE.toml of your own")
    source = files() / "sites" / f"{name}.toml" if is_ours else Path(name)
    try:
        values = {"title": stem, **tomllib.loads(source.read_text(encoding="utf-8")), "name": stem}
        return build(Site, values, show=lambda key, value: f"{key} = {value!r}")
    except ConfigError as error:
        raise ConfigError(f"--site {name}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"--site {name}: is not valid TOML: {' '.join(str(error).split())}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ConfigError(f"--site {name}: cannot be read ({reason}); expected a TOML file") from None
