"""The options of sbatch at the top of a job script."""

import re

from ptrain.errors import ConfigError
from ptrain.slurm.request import JobRequest
from ptrain.slurm.site import Site
from ptrain.slurm.words import directive_path, directive_value

_TIME = re.compile(r"\d+|\d+:[0-5]\d|\d+:[0-5]\d:[0-5]\d|\d+-\d+(:[0-5]\d(:[0-5]\d)?)?", re.ASCII)
_ARRAY = re.compile(r"(?P<tasks>\d+(-\d+(:\d+)?)?(,\d+(-\d+(:\d+)?)?)*)?(?P<limit>%\d+)?", re.ASCII)
_ORDER = ("job-name", "account", "partition", "qos", "constraint", "nodes", "ntasks-per-node", "cpus-per-task")
_OWN = {
    "nodes": "--nodes",
    "ntasks-per-node": "--ranks-per-node",
    "cpus-per-task": "--cpus-per-rank",
    "time": "--time",
    "signal": "--signal-before",
    "array": "--sweep and --array",
    "job-name": "--job-name",
}
"""Options of sbatch that have a flag of ours, which checks them."""


def directives(site: Site, request: JobRequest) -> list[str]:
    """The options of sbatch in the order of the script."""
    if not _TIME.fullmatch(request.time):
        expected = "minutes, hours:minutes:seconds or days-hours, such as 02:00:00"
        raise ConfigError(f"--time {request.time!r}: expected {expected}")
    chosen = {
        "job-name": request.job_name,
        **site.directives,
        "nodes": str(positive("--nodes", request.nodes)),
        "ntasks-per-node": str(positive("--ranks-per-node", request.ranks_per_node)),
        "cpus-per-task": str(_cpus_per_rank(site, request)),
        "time": request.time,
    }
    if site.gpus.option:
        chosen[site.gpus.option] = site.gpus.count.replace("{ranks}", str(request.ranks_per_node))
    chosen["signal"] = f"B:USR1@{positive('--signal-before', request.signal_before)}"
    if tasks := _array(request.array, len(request.combinations)):
        chosen["array"] = tasks
    for name, value in request.directives.items():
        if name in _OWN:
            raise ConfigError(f"--sbatch {name}={value}: use {_OWN[name]} instead")
    chosen |= request.directives
    missing = [name for name in site.required if not chosen.get(name)]
    if missing:
        raise ConfigError(f"--site {site.name} needs --{missing[0]}; ptrain slurm sites {site.name} says which one")
    names = sorted(chosen, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    lines = [f"--{directive_key(name)}={directive_value(f'--{name}', chosen[name])}" for name in names]
    lines += ["--requeue" if request.requeue == "requeue" else "--no-requeue", "--open-mode=append"]
    return [*lines, f"--output={directive_path('--run-dir', request.run_dir, request.log_name)}"]


def directive_key(name: str) -> str:
    """The name of an option of sbatch; raises ConfigError where it cannot be one or is the job's own."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name, re.ASCII):
        raise ConfigError(
            f"--sbatch {name!r}: expected an option of sbatch without its dashes, such as reservation=NAME"
        )
    if name in ("output", "error", "open-mode", "requeue", "no-requeue", "wrap", "ntasks", "chdir", "parsable"):
        raise ConfigError(f"--sbatch {name}: is set by the job itself; ptrain slurm --help lists what can be changed")
    return name


def _cpus_per_rank(site: Site, request: JobRequest) -> int:
    if request.cpus_per_rank is not None:
        return positive("--cpus-per-rank", request.cpus_per_rank)
    if site.node.cpus is not None:
        ranks = request.ranks_per_node
        if ranks > site.node.cpus:
            raise ConfigError(f"--ranks-per-node {ranks}: --site {site.name} has {site.node.cpus} CPUs a node")
        # Fewer ranks than usual do not get more cores each: nodes may be shared, and cores are next to their GPU.
        return site.node.cpus // max(ranks, site.node.ranks)
    return site.node.cpus_per_rank or 1


def _array(text: str | None, combinations: int) -> str:
    """The value of --array: all combinations, or those asked for; ``%2`` alone limits how many run at once."""
    if text is None:
        return f"0-{combinations - 1}" if combinations else ""
    match = _ARRAY.fullmatch(text)
    if match is None or not text:
        raise ConfigError(f"--array {text!r}: expected task numbers such as 0-3, 0-7%2 (two at once), 1,4 or %2")
    tasks = match["tasks"] or f"0-{combinations - 1}"
    highest = max(int(number) for part in tasks.split(",") for number in part.partition(":")[0].split("-"))
    if highest >= combinations:
        raise ConfigError(
            f"--array {text}: there are {combinations} combinations; expected numbers up to {combinations - 1}"
        )
    return tasks + (match["limit"] or "")


def positive(flag: str, number: int) -> int:
    """A number; raises ConfigError that names its flag where it is below 1."""
    if number < 1:
        raise ConfigError(f"{flag} {number}: expected 1 or more")
    return number
