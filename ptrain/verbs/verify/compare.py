"""``ptrain verify``: train a run's configuration again, on other ranks, backends and threads, and compare the bits."""

import dataclasses
import importlib.util
import itertools
import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptrain import config as configuration
from ptrain.comm.table import SEVERAL
from ptrain.config import Config
from ptrain.console import Console
from ptrain.errors import EXIT_DEFECT, EXIT_DONE, ConfigError, LaunchError, RunDirectoryError
from ptrain.launch.env import detect
from ptrain.run.directory import read_json
from ptrain.verbs.verify import VerifyOptions
from ptrain.verbs.verify.interrupt import Case, read_trace, train, train_with_kills
from ptrain.verbs.verify.own_files import check_files
from ptrain.verbs.verify.replayed import changed_files, other_conditions

COLUMNS = ["ranks", "backend", "threads", "kills", "steps", "sha256", "seconds", "verdict"]


def run(options: VerifyOptions) -> int:
    """Look at the run's files, repeat it in every case, print a table and return 0 where all bits are the same, else 1.

    Raises:
        InputError: the run or the flags are at fault, or a file of the run was changed.
        PtrainError: a repeated run failed.
    """
    console = Console()
    if detect(os.environ).size > 1:
        raise LaunchError("ptrain verify starts its ranks itself: expected one process, without mpirun or srun")
    folder = Path(options.run)
    check_files(folder, console)
    settings = configuration.build(configuration.read_toml(folder / "config.toml"))
    expected = None if options.steps is not None else expected_hash(folder)
    cases = choose_cases(settings, options)
    # Beside the run, since /tmp may be small or not shared; by whoever may only read the run, in /tmp.
    beside = folder.resolve().parent if os.access(folder.resolve().parent, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix=f".verify-{folder.name}-", dir=beside) as temporary:
        results = list(_repeat(console, Path(temporary), cases, options))
        _report(console, results, expected, options.interruptions)
        difference = allreduce_difference(options, Path(temporary), cases, results[0]["run_dir"])
        if difference:
            console.say(f"for comparison, --reduction allreduce on {difference}")
        same = {result["sha256"] for result in results} == {expected or results[0]["sha256"]}
        same = same and all(result["agree"] for result in results)
        same = _compare_files(console, folder, results, expected) and same
    console.say("all the same" if same else "NOT the same bits")
    return EXIT_DONE if same else EXIT_DEFECT


def _compare_files(console: Console, folder: Path, results: Sequence[Mapping[str, Any]], expected: str | None) -> bool:
    """Compare the run's history and evaluation with those of a repeated run; False where they are not of these bits.

    Raises RunDirectoryError where a repeated run has the bits of the run, and a file still says something else.
    """
    alike = [result["run_dir"] for result in results if result["sha256"] == expected]
    changed = changed_files(folder, (alike or [results[0]["run_dir"]])[0]) if alike or expected is None else []
    for text in changed:
        console.say(text)
    if changed and alike:
        raise RunDirectoryError(
            f"{folder}: the parameters are the same, but files of the run were changed since it wrote them "
            f"({len(changed)}, named above); bring them back from a copy, or train again"
        )
    if changed or (expected is not None and not alike):
        for text in other_conditions(folder, results[0]["run_dir"]):
            console.say(f"changed since the run: {text}")
    return not changed


def expected_hash(folder: Path) -> str:
    """The hash of the finished run's parameters.

    Raises RunDirectoryError where the run is not finished.
    """
    found = read_json(folder / "environment.json").get("parameters_sha256")
    if not isinstance(found, str):
        raise RunDirectoryError(
            f"{folder}: is not finished; expected a finished run, or --steps N to compare the first N steps only"
        )
    return found


def choose_cases(settings: Config, options: VerifyOptions) -> list[Case]:
    """Every number of ranks with every backend, the numbers of threads in turn.

    Raises ConfigError where there are more ranks than gradient shards.
    """
    for ranks in options.ranks:
        if not 1 <= ranks <= settings.train.shards:
            raise ConfigError(f"--ranks {ranks}: expected 1 to {settings.train.shards}, the gradient shards of the run")
    installed = [name for name, backend in SEVERAL.items() if importlib.util.find_spec(backend.package)]
    pairs = [(1, "single")] * len(options.threads) if 1 in options.ranks else []
    pairs += [(ranks, backend) for ranks in options.ranks if ranks > 1 for backend in options.backends or installed]
    threads = itertools.cycle(options.threads)
    return [Case(ranks=ranks, backend=backend, threads=next(threads)) for ranks, backend in pairs]


def _repeat(
    console: Console, temporary: Path, cases: Sequence[Case], options: VerifyOptions
) -> Iterator[dict[str, Any]]:
    """Train in every case, say so, and yield what came out."""
    flags = [*_same_flags(options), "--trace"]
    total = 0
    for number, case in enumerate(cases):
        run_dir = temporary / f"case-{number + 1}"
        start = time.perf_counter()
        kills = 0
        if options.interruptions and total > 1:
            chance = random.Random(f"{options.random_seed}/{number}")  # noqa: S311, where to kill a run is no secret
            moments = [chance.randrange(total) for _ in range(options.interruptions)]
            turns = [case, *(other for other in cases if other.ranks != case.ranks)]
            every = ["--checkpoint-every", str(max(1, total // 40))]
            kills = train_with_kills([*flags, *every], run_dir, turns, moments, chance)
        else:
            train(flags, run_dir, case)
        trace = read_trace(run_dir)
        total = int(trace[-1]["step"])
        yield dataclasses.asdict(case) | {
            "kills": kills,
            "steps": total,
            "sha256": trace[-1]["sha256"] if options.steps is not None else expected_hash(run_dir),
            "agree": all(record["ranks_agree"] for record in trace),
            "trace": trace,
            "seconds": time.perf_counter() - start,
            "run_dir": run_dir,
        }
        console.say(
            f"{number + 1} of {len(cases)} done: ranks {case.ranks}, backend {case.backend}, threads {case.threads}"
        )


def _same_flags(options: VerifyOptions) -> list[str]:
    """The flags that repeat a run without what it shows to people."""
    limit = [] if options.steps is None else ["--max-steps", str(options.steps)]
    return ["--config", str(Path(options.run) / "config.toml"), "--no-report", "--log", "none", *limit]


def _report(console: Console, results: Sequence[Mapping[str, Any]], expected: str | None, interruptions: int) -> None:
    baseline = next((r for r in results if r["sha256"] == expected), results[0])
    rows = []
    for result in results:
        verdict = "same"
        if not result["agree"]:
            verdict = "ranks differ from each other"
        elif result["sha256"] != (expected or baseline["sha256"]):
            found = first_difference(baseline["trace"], result["trace"])
            verdict = "DIFFERENT from the run" if found is None else f"DIFFERENT from step {found[0]}, {found[1]}"
        shown = {"sha256": result["sha256"][:12], "verdict": verdict, "seconds": round(result["seconds"], 1)}
        rows.append([(dict(result) | shown)[name] for name in COLUMNS])
    console.table(COLUMNS, rows)
    if expected is not None:
        console.say(f"the run's own parameters: sha256 {expected[:12]}")
    if interruptions:
        console.say("a run with kills lost a rank to SIGKILL that many times and continued on other ranks each time")


def first_difference(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> tuple[int, str] | None:
    """The first step after which two traces differ, and the first tensor that does; None where there is none."""
    for a, b in zip(one, other, strict=False):
        for name, sha256 in a["tensors"].items():
            if b["tensors"].get(name) != sha256:
                return int(a["step"]), str(name)
    return None


def allreduce_difference(options: VerifyOptions, temporary: Path, cases: Sequence[Case], ordered: Path) -> str:
    """Train with ``--reduction allreduce`` on the most ranks and tell of the largest difference.

    Empty where no case has several ranks. Of two numbers there is one sum only, so two ranks may well differ by 0.
    """
    import numpy as np
    from safetensors.numpy import load_file

    several = max(cases, key=lambda case: case.ranks)
    if several.ranks == 1:
        return ""
    run_dir = temporary / "allreduce"
    train([*_same_flags(options), "--reduction", "allreduce"], run_dir, several)
    newest = [max((path / "checkpoints").glob("step-*")) / "tensors.safetensors" for path in (ordered, run_dir)]
    one, other = (load_file(path) for path in newest)
    names = [name for name in one if name.startswith("model.")]
    largest = max(float(np.abs(one[name] - other[name]).max()) for name in names)
    scale = max(float(np.abs(one[name]).max()) for name in names)
    return (
        f"{several.ranks} ranks: parameters differ by at most {largest:.3g} "
        f"({largest / scale:.1e} of the largest parameter)"
    )
