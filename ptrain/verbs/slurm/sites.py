"""``ptrain slurm sites``: which clusters are known, and what is known about one."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from ptrain.console import Console
from ptrain.errors import EXIT_DONE
from ptrain.slurm import site as slurm_site
from ptrain.verbs.slurm import SlurmOptions


def run(options: SlurmOptions, _train_argv: Sequence[str]) -> int:
    """List the sites, or explain one."""
    console, name = Console(), options.target
    chosen = [slurm_site.load(one) for one in ([name] if name is not None else slurm_site.names())]
    if options.json:
        console.say(json.dumps([asdict(site) for site in chosen], indent=1))
        return EXIT_DONE
    if name is None:
        console.table(
            ["site", "what it is", "needs"],
            [[s.name, s.title, ", ".join(f"--{n}" for n in s.required)] for s in chosen],
        )
        console.say("\nptrain slurm sites NAME explains one; --site FILE.toml takes one of your own (docs/slurm.md)")
        return EXIT_DONE
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
    return EXIT_DONE
