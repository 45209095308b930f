"""The entry point: argv -> Config -> verb. The only place that prints errors or exits."""

import dataclasses
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptrain import config, failures
from ptrain.config import Config, arguments
from ptrain.config.arguments import Command
from ptrain.errors import ConfigError, LaunchError, RunDirectoryError
from ptrain.verbs.bench import flags as bench_flags
from ptrain.verbs.data import flags as data_flags

_SPLITS = ["test", "validation", "train"]
_MANY_SHARDS = 2**31  # verbs that do not train have no gradient shards that would limit the ranks


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
        return stop.code if isinstance(stop.code, int) else 0
    except BaseException as error:
        return failures.end(error, os.environ)


def _run(argv: list[str]) -> int:
    try:
        command = arguments.parse(argv)
        keywords, ranks = resolve(command)
    except ConfigError as error:
        error.agreed = True  # every rank has the same command line
        raise
    from ptrain.launch import env  # here and below: what --help does not need, it does not wait for

    info = env.detect(os.environ)
    if info.launcher == "none" and os.environ.get("PTRAIN_JOB_ID"):
        raise LaunchError(
            "mpirun started this process without a variable that tells its rank, so each rank would be alone: "
            "put the mpirun of Open MPI or MPICH first on PATH, or use srun or torchrun"
        )
    if info.size > 1:
        keywords, ranks = _under_launcher(command, keywords)
    if ranks is not None:
        from ptrain.launch import local

        if local.must_start(ranks, info):
            alone = arguments.without_ranks(argv)
            settings: Config | None = keywords.get("config")
            if settings is not None and settings.run.restarts:
                return _start_supervised(alone, ranks, settings)
            return local.start(alone, ranks, os.environ)
    verb = importlib.import_module(f"ptrain.verbs.{command.verb}")
    return int(verb.run(**keywords))


def _start_supervised(argv: list[str], ranks: int, settings: Config) -> int:
    """Start ranks here, and after a crash start them again from the last checkpoint, as ``--restarts`` asks."""
    from ptrain.launch import local, supervise

    run_dir = settings.run.run_dir or config.default_run_dir(settings.data.data)

    def start(ranks: int, again: bool) -> int:
        resume = ["--resume", "auto"] if again else []
        # One rank is started by mpirun as well: the process that supervises must not be the one that crashes.
        return local.start([*argv, "--run-dir", run_dir, *resume], ranks, os.environ)

    return supervise.supervise(start, Path(run_dir), ranks, settings.run.restarts)


def _under_launcher(command: Command, keywords: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
    """Leave out the number of ranks that a file asks for: it is for a machine without a launcher."""
    if "config" in keywords:
        settings: Config = keywords["config"]
        keywords = {
            **keywords,
            "config": dataclasses.replace(settings, run=dataclasses.replace(settings.run, ranks=None)),
        }
    return keywords, command.values.get("ranks")


def resolve(command: Command) -> tuple[dict[str, Any], int | None]:
    """Return the keyword arguments of the verb's ``run`` and the number of ranks asked for.

    Raises ConfigError or RunDirectoryError for what can be found out without starting anything.
    """
    if command.verb == "train":
        settings, resume = train_config(command)
        keywords = {"config": settings, "resume": resume, "force_resume": command.options["force_resume"]}
        return keywords, settings.run.ranks
    if command.verb == "report":
        for run_dir in command.options["runs"]:
            _required_run(run_dir)
        return command.options, None
    if command.verb == "data":
        return _data(command)
    if command.verb == "bench":
        return _bench(command)
    if command.verb == "slurm":
        return {**command.options, "configure": _configuration_of}, None
    if command.verb == "verify":
        keywords = dict(command.options)
        keywords["run_dir"] = keywords.pop("run")
        _required_run(keywords["run_dir"])
        return keywords, None
    run = config.build({**command.values, "shards": _MANY_SHARDS}).run
    keywords = {**command.options, "backend": run.backend, "device": run.device}
    if command.verb in ("evaluate", "predict"):
        keywords["threads"] = run.threads
        if command.verb == "predict":
            _split_paths(keywords)
        keywords["run_dir"] = keywords.pop("run")
    if command.verb == "evaluate":
        keywords |= {name: command.values.get(name) for name in ("data", "labels")}
        _check_evaluate(keywords)
    if keywords.get("run_dir") is not None:
        _required_run(keywords["run_dir"])
    if command.verb == "predict" and Path(command.options["out"]).suffix not in (".csv", ".npy", ".tif", ".tiff"):
        raise ConfigError(
            f"--out {command.options['out']}: expected a name that ends in .csv or .npy, or in .tif for a scene"
        )
    return keywords, run.ranks


def _data(command: Command) -> tuple[dict[str, Any], int | None]:
    """Return the keyword arguments of ``ptrain data`` and the number of ranks asked for."""
    options = dict(command.options)
    action, words = options.pop("action"), options.pop("words")
    if action not in data_flags.ACTIONS:
        raise ConfigError(f"data {action}: {config.nearest(action, list(data_flags.ACTIONS))}")
    expected = data_flags.ACTIONS[action][0]
    if len(words) != len(expected):
        given = " ".join(["data", action, *words])
        raise ConfigError(f"{given}: expected ptrain data {action} {' '.join(expected)}")
    values = command.values | ({"data": words[0]} if "SPEC" in expected else {})
    settings = config.build(values)
    options["scene"] = {name: options.pop(name) for name in data_flags.SCENE} | {"seed": settings.train.seed}
    return {"action": action, "words": words, "config": settings, **options}, settings.run.ranks


def _bench(command: Command) -> tuple[dict[str, Any], int | None]:
    """Return the keyword arguments of ``ptrain bench`` and the number of ranks to start before it is run."""
    options = dict(command.options)
    action, num_ranks = options["action"], options["num_ranks"]
    if action not in bench_flags.ACTIONS:
        raise ConfigError(f"bench {action}: {config.nearest(action, list(bench_flags.ACTIONS))}")
    if action != "scaling" and len(num_ranks) > 1:
        given = " ".join(map(str, num_ranks))
        raise ConfigError(f"--ranks {given} for bench {action}: expected one number; bench scaling takes several")
    for name, least in bench_flags.LIMITS.items():
        if options[name] is not None and options[name] < least:
            raise ConfigError(f"--{name.replace('_', '-')} {options[name]}: expected {least:g} or more")
    path = options.pop("config")
    values = (config.read_toml(Path(path)) if path is not None else {}) | command.values
    values = {name: value for name, value in values.items() if name not in bench_flags.NOT_FOR_BENCH}
    built = [config.build(values | {"ranks": ranks}) for ranks in num_ranks] or [config.build(values)]
    keywords = {**options, "config": built[0]}
    if action == "scaling":
        return keywords, None  # it starts its jobs itself
    if num_ranks:
        command.values["ranks"] = num_ranks[0]  # a launcher may have started another number
    if action == "comm":
        return keywords, None if built[0].run.backend == "auto" else built[0].run.ranks or 2
    return keywords, built[0].run.ranks


def _configuration_of(train_argv: Sequence[str]) -> Config:
    """Return the configuration that flags of ptrain train make."""
    return train_config(arguments.parse(["train", *train_argv]))[0]


def train_config(command: Command) -> tuple[Config, bool]:
    """Return the configuration of ``ptrain train`` and whether it continues a run.

    Flags win over ``--config``, which wins over the configuration of the run that is continued.
    """
    options = command.options
    values = config.read_toml(Path(options["config"])) if options["config"] is not None else {}
    values |= command.values
    where = options["resume"]
    if where is None:
        if options["force_resume"]:
            raise ConfigError("--force-resume without --resume: expected --resume --run-dir RUN with it")
        return config.build(values), False
    if where not in ("", "auto"):
        given = str(values.setdefault("run_dir", where))
        if Path(given) != Path(where):
            raise ConfigError(f"--resume {where} with --run-dir {given}: expected one of the two")
    run_dir = values.get("run_dir")
    if not isinstance(run_dir, str):
        raise ConfigError("--resume without a run directory: expected --run-dir RUN with it, the run to continue")
    stored = Path(run_dir) / "config.toml"
    if not stored.is_file():
        if where == "auto":
            return config.build(values), False
        raise RunDirectoryError(
            f"--resume: {run_dir} holds no run to continue (no config.toml in it); "
            "give the --run-dir of a run, or start a new one with --resume auto or without --resume"
        )
    return config.build({**config.read_toml(stored), **values}), True


def _check_evaluate(keywords: dict[str, Any]) -> None:
    """Raise ConfigError unless there is a run, or a file of predictions and one of labels."""
    for name, valid in (("split", _SPLITS), ("absent", ["exclude", "zero"])):
        if keywords[name] not in valid:
            raise ConfigError(f"--{name} {keywords[name]}: {config.nearest(keywords[name], valid)}")
    run_dir, predictions, labels = (keywords[name] for name in ("run_dir", "predictions", "labels"))
    if predictions is None:
        if run_dir is None:
            raise ConfigError("nothing to evaluate: expected RUN, or --predictions FILE and --labels FILE")
        if labels is not None and keywords["data"] is None:
            raise ConfigError(f"--labels {labels} without --data: expected the features as well")
    elif labels is None:
        raise ConfigError(f"--predictions {predictions} without --labels: expected the file of labels as well")
    elif run_dir is not None or keywords["data"] is not None:
        given = f"RUN {run_dir}" if run_dir is not None else f"--data {keywords['data']}"
        raise ConfigError(f"--predictions {predictions} with {given}: expected one of the two")


def _split_paths(keywords: dict[str, Any]) -> None:
    """Make ``run`` and ``input_path`` of ``RUN INPUT``, or of ``INPUT --run RUN``."""
    paths = keywords.pop("paths")
    expected = 2 if keywords["run"] is None else 1
    if len(paths) < expected:
        raise ConfigError(f"only {paths[0]}: expected RUN INPUT, or INPUT --run RUN; see ptrain predict --help")
    if len(paths) > expected:
        raise ConfigError(f"unexpected argument {paths[expected]}; see ptrain predict --help")
    if keywords["run"] is None:
        keywords["run"] = paths[0]
    keywords["input_path"] = paths[-1]


def _required_run(run_dir: str) -> None:
    if not (Path(run_dir) / "config.toml").is_file():
        raise RunDirectoryError(f"{run_dir} is no run directory (no config.toml in it); expected one of ptrain train")


if __name__ == "__main__":
    sys.exit(main())
