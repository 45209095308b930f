"""Job scripts for sbatch: a pure function from a site and a request to the text of the script."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ptrain.errors import ConfigError
from ptrain.launch import slurm_site
from ptrain.launch.slurm_site import Site
from ptrain.launch.slurm_sweep import Combination
from ptrain.launch.slurm_words import directive_path, directive_value, expandable, grouped, one_line, words

_TIME = re.compile(r"\d+|\d+:[0-5]\d|\d+:[0-5]\d:[0-5]\d|\d+-\d+(:[0-5]\d(:[0-5]\d)?)?", re.ASCII)
_ARRAY = re.compile(r"(?P<tasks>\d+(-\d+(:\d+)?)?(,\d+(-\d+(:\d+)?)?)*)?(?P<limit>%\d+)?", re.ASCII)
_ORDER = ("job-name", "account", "partition", "qos", "constraint", "nodes", "ntasks-per-node", "cpus-per-task")
_REFUSED = {
    "--ranks": "use --nodes and --ranks-per-node before the --",
    "--resume": "the job starts or continues its run by itself",
    "--force-resume": "continue such a run once without a job, or start a new one",
}


@dataclass(frozen=True, kw_only=True)
class Request:
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
class Training:
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


def render(site: Site, request: Request, training: Training, command: Sequence[str]) -> str:
    """Return the text of the job script.

    ``command`` is the command line that asked for it, for a comment. Nothing is read but the template. Raises
    ConfigError for a request that does not fit the site, and for text that could leave its place in the script.
    """
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (every value is a quoted word of the shell; see _context)
    )
    template = environment.from_string((slurm_site.files() / "job.sh.j2").read_text(encoding="utf-8"))
    context = _context(site, request, training, command)
    text = template.render(context)
    found = [line for line in text.splitlines() if line.lstrip().startswith("#SBATCH")]
    assert found == [f"#SBATCH {directive}" for directive in context["directives"]]
    return text


def ranks_per_node(site: Site, request: Request) -> int:
    """Return the number of ranks a node."""
    return site.node.ranks if request.ranks_per_node is None else request.ranks_per_node


def directives(site: Site, request: Request, training: Training) -> list[str]:
    """Return the options of sbatch in the order of the script."""
    ranks = ranks_per_node(site, request)
    chosen = {
        "job-name": request.job_name,
        **site.directives,
        "nodes": str(_positive("--nodes", request.nodes)),
        "ntasks-per-node": str(_positive("--ranks-per-node", ranks)),
        "cpus-per-task": str(_cpus_per_rank(site, request)),
        "time": _time(request.time or site.job.time),
    }
    if site.gpus.option:
        chosen[site.gpus.option] = site.gpus.count.replace("{ranks}", str(ranks))
    before = site.job.signal_before if request.signal_before is None else request.signal_before
    chosen["signal"] = f"B:USR1@{_positive('--signal-before', before)}"
    tasks = _array(request.array, len(training.combinations))
    if tasks:
        chosen["array"] = tasks
    chosen |= dict(request.directives)
    missing = [name for name in site.required if not chosen.get(name)]
    if missing:
        raise ConfigError(f"--site {site.name} needs --{missing[0]}; ptrain slurm sites {site.name} says which one")
    names = sorted(chosen, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    lines = [f"--{directive_key(name)}={directive_value(f'--{name}', chosen[name])}" for name in names]
    lines.append("--requeue" if requeue(site, request) == "requeue" else "--no-requeue")
    lines.append("--open-mode=append")
    lines.append(f"--output={directive_path('--run-dir', training.run_dir, log_name(training))}")
    return lines


def directive_key(name: str) -> str:
    """Return the name of an option of sbatch; raises ConfigError where it cannot be one or is the job's own."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name, re.ASCII):
        raise ConfigError(
            f"--sbatch {name!r}: expected an option of sbatch without its dashes, such as reservation=NAME"
        )
    if name in ("output", "error", "open-mode", "requeue", "no-requeue", "wrap", "ntasks", "chdir", "parsable"):
        raise ConfigError(f"--sbatch {name}: is set by the job itself; ptrain slurm --help lists what can be changed")
    return name


def log_name(training: Training) -> str:
    """Return the name of the log in the run directory; %a is Slurm's number of the array task."""
    return "slurm-%a.log" if training.combinations else "slurm.log"


def requeue(site: Site, request: Request) -> str:
    """Return how the job goes on after its time limit: requeue, successor or off."""
    return request.requeue or site.job.requeue


def _context(site: Site, request: Request, training: Training, command: Sequence[str]) -> dict[str, Any]:
    """Return what the template may use: numbers, our own texts, and words that are quoted already."""
    for word in (*command, *training.argv):
        one_line("the argument", word)
    _refuse_flags(training.argv)
    ranks = ranks_per_node(site, request)
    _check_shards(request.nodes * ranks, training.shards)
    packed = request.venv is not None and request.venv.endswith((".tar.gz", ".tgz"))
    modules = (*site.software.modules, *(one_line("--module", name) for name in request.modules))
    backend = [] if training.backend == "auto" else ["--backend", training.backend]
    device = [] if training.device == "auto" else ["--device", training.device]
    launcher = request.launcher or site.launch.launcher
    with_srun = launcher == "srun"
    combinations = [
        {"run_dir": words(str(PurePosixPath(training.run_dir) / one.name)), "flags": words(*one.flags)}
        for one in training.combinations
    ]
    preflight = " ".join(words(word) for word in (*backend, *device))
    return {
        "title": one_line("title", site.title),
        "command": words(*command),
        "nodes": request.nodes,
        "ranks_per_node": ranks,
        "run_dir": words(one_line("--run-dir", training.run_dir)),
        "directives": directives(site, request, training),
        "max_restarts": _positive("--max-restarts", request.max_restarts),
        "combinations": combinations,
        "modules": words(*modules),
        "modules_text": words(words(*modules)),
        "packed": words(one_line("--venv", request.venv)) if packed and request.venv else "",
        "activate": _activate(request.venv) if request.venv and not packed else "",
        "node_local": expandable("node_local", site.software.node_local),
        "container": words(*site.software.container, one_line("--image", request.image)) if request.image else "",
        "environment": [(key, expandable(key, value)) for key, value in site.environment.items()],
        "rank_environment": _rank_environment(site),
        "host_suffix": words(site.network.host_suffix) if site.network.host_suffix else "",
        "launcher": launcher,
        "start": _srun(site, request) if with_srun else _mpirun(site, ranks),
        "preflight_options": " --kill-on-bad-exit=1" if with_srun else "",
        "train_options": " --wait=30" if with_srun else "",
        "preflight": (" " + preflight if preflight else "") if request.preflight else None,
        "train": grouped(without_run_dir(training.argv)),
        "threads": "" if training.threads else ' --threads "$SLURM_CPUS_PER_TASK"',
        "requeue": requeue(site, request),
        "successor_array": ' --array="$SLURM_ARRAY_TASK_ID"' if combinations else "",
    }


def without_run_dir(argv: Sequence[str]) -> list[str]:
    """Return flags of ptrain train without ``--run-dir DIR``, which the job sets."""
    kept: list[str] = []
    tokens = iter(argv)
    for token in tokens:
        if token in ("--run-dir", "--run_dir"):
            next(tokens, None)
        elif not token.startswith(("--run-dir=", "--run_dir=")):
            kept.append(token)
    return kept


def _activate(venv: str) -> str:
    path = str(PurePosixPath(one_line("--venv", venv)) / "bin" / "activate")
    return words(path if "/" in venv else f"./{path}")


def _srun(site: Site, request: Request) -> str:
    options = list(site.launch.options)
    if ranks_per_node(site, request) == site.node.ranks:
        options += site.launch.whole_node_options
    mpi = directive_value("--mpi", request.mpi or site.launch.mpi)
    sizes = '--ntasks="$SLURM_NTASKS" --cpus-per-task="$SLURM_CPUS_PER_TASK"'
    return " ".join([f"srun --mpi={mpi} {sizes}", *map(words, options)])


def _mpirun(site: Site, ranks: int) -> str:
    options = [option.replace("{ranks}", str(ranks)) for option in site.launch.mpirun_options]
    return " ".join(['mpirun -n "$SLURM_NTASKS"', *map(words, options)])


def _rank_environment(site: Site) -> str:
    """Return a program for ``bash -c`` that sets a rank's variables and becomes the command behind it."""
    if not site.rank_environment:
        return ""
    exports = " ".join(f"{key}={expandable(key, value)}" for key, value in site.rank_environment.items())
    return words(f'export {exports}; exec "$@"')


def _refuse_flags(argv: Sequence[str]) -> None:
    for word in argv:
        flag = word.partition("=")[0].replace("_", "-")
        if flag in _REFUSED:
            raise ConfigError(f"{flag} after the --: {_REFUSED[flag]}")


def _check_shards(ranks: int, shards: int) -> None:
    if ranks > shards:
        raise ConfigError(
            f"{ranks} ranks with --shards {shards}: expected at most one rank a gradient shard; "
            f"add --shards {ranks} after the --, or use fewer ranks"
        )


def _cpus_per_rank(site: Site, request: Request) -> int:
    if request.cpus_per_rank is not None:
        return _positive("--cpus-per-rank", request.cpus_per_rank)
    if site.node.cpus is not None:
        ranks = ranks_per_node(site, request)
        if ranks > site.node.cpus:
            raise ConfigError(f"--ranks-per-node {ranks}: --site {site.name} has {site.node.cpus} CPUs a node")
        # Fewer ranks than usual do not get more cores each: nodes may be shared, and cores are next to their GPU.
        return site.node.cpus // max(ranks, site.node.ranks)
    return site.node.cpus_per_rank or 1


def _time(text: str) -> str:
    if not _TIME.fullmatch(text):
        raise ConfigError(f"--time {text!r}: expected minutes, hours:minutes:seconds or days-hours, such as 02:00:00")
    return text


def _array(text: str | None, combinations: int) -> str:
    """Return the value of --array: all combinations, or those asked for; ``%2`` alone limits how many run at once."""
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


def _positive(flag: str, number: int) -> int:
    if number < 1:
        raise ConfigError(f"{flag} {number}: expected 1 or more")
    return number
