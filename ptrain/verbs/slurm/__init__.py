"""``ptrain slurm``: render, check and submit jobs, and look after them."""

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ptrain import config
from ptrain.config import Config
from ptrain.console import Console
from ptrain.data.sources.table import file_of
from ptrain.errors import EXIT_DONE, ConfigError
from ptrain.files import write_file
from ptrain.slurm import checks as slurm_checks
from ptrain.slurm import queue as slurm_queue
from ptrain.slurm import render as slurm
from ptrain.slurm import site as slurm_site
from ptrain.slurm import sweep as slurm_sweep
from ptrain.slurm.directives import directives
from ptrain.slurm.request import Request, Training, log_name, ranks_per_node
from ptrain.slurm.site import Site
from ptrain.verbs.slurm import jobs as slurm_jobs

ACTIONS = ("sites", "render", "submit", "status", "log", "cancel")
Configure = Callable[[Sequence[str]], Config]


def run(
    *,
    action: str,
    target: str | None,
    configure: Configure,
    train_argv: list[str],
    as_json: bool,
    lines: int,
    follow: bool,
    **options: Any,
) -> int:
    """Do one action of ``ptrain slurm`` and return the exit code.

    ``configure`` makes a configuration of flags of ptrain train, ``train_argv`` are those after the ``--``; ``options``
    are the flags of ptrain.verbs.slurm.flags that describe the job.

    Raises:
        InputError: a flag, a file or the cluster does not allow it; the message says the fix.
    """
    console = Console()
    if action not in ACTIONS:
        raise ConfigError(f"ptrain slurm {action}: {config.nearest(action, list(ACTIONS))}")
    if action in ("render", "submit"):
        if target is not None:
            raise ConfigError(f"ptrain slurm {action} {target}: expected flags of ptrain train after a --")
        site, request, training = plan(options, configure, train_argv, fresh=action == "submit")
        text = slurm.render(site, request, training, ["ptrain", *sys.argv[1:]])
        if action == "render":
            console.say(text.removesuffix("\n"))
        else:
            submit(console, site, request, training, configure(train_argv), text)
        return EXIT_DONE
    if train_argv:
        raise ConfigError(f"ptrain slurm {action}: takes no flags of ptrain train after a --")
    if action == "sites":
        sites(console, target, as_json)
    elif target is None:
        raise ConfigError(f"ptrain slurm {action}: expected the run directory of a submitted job")
    elif action == "status":
        slurm_jobs.status(console, Path(target), as_json)
    elif action == "log":
        slurm_jobs.log(console, Path(target), lines, follow)
    else:
        slurm_jobs.cancel(console, Path(target))
    return EXIT_DONE


def plan(
    options: dict[str, Any], configure: Configure, train_argv: list[str], *, fresh: bool
) -> tuple[Site, Request, Training]:
    """Return the site, the request and the training that the flags describe.

    ``fresh``: without --run-dir the job gets a run directory with the time in its name.
    """
    if options["site"] is None:
        raise ConfigError(f"--site is missing: expected one of {', '.join(slurm_site.names())}, or FILE.toml")
    site = slurm_site.load(options["site"])
    extra = {name: options[name] for name in ("account", "partition", "qos") if options[name] is not None}
    for text in options["sbatch"]:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--sbatch {text!r}: expected OPTION=VALUE, such as reservation=NAME")
        extra[name.removeprefix("--")] = value
    if options["venv"] is not None and options["image"] is not None:
        raise ConfigError("--venv with --image: expected one of the two")
    _choice("launcher", options["launcher"], ["srun", "mpirun"])
    _choice("requeue", options["requeue"], ["requeue", "successor", "off"])
    request = Request(
        directives=tuple(extra.items()),
        modules=tuple(options["module"]),
        venv=_home(options["venv"]),
        image=_home(options["image"]),
        **{name: options[name] for name in _SAME},
    )
    combinations = slurm_sweep.combinations(options["sweep"])
    if request.array is not None and not combinations:
        raise ConfigError(f"--array {request.array} without --sweep: every task would train the same; add --sweep")
    settings = configure(train_argv)
    shards = [settings.train.shards]
    for combination in combinations:
        if "run-dir" in combination.values or "config" in combination.values:
            raise ConfigError("--sweep run-dir or config: expected a flag that changes the training, such as lr")
        shards.append(configure([*train_argv, *combination.flags]).train.shards)
    stamp = f"-{time.strftime('%Y%m%d-%H%M%S')}" if fresh else ""
    return (
        site,
        request,
        Training(
            argv=tuple(train_argv),
            run_dir=settings.run.run_dir or f"runs/{request.job_name}{stamp}",
            shards=min(shards),
            backend=settings.run.backend,
            device=settings.run.device,
            threads=settings.run.threads,
            combinations=combinations,
        ),
    )


_SAME = (
    "nodes",
    "ranks_per_node",
    "cpus_per_rank",
    "time",
    "job_name",
    "array",
    "launcher",
    "mpi",
    "signal_before",
    "requeue",
    "max_restarts",
    "preflight",
)


def submit(
    console: Console, site: Site, request: Request, training: Training, settings: Config, script_text: str
) -> None:
    """Check what can be checked, write the script into the run directory, submit it and say where things are."""
    run_dir = Path(training.run_dir)
    given = dict(word.removeprefix("--").split("=", 1) for word in directives(site, request, training) if "=" in word)
    slurm_checks.queue(given.get("partition"), given.get("account"))
    slurm_checks.data(data_paths(settings))
    what = slurm_checks.software(site, request)
    slurm_checks.run_directory(run_dir)
    slurm_jobs.refuse_second(run_dir)
    script = run_dir / "job.sh"
    write_file(script, script_text)
    estimate = slurm_queue.test(str(script))
    if training.combinations and settings.data.validation == 0.0:
        console.warn("a sweep without --validation has nothing to be compared by: the test split is not for choosing")
    job = slurm_queue.submit(str(script))
    slurm_jobs.note(run_dir, job, {"site": site.name, "combinations": [asdict(one) for one in training.combinations]})
    ranks = request.nodes * ranks_per_node(site, request)
    tasks = f", {len(training.combinations)} combinations" if training.combinations else ""
    quoted = shlex.quote(str(run_dir))
    console.say(f"checked: {what}; {estimate}")
    console.say(f"job {job} submitted: {request.nodes} nodes, {ranks} ranks{tasks}, site {site.name}")
    console.say(f"log     {run_dir / log_name(training)}")
    console.say(f"status  ptrain slurm status {quoted}")
    console.say(f"stop    ptrain slurm cancel {quoted}")


def data_paths(settings: Config) -> list[tuple[str, str]]:
    """Return the flags and paths of a configuration that name files: (flag, path)."""
    data = settings.data
    named = {"--labels": data.labels, "--test-data": data.test_data, "--test-labels": data.test_labels}
    paths = {flag: file_of(spec) or spec for flag, spec in named.items() if spec is not None}
    return [*paths.items(), *(("--data", path) for path in [file_of(data.data)] if path is not None)]


def sites(console: Console, name: str | None, as_json: bool) -> None:
    """List the sites, or explain one."""
    chosen = [slurm_site.load(one) for one in ([name] if name is not None else slurm_site.names())]
    if as_json:
        console.say(json.dumps([asdict(site) for site in chosen], indent=1))
        return
    if name is None:
        console.table(
            ["site", "what it is", "needs"],
            [[s.name, s.title, ", ".join(f"--{n}" for n in s.required)] for s in chosen],
        )
        console.say("\nptrain slurm sites NAME explains one; --site FILE.toml takes one of your own (docs/slurm.md)")
        return
    site = chosen[0]
    console.say(f"{site.name}: {site.title}\n")
    for note in site.notes:
        console.say(f"  {note}")
    launch = site.launch
    if launch.launcher == "srun":
        started = " ".join((f"srun --mpi={launch.mpi}", *launch.options, *launch.whole_node_options))
    else:
        started = " ".join(("mpirun", *launch.mpirun_options))
    facts = {
        "sbatch": " ".join(f"--{key}={value}" for key, value in site.directives.items()),
        "needs": " ".join(f"--{one}" for one in site.required),
        "ranks a node": str(site.node.ranks),
        "CPUs a node": str(site.node.cpus or ""),
        "GPUs": f"--{site.gpus.option}={site.gpus.count}" if site.gpus.option else "",
        "started by": started,
        "modules": " ".join(site.software.modules),
        "variables": " ".join(f"{key}={value}" for key, value in (site.environment | site.rank_environment).items()),
        "first node": f"its name with {site.network.host_suffix} appended" if site.network.host_suffix else "",
        "time limit": f"{site.job.time}; stopped {site.job.signal_before} s before it",
        "goes on by": site.job.requeue,
    }
    console.say()
    for what, text in facts.items():
        if text.strip():
            console.say(f"  {what:<13} {text.strip()}")
    for source in site.sources:
        console.say(f"  {'source':<13} {source}")


def _choice(flag: str, given: str | None, valid: list[str]) -> None:
    if given is not None and given not in valid:
        raise ConfigError(f"--{flag} {given}: {config.nearest(given, valid)}")


def _home(path: str | None) -> str | None:
    return None if path is None else os.path.expanduser(path)
