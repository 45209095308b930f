"""``ptrain slurm``: render, check and submit jobs, and look after them."""

from dataclasses import dataclass
from typing import Annotated, Literal

from ptrain.config.flags import SWITCH, Flag, FlagGroup, Given
from ptrain.errors import ConfigError
from ptrain.verbs.base import ACTION, Action, Command, Verb, actions_text, choose

NAME = Flag(metavar="NAME")


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """What to do, and what a job is asked for."""

    action: Annotated[str, ACTION]
    target: Annotated[str | None, Flag(is_positional=True, metavar="RUN")] = None
    """run directory, for status, log and cancel; a site's name for sites"""
    site: Annotated[str | None, Flag(metavar="NAME|FILE.toml", heading="the job (render and submit)")] = None
    """which cluster; ptrain slurm sites lists them"""
    nodes: int = 1
    """nodes"""
    ranks_per_node: int | None = None
    """ranks a node (default: the site's)"""
    cpus_per_rank: int | None = None
    """CPUs a rank (default: the site's)"""
    time: Annotated[str | None, Flag(metavar="TIME")] = None
    """time limit, such as 02:00:00 (default: the site's)"""
    account: Annotated[str | None, NAME] = None
    """account or project that pays"""
    partition: Annotated[str | None, NAME] = None
    """partition (default: the site's)"""
    qos: Annotated[str | None, NAME] = None
    """quality of service (default: the site's)"""
    job_name: Annotated[str, NAME] = "ptrain"
    """name in the queue"""
    sbatch: Annotated[tuple[str, ...], Flag(metavar="OPTION=VALUE", repeats=True)] = ()
    """any other option of sbatch; repeatable"""
    sweep: Annotated[tuple[str, ...], Flag(metavar="FLAG=VALUES", repeats=True)] = ()
    """train every combination, each in a task of a job array: --sweep lr=0.1,0.01 --sweep hidden=128,256x128"""
    array: Annotated[str | None, Flag(metavar="TASKS")] = None
    """which tasks of the sweep, and how many at once: 0-3%2, or %2 for all"""
    module: Annotated[tuple[str, ...], Flag(metavar="NAME", repeats=True, heading="software (render and submit)")] = ()
    """module to load; repeatable"""
    venv: Annotated[str | None, Flag(metavar="DIR|FILE.tar.gz")] = None
    """virtual environment with ptrain, or a packed one for the nodes' disks"""
    image: Annotated[str | None, Flag(metavar="FILE.sif")] = None
    """Apptainer image with ptrain"""
    launcher: Literal["srun", "mpirun"] | None = None
    """what starts the ranks (default: the site's)"""
    mpi: Annotated[str | None, Flag(metavar="TYPE")] = None
    """srun --mpi, such as pmix or pmi2 (default: the site's)"""
    signal_before: Annotated[
        int | None, Flag(metavar="SECONDS", heading="time limit, requeue and preflight (render and submit)")
    ] = None
    """stop this long before the time limit (default: the site's)"""
    requeue: Literal["requeue", "successor", "off"] | None = None
    """how a stopped job goes on (default: the site's)"""
    max_restarts: int = 20
    """and how often at most"""
    preflight: bool = True
    """check all ranks before the training"""
    lines: Annotated[int, Flag(heading="output")] = 40
    """lines of log to print"""
    follow: Annotated[bool, SWITCH] = False
    """log: print what is added until the job ends"""
    json: Annotated[bool, SWITCH] = False
    """status and sites: print JSON"""


ACTIONS = {
    "sites": Action("verbs.slurm.sites:run", "list the sites, or explain one: ptrain slurm sites NAME"),
    "render": Action("verbs.slurm.submit:render", "print the job script"),
    "submit": Action("verbs.slurm.submit:submit", "check everything that can be checked, then submit the job"),
    "status": Action(
        "verbs.slurm.jobs:status", "say what a submitted run or sweep is doing, and compare the runs of a sweep"
    ),
    "log": Action("verbs.slurm.jobs:log", "print the end of a job's log"),
    "cancel": Action("verbs.slurm.jobs:cancel", "cancel the job of a run or sweep"),
}


def check(given: Given) -> Command:
    """It starts no ranks: Slurm does."""
    options = given.of(SlurmOptions)
    action = choose("ptrain slurm", options.action, ACTIONS)
    if options.action in ("render", "submit"):
        if options.target is not None:
            raise ConfigError(
                f"ptrain slurm {options.action} {options.target}: expected flags of ptrain train after a --"
            )
    elif given.behind:
        raise ConfigError(f"ptrain slurm {options.action}: takes no flags of ptrain train after a --")
    return Command(work=action.work, arguments=(options, given.behind))


VERB = Verb(
    summary="write and submit job scripts for Slurm, and look after their jobs",
    usage="ACTION [RUN]",
    usage_behind="[-- flags of ptrain train]",
    examples="""\
  ptrain slurm sites juwels-booster
  ptrain slurm render --site generic-cpu --nodes 2 --time 00:30:00 -- --data fashion-mnist --epochs 20
  ptrain slurm submit --site leonardo-booster --account prj --sweep lr=0.1,0.01 -- --data mnist.npz --validation 0.1
""",
    groups=(FlagGroup(of=SlurmOptions, texts={"action": actions_text(ACTIONS)}),),
    check=check,
)
