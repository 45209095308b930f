"""The flags of every verb as argparse parsers, made from the fields of ptrain.config and their docstrings."""

import argparse
import ast
import dataclasses
import functools
import inspect
import types
import typing
from typing import Any, Literal, NoReturn

from ptrain import __version__, config
from ptrain.errors import ConfigError
from ptrain.verbs.bench import flags as bench_flags
from ptrain.verbs.data import flags as data_flags
from ptrain.verbs.slurm.flags import add_slurm

SUMMARIES = {
    "train": "train a classifier on every rank, then evaluate it on the test split",
    "evaluate": "evaluate a finished run, or predictions in a file: exact counts over all ranks",
    "predict": "write the class and the probabilities of every sample of a file, or the map of a scene",
    "verify": "train a run again on other ranks, backends and threads, and compare every bit",
    "report": "draw the page of a run, or compare several runs, from their files",
    "data": "look at data, convert them to memory-mapped arrays, fetch them, or make some up",
    "slurm": "write and submit job scripts for Slurm, and look after their jobs",
    "bench": "measure steps, the exchange between ranks, and how many ranks pay",
    "doctor": "say what is installed, which backends start, and the fix for what does not",
}
"""Every verb and what it does."""

_EPILOGS = {
    "": """examples:
  ptrain train --ranks 2                      the UCI digits on two ranks of this machine
  srun ptrain train --config job.toml         every rank of a Slurm allocation
  ptrain doctor                               what works here, and what to do about the rest
""",
    "train": """examples:
  ptrain train --data fashion-mnist --hidden 256 128 100 --optimizer adam --epochs 20 --ranks 2
  ptrain train --config job.toml --lr 0.05 --run-dir runs/first
  srun ptrain train --config job.toml --run-dir runs/first --resume auto
""",
    "evaluate": """examples:
  ptrain evaluate runs/first
  ptrain evaluate runs/first --split validation --checkpoint best --ranks 2
  ptrain evaluate --predictions classes.csv --labels labels.csv --areas areas.csv
""",
    "predict": """examples:
  ptrain predict runs/first samples.npy --out classes.csv
  ptrain predict runs/first samples.npz --out classes.npy --checkpoint best --ranks 2 --backend mpi
  ptrain predict scene.tif --run runs/scene --out map.tif --ranks 2
""",
    "report": """examples:
  ptrain report runs/first
  ptrain report runs/first --out first.html
  ptrain report runs/first runs/second runs/third --out comparison.html
""",
    "data": """examples:
  ptrain data info table.csv --target species
  ptrain data convert table.parquet arrays --target species --ranks 2
  ptrain data fetch CIFAR10
""",
    "slurm": """examples:
  ptrain slurm sites juwels-booster
  ptrain slurm render --site generic-cpu --nodes 2 --time 00:30:00 -- --data fashion-mnist --epochs 20
  ptrain slurm submit --site leonardo-booster --account prj --sweep lr=0.1,0.01 -- --data mnist.npz --validation 0.1
""",
    "bench": """examples:
  ptrain bench train --data fashion-mnist --ranks 2
  ptrain bench comm --hidden 1024 1024        which backend, and how long the exchange takes with each
  ptrain bench scaling --ranks 1 2 4 --batch-size 1024
""",
    "verify": """examples:
  ptrain verify runs/first
  ptrain verify runs/first --ranks 1 3 --backends mpi --interruptions 2
  ptrain verify runs/first --steps 50         only the first 50 steps; works before the run is finished
""",
    "doctor": """examples:
  ptrain doctor
  ptrain doctor --json > doctor.json
  srun ptrain doctor --backend horovod        is every rank where it should be, and do they hear each other?
""",
}

_RUN_FIELDS = ("ranks", "backend", "device", "threads")


class _Parser(argparse.ArgumentParser):
    """A parser that raises ConfigError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message.removeprefix('argument ')}; see {self.prog} --help")


def main_parser() -> argparse.ArgumentParser:
    """Return the parser of what stands before a verb: --help and --version."""
    width = max(map(len, SUMMARIES))
    verbs = "\n".join(f"  {verb:<{width}}  {summary}" for verb, summary in SUMMARIES.items())
    parser = _Parser(
        prog="ptrain",
        usage="ptrain VERB [arguments]",
        description=f"Train classifiers on every rank of an HPC job.\n\nverbs (ptrain VERB --help says more):\n{verbs}",
        epilog=_EPILOGS[""],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ptrain {__version__}")
    return parser


def parser_of(verb: str) -> argparse.ArgumentParser:
    """Return the argparse parser of one verb; flags that are not given are absent from its result."""
    positional = {
        "evaluate": " [RUN]",
        "predict": " RUN INPUT --out FILE",
        "verify": " RUN",
        "report": " RUN [RUN ...]",
        "data": " ACTION SPEC|NAME|OUT [OUT]",
        "slurm": " ACTION [RUN]",
        "bench": " ACTION",
    }.get(verb, "")
    after = " [-- flags of ptrain train]" if verb == "slurm" else ""
    parser = _Parser(
        prog=f"ptrain {verb}",
        usage=f"ptrain {verb}{positional} [flags]{after}",
        description=SUMMARIES[verb][0].upper() + SUMMARIES[verb][1:] + ".",
        epilog=_EPILOGS[verb],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = {
        "train": _train,
        "evaluate": _evaluate,
        "predict": _predict,
        "verify": _verify,
        "report": _report,
        "data": _data,
        "slurm": add_slurm,
        "bench": _bench,
        "doctor": _doctor,
    }
    add[verb](parser)
    return parser


def _train(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("configuration and resume")
    group.add_argument("--config", metavar="FILE", help="TOML file with values for the flags below; flags win")
    group.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="auto|RUN",
        help="continue the run in --run-dir, or in RUN, with its configuration and these flags on top; "
        "auto starts a new run there if there is none yet",
    )
    group.add_argument("--force-resume", action="store_true", help="resume even with changed data or configuration")
    for name, section in config.SECTIONS.items():
        heading = inspect.cleandoc(section.__doc__ or "").rstrip(".")
        group = parser.add_argument_group(f"[{name}] {heading}")
        for field in dataclasses.fields(section):
            _add_field(group, field.name)


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", nargs="?", help="run directory of ptrain train")
    parser.add_argument(
        "--split", default="test", metavar="test|validation|train", help="split to evaluate (default: test)"
    )
    _add_field(parser, "data", "evaluate on these data instead of a split of the run's own")
    _add_field(parser, "labels", "file of labels for a FEATURES.npy or for --predictions")
    _add_checkpoint(parser)
    text = "evaluate these predictions against --labels, without a run: classes or probabilities, .csv or .npy"
    parser.add_argument("--predictions", metavar="FILE", help=text)
    text = "what an undefined ratio (0/0) counts as: exclude leaves it out of means, zero is 0 (default: exclude)"
    parser.add_argument("--absent", default="exclude", metavar="exclude|zero", help=text)
    text = "mapped area of each class, lines class,area: weights the accuracy by area (Olofsson et al. 2014)"
    parser.add_argument("--areas", metavar="FILE.csv", help=text)
    text = "folder for evaluation.json and the CSV files (default: the run, or one below it; none for --predictions)"
    parser.add_argument("--out", metavar="FOLDER", help=text)
    parser.add_argument("--json", dest="as_json", action="store_true", help="print evaluation.json instead of a table")
    for name in _RUN_FIELDS:
        _add_field(parser, name)


def _predict(parser: argparse.ArgumentParser) -> None:
    text = "run directory of ptrain train, and features: any source of ptrain train, or a scene; RUN may be --run RUN"
    parser.add_argument("paths", metavar="RUN INPUT", nargs="+", help=text)
    parser.add_argument("--run", metavar="RUN", help="run directory, where it is not given in front of INPUT")
    text = "where to write: FILE.csv, FILE.npy, or for a scene MAP.tif, which gets a picture MAP.png beside it"
    parser.add_argument("--out", required=True, metavar="FILE", help=text)
    _add_checkpoint(parser)
    for name in _RUN_FIELDS:
        _add_field(parser, name)


def _verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="run directory of ptrain train")
    text = "numbers of ranks to repeat the run on (default: 1 2 3)"
    parser.add_argument("--ranks", dest="num_ranks", nargs="+", type=int, default=[1, 2, 3], metavar="N", help=text)
    text = "backends to repeat it over: mpi, horovod, torch (default: those that are installed)"
    parser.add_argument("--backends", nargs="+", default=[], metavar="NAME", help=text)
    text = "numbers of threads a rank, in turn (default: 1 2)"
    parser.add_argument("--threads", dest="num_threads", nargs="+", type=int, default=[1, 2], metavar="N", help=text)
    text = "kill a random rank at this many random moments of every run but the first, and continue on other ranks"
    parser.add_argument("--interruptions", type=int, default=0, metavar="K", help=text)
    parser.add_argument("--steps", type=int, metavar="N", help="repeat the first N steps only")
    parser.add_argument("--random-seed", dest="random_seed", type=int, default=0, metavar="N", help="seed of the kills")


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run directory of ptrain train; several are compared")
    text = "where to write the page (default: report.html in the run directory, comparison.html here for several)"
    parser.add_argument("--out", metavar="FILE.html", help=text)


def _data(parser: argparse.ArgumentParser) -> None:
    group = data_flags.add_data(parser)
    for field in dataclasses.fields(config.DataConfig):
        if field.name not in ("data", "normalize"):
            _add_field(group, field.name)
    _add_field(group, "seed")
    for name in ("ranks", "backend"):
        _add_field(group, name)


def _bench(parser: argparse.ArgumentParser) -> None:
    bench_flags.add_bench(parser)
    for name, section in config.SECTIONS.items():
        group = parser.add_argument_group(f"[{name}] as for ptrain train")
        for field in dataclasses.fields(section):
            if field.name not in bench_flags.NOT_FOR_BENCH:
                _add_field(group, field.name)


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", dest="as_json", action="store_true", help="print the findings as JSON")
    parser.add_argument(
        "--time-limit", type=float, default=60.0, metavar="SECONDS", help="for each backend to start (default: 60)"
    )
    parser.add_argument(
        "--preflight", action="store_true", help="in a job: is every rank where it should be? exit code 2 if not"
    )
    parser.add_argument("--shared-folder", metavar="DIR", help="--preflight: folder that all ranks must share")
    parser.add_argument("--expect-ranks", type=int, metavar="N", help="--preflight: number of ranks there must be")
    _add_field(parser, "ranks")
    _add_field(parser, "backend", "try only this one; the ranks of a job report through it")
    _add_field(parser, "device", "where the ranks of a job keep what they add up")


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    text = "checkpoint to load: last, best, or a name such as step-00000469 (default: last)"
    parser.add_argument("--checkpoint", default="last", metavar="last|best|NAME", help=text)


def _add_field(parser: argparse._ActionsContainer, name: str, text: str | None = None) -> None:
    """Add the flag of one configuration field; ``text`` replaces the field's docstring and its default."""
    section = config.SECTIONS[config.fields()[name]]
    annotation = typing.get_type_hints(section)[name]
    default = next(field.default for field in dataclasses.fields(section) if field.name == name)
    if text is None:
        text = _docstrings()[section.__name__, name]
        if default is not None:
            text += f" (default: {_shown(default)})"
    text = text.replace("%", "%%")
    flag = "--" + name.replace("_", "-")
    if annotation is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        return
    kinds = typing.get_args(annotation) or (annotation,)
    is_list = any(typing.get_origin(kind) is tuple for kind in (annotation, *kinds))
    nargs = "+" if is_list else None
    parser.add_argument(flag, nargs=nargs, default=argparse.SUPPRESS, metavar=_metavar(annotation), help=text)


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _metavar(annotation: Any) -> str:
    union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    words: list[str] = []
    for kind in typing.get_args(annotation) if union else (annotation,):
        if typing.get_origin(kind) is Literal:
            words += typing.get_args(kind)
        elif typing.get_origin(kind) is tuple:
            words.append({int: "N", float: "X"}[typing.get_args(kind)[0]])
        elif kind is not type(None):
            words.append({int: "N", float: "X", str: "TEXT"}[kind])
    return "|".join(words)


@functools.cache
def _docstrings() -> dict[tuple[str, str], str]:
    """Return the docstring under each field of ptrain.config, by class and field name, on one line."""
    texts = {}
    for node in ast.parse(inspect.getsource(config)).body:
        if isinstance(node, ast.ClassDef):
            for field, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    texts[node.name, ast.unparse(field.target)] = " ".join(ast.literal_eval(text.value).split())
    return texts
