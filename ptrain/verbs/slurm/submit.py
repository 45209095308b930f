"""``ptrain slurm render`` and ``submit``: the script of a job, checked before it waits in a queue."""

import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ptrain.config import Config
from ptrain.config.training import configuration_of
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
from ptrain.slurm.request import JobRequest
from ptrain.slurm.site import Site
from ptrain.verbs.slurm import SlurmOptions
from ptrain.verbs.slurm import jobs as slurm_jobs


def render(options: SlurmOptions, train_argv: Sequence[str]) -> int:
    """Print the job script."""
    Console().say(_script(*plan(options, train_argv, fresh=False)).removesuffix("\n"))
    return EXIT_DONE


def _script(site: Site, request: JobRequest) -> str:
    return slurm.render(site, request, ["ptrain", *sys.argv[1:]])


def plan(options: SlurmOptions, train_argv: Sequence[str], *, fresh: bool) -> tuple[Site, JobRequest]:
    """The site and the request that the flags describe. ``fresh``: without --run-dir the time names the directory."""
    if options.site is None:
        raise ConfigError(f"--site is missing: expected one of {', '.join(slurm_site.names())}, or FILE.toml")
    site = slurm_site.load(options.site)
    extra = _directives(options)
    if options.venv is not None and options.image is not None:
        raise ConfigError("--venv with --image: expected one of the two")
    combinations = slurm_sweep.combinations(options.sweep)
    if options.array is not None and not combinations:
        raise ConfigError(f"--array {options.array} without --sweep: every task would train the same; add --sweep")
    settings = configuration_of(train_argv)
    shards = [settings.train.shards]
    for combination in combinations:
        if "run-dir" in combination.values or "config" in combination.values:
            raise ConfigError("--sweep run-dir or config: expected a flag that changes the training, such as lr")
        shards.append(configuration_of([*train_argv, *combination.flags]).train.shards)
    stamp = f"-{time.strftime('%Y%m%d-%H%M%S')}" if fresh else ""
    # Flags, and what stands for them in a site, are named as the request's fields; only these are not.
    flags = vars(settings.run) | vars(options) | {"modules": options.module, "directives": extra}
    flags |= {"argv": tuple(train_argv), "shards": min(shards), "combinations": combinations}
    flags["run_dir"] = settings.run.run_dir or f"runs/{options.job_name}{stamp}"
    flags |= {name: os.path.expanduser(flags[name]) for name in ("venv", "image") if flags[name] is not None}
    sites = vars(site.launch) | vars(site.job) | {"ranks_per_node": site.node.ranks}
    names = [field.name for field in fields(JobRequest)]
    values: dict[str, Any] = {name: sites.get(name) if flags[name] is None else flags[name] for name in names}
    return site, JobRequest(**values)


def _directives(options: SlurmOptions) -> dict[str, str]:
    """Options of sbatch without their dashes: those that have a flag of ours, and those of --sbatch."""
    own = {"account": options.account, "partition": options.partition, "qos": options.qos}
    extra = {name: value for name, value in own.items() if value is not None}
    for text in options.sbatch:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--sbatch {text!r}: expected OPTION=VALUE, such as reservation=NAME")
        extra[name.removeprefix("--")] = value
    return extra


def submit(options: SlurmOptions, train_argv: Sequence[str]) -> int:
    """Check what can be checked, write the script into the run directory, submit it and say where things are."""
    console = Console()
    site, request = plan(options, train_argv, fresh=True)
    settings = configuration_of(train_argv)
    run_dir = Path(request.run_dir)
    given = dict(word.removeprefix("--").split("=", 1) for word in directives(site, request) if "=" in word)
    slurm_checks.queue(given.get("partition"), given.get("account"))
    slurm_checks.data(data_paths(settings))
    what = slurm_checks.software(site, request)
    slurm_checks.run_directory(run_dir)
    slurm_jobs.refuse_second(run_dir)
    script = run_dir / "job.sh"
    write_file(script, _script(site, request))
    estimate = slurm_queue.test(str(script))
    if request.combinations and settings.data.validation == 0.0:
        console.warn("a sweep without --validation has nothing to be compared by: the test split is not for choosing")
    job = slurm_queue.submit(str(script))
    slurm_jobs.note(run_dir, job, {"site": site.name, "combinations": [asdict(one) for one in request.combinations]})
    ranks = request.nodes * request.ranks_per_node
    tasks = f", {len(request.combinations)} combinations" if request.combinations else ""
    quoted = shlex.quote(str(run_dir))
    console.say(f"checked: {what}; {estimate}")
    console.say(f"job {job} submitted: {request.nodes} nodes, {ranks} ranks{tasks}, site {site.name}")
    console.say(f"log     {run_dir / request.log_name}")
    console.say(f"status  ptrain slurm status {quoted}")
    console.say(f"stop    ptrain slurm cancel {quoted}")
    return EXIT_DONE


def data_paths(settings: Config) -> list[tuple[str, str]]:
    """Flags and paths of a configuration that name files: (flag, path)."""
    data = settings.data
    named = {"--labels": data.labels, "--test-data": data.test_data, "--test-labels": data.test_labels}
    paths = {flag: file_of(spec) or spec for flag, spec in named.items() if spec is not None}
    return [*paths.items(), *(("--data", path) for path in [file_of(data.data)] if path is not None)]
