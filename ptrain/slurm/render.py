"""Job scripts for sbatch: a pure function from a site and a request to the text of the script."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from ptrain.config.flags import without
from ptrain.errors import ConfigError
from ptrain.slurm import site as slurm_site
from ptrain.slurm.directives import directives, positive
from ptrain.slurm.request import JobRequest
from ptrain.slurm.site import Site
from ptrain.slurm.words import directive_value, expandable, grouped, one_line, words

_REFUSED = {
    "--ranks": "use --nodes and --ranks-per-node before the --",
    "--resume": "the job starts or continues its run by itself",
    "--force-resume": "continue such a run once without a job, or start a new one",
}


def render(site: Site, request: JobRequest, command: Sequence[str]) -> str:
    """The text of the job script.

    ``command`` is the command line that asked for it, for a comment. Nothing is read but the template. Raises
    ConfigError for a request that does not fit the site, and for text that could end its line or word there.
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
    context = _context(site, request, command)
    text = template.render(context)
    found = [line for line in text.splitlines() if line.lstrip().startswith("#SBATCH")]
    assert found == [f"#SBATCH {directive}" for directive in context["directives"]]
    return text


def _context(site: Site, request: JobRequest, command: Sequence[str]) -> dict[str, Any]:
    """What the template may use: numbers, our own texts, and words that are quoted already."""
    _check(request, command)
    packed = request.venv is not None and request.venv.endswith((".tar.gz", ".tgz"))
    modules = (*site.software.modules, *(one_line("--module", name) for name in request.modules))
    ours = {"--backend": request.backend, "--device": request.device}
    preflight = "".join(f" {flag} {words(value)}" for flag, value in ours.items() if value != "auto")
    with_srun = request.launcher == "srun"
    exports = " ".join(f"{key}={expandable(key, value)}" for key, value in site.rank_environment.items())
    combinations = [
        {"run_dir": words(str(PurePosixPath(request.run_dir) / one.name)), "flags": words(*one.flags)}
        for one in request.combinations
    ]
    return {
        "title": one_line("title", site.title),
        "command": words(*command),
        "nodes": request.nodes,
        "ranks_per_node": request.ranks_per_node,
        "run_dir": words(one_line("--run-dir", request.run_dir)),
        "directives": directives(site, request),
        "max_restarts": positive("--max-restarts", request.max_restarts),
        "combinations": combinations,
        "modules": words(*modules),
        "modules_text": words(words(*modules)),
        "packed": words(one_line("--venv", request.venv)) if packed and request.venv else "",
        "activate": _activate(request.venv) if request.venv and not packed else "",
        "node_local": expandable("node_local", site.software.node_local),
        "container": words(*site.software.container, one_line("--image", request.image)) if request.image else "",
        "environment": [(key, expandable(key, value)) for key, value in site.environment.items()],
        # A program for bash -c that sets a rank's variables and becomes the command behind it.
        "rank_environment": words(f'export {exports}; exec "$@"') if exports else "",
        "host_suffix": words(site.network.host_suffix) if site.network.host_suffix else "",
        "launcher": request.launcher,
        "start": _start(site, request),
        "preflight_options": " --kill-on-bad-exit=1" if with_srun else "",
        "train_options": " --wait=30" if with_srun else "",
        "preflight": preflight if request.preflight else None,
        "train": grouped(without(request.argv, "--run-dir")),  # the job sets it
        "threads": "" if request.threads else ' --threads "$SLURM_CPUS_PER_TASK"',
        "requeue": request.requeue,
        "successor_array": ' --array="$SLURM_ARRAY_TASK_ID"' if combinations else "",
    }


def _activate(venv: str) -> str:
    path = str(PurePosixPath(one_line("--venv", venv)) / "bin" / "activate")
    return words(path if "/" in venv else f"./{path}")


def _start(site: Site, request: JobRequest) -> str:
    """The command that starts the ranks, to be followed by their program."""
    launch = site.launch
    if request.launcher == "mpirun":
        options = [option.replace("{ranks}", str(request.ranks_per_node)) for option in launch.mpirun_options]
        return f'mpirun -n "$SLURM_NTASKS" {words(*options)}'.rstrip()
    whole = launch.whole_node_options if request.ranks_per_node == site.node.ranks else ()
    mpi = directive_value("--mpi", request.mpi)
    sizes = '--ntasks="$SLURM_NTASKS" --cpus-per-task="$SLURM_CPUS_PER_TASK"'
    return f"srun --mpi={mpi} {sizes} {words(*launch.options, *whole)}".rstrip()


def _check(request: JobRequest, command: Sequence[str]) -> None:
    for word in (*command, *request.argv):
        one_line("the argument", word)
    for word in request.argv:
        flag = word.partition("=")[0].replace("_", "-")
        if flag in _REFUSED:
            raise ConfigError(f"{flag} after the --: {_REFUSED[flag]}")
    ranks = request.nodes * request.ranks_per_node
    if ranks > request.shards:
        raise ConfigError(
            f"{ranks} ranks with --shards {request.shards}: expected at most one rank a gradient shard; "
            f"add --shards {ranks} after the --, or use fewer ranks"
        )
