"""The entry point: argv -> verb -> run. The only place that prints errors or exits."""

import os
import sys
from collections.abc import Sequence

from ptrain import __version__, failures, verbs
from ptrain.config.flags import Parser, closest, without
from ptrain.errors import ConfigError, LaunchError

EXAMPLES = """\
  ptrain train --ranks 2                      the UCI digits on two ranks of this machine
  srun ptrain train --config job.toml         every rank of a Slurm allocation
  ptrain doctor                               what works here, and what to do about the rest
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (see ptrain.errors); prints every error on stderr."""
    # A rank spreads its shards over its own Python threads. Threads inside the kernels as well would fight over the
    # same cores and could change the bits, and the libraries read these variables when they are loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MKL_NUM_THREADS", "1")
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # after --help and --version
        try:
            sys.stdout.flush()  # here, since a reader that went away would be an error at the exit
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return stop.code if isinstance(stop.code, int) else 0
    except BaseException as error:
        return failures.end(error, os.environ)


def _run(argv: list[str]) -> int:
    try:
        call = parse(argv)
    except ConfigError as error:
        error.agreed = True  # every rank has the same command line
        raise
    from ptrain.launch import env, local  # here, since --help does not wait for what it does not need

    info = env.detect(os.environ)
    if info.launcher == "none" and os.environ.get("PTRAIN_JOB_ID"):
        raise LaunchError(
            "mpirun started this process without a variable that tells its rank, so each rank would be alone: "
            "put the mpirun of Open MPI or MPICH first on PATH, or use srun or torchrun"
        )
    ranks = call.ranks if info.size > 1 else call.ranks_to_start
    if ranks is not None and local.must_start(ranks, info):
        return call.start(without(argv, "--ranks"), ranks)
    return call.run()


def parse(argv: Sequence[str]) -> verbs.Command:
    """Find the verb and let it check its command line.

    Raises ConfigError for an unknown verb or flag, naming the nearest valid one, and whatever the verb finds wrong;
    SystemExit after ``--help`` and ``--version``.
    """
    if not argv or argv[0].startswith("-"):
        _, rest = main_parser().parse_known_args(list(argv[:1]))
        given = f"unknown flag {rest[0]}" if rest else "no verb"
        raise ConfigError(f"{given}: expected one of {', '.join(verbs.NAMES)} first; see ptrain --help")
    name = argv[0]
    if name not in verbs.NAMES:
        raise ConfigError(f"unknown verb {name}: {closest(name, verbs.NAMES)}; see ptrain --help")
    verb = verbs.load(name)
    return verb.check(verb.read(name, argv[1:]))


def main_parser() -> Parser:
    """The parser of what stands before a verb: --help and --version."""
    width = max(map(len, verbs.NAMES))
    lines = "\n".join(f"  {name:<{width}}  {verbs.load(name).summary}" for name in verbs.NAMES)
    about = f"Train classifiers on every rank of an HPC job.\n\nverbs (ptrain VERB --help says more):\n{lines}"
    parser = Parser(prog="ptrain", usage="ptrain VERB [arguments]", description=about, examples=EXAMPLES)
    parser.add_argument("--version", action="version", version=f"ptrain {__version__}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
