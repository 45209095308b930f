"""The flags of ``ptrain slurm``."""

import argparse

ACTIONS = {
    "sites": "list the sites, or explain one: ptrain slurm sites NAME",
    "render": "print the job script",
    "submit": "check everything that can be checked, then submit the job",
    "status": "say what a submitted run or sweep is doing, and compare the runs of a sweep",
    "log": "print the end of a job's log",
    "cancel": "cancel the job of a run or sweep",
}
"""Every action and what it does."""


def add_slurm(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``ptrain slurm``; what follows ``--`` are flags of ptrain train."""
    text = "; ".join(f"{action}: {what}" for action, what in ACTIONS.items())
    parser.add_argument("action", metavar="ACTION", help=text)
    parser.add_argument(
        "target", nargs="?", metavar="RUN", help="run directory, for status, log and cancel; a site's name for sites"
    )
    group = parser.add_argument_group("the job (render and submit)")
    group.add_argument("--site", metavar="NAME|FILE.toml", help="which cluster; ptrain slurm sites lists them")
    group.add_argument("--nodes", type=int, default=1, metavar="N", help="nodes (default: 1)")
    group.add_argument("--ranks-per-node", type=int, metavar="N", help="ranks a node (default: the site's)")
    group.add_argument("--cpus-per-rank", type=int, metavar="N", help="CPUs a rank (default: the site's)")
    group.add_argument("--time", metavar="TIME", help="time limit, such as 02:00:00 (default: the site's)")
    for name, what in (
        ("account", "account or project that pays"),
        ("partition", "partition (default: the site's)"),
        ("qos", "quality of service (default: the site's)"),
    ):
        group.add_argument(f"--{name}", metavar="NAME", help=what)
    group.add_argument("--job-name", default="ptrain", metavar="NAME", help="name in the queue (default: ptrain)")
    group.add_argument(
        "--sbatch", action="append", default=[], metavar="OPTION=VALUE", help="any other option of sbatch; repeatable"
    )
    group.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="FLAG=VALUES",
        help="train every combination, each in a task of a job array: --sweep lr=0.1,0.01 --sweep hidden=128,256x128",
    )
    group.add_argument(
        "--array", metavar="TASKS", help="which tasks of the sweep, and how many at once: 0-3%%2, or %%2 for all"
    )
    group = parser.add_argument_group("software (render and submit)")
    group.add_argument("--module", action="append", default=[], metavar="NAME", help="module to load; repeatable")
    group.add_argument(
        "--venv",
        metavar="DIR|FILE.tar.gz",
        help="virtual environment with ptrain, or a packed one for the nodes' disks",
    )
    group.add_argument("--image", metavar="FILE.sif", help="Apptainer image with ptrain")
    group.add_argument("--launcher", metavar="srun|mpirun", help="what starts the ranks (default: the site's)")
    group.add_argument("--mpi", metavar="TYPE", help="srun --mpi, such as pmix or pmi2 (default: the site's)")
    group = parser.add_argument_group("time limit, requeue and preflight (render and submit)")
    group.add_argument(
        "--signal-before",
        type=int,
        metavar="SECONDS",
        help="stop this long before the time limit (default: the site's)",
    )
    group.add_argument(
        "--requeue", metavar="requeue|successor|off", help="how a stopped job goes on (default: the site's)"
    )
    group.add_argument("--max-restarts", type=int, default=20, metavar="N", help="and how often at most (default: 20)")
    group.add_argument(
        "--preflight",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="check all ranks before the training (default: yes)",
    )
    group = parser.add_argument_group("output")
    group.add_argument("--lines", type=int, default=40, metavar="N", help="lines of log to print (default: 40)")
    group.add_argument("--follow", action="store_true", help="log: print what is added until the job ends")
    group.add_argument("--json", dest="as_json", action="store_true", help="status and sites: print JSON")
