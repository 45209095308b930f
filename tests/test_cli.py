"""The command line: every flag of every verb, the nearest valid name, exit codes, and TOML under flags."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ptrain import cli, config, failures, verbs
from ptrain.config import Config
from ptrain.config.flags import without
from ptrain.errors import ConfigError, DataError, DivergedError, PtrainError, StopRequested
from ptrain.verbs.bench import BenchOptions
from ptrain.verbs.evaluate import EvaluateOptions
from tests.ranks import clean_environment, run_group, run_ranks

PTRAIN = [sys.executable, "-m", "ptrain"]

COMMON = ["--help", "--ranks", "--backend", "--device", "--threads"]
FLAGS = {
    "train": [
        "--help", "--config", "--resume", "--force-resume",
        "--data", "--labels", "--test-data", "--test-labels", "--test-fraction", "--validation", "--normalize",
        "--split", "--group", "--block-size", "--unlabelled", "--neighborhood", "--target", "--features", "--drop",
        "--categories", "--missing", "--missing-values",
        "--hidden", "--activation", "--output-activation", "--activation-alpha", "--bias", "--no-bias", "--init",
        "--init-sigma", "--dropout", "--loss", "--class-weights",
        "--optimizer", "--lr", "--momentum", "--beta1", "--beta2", "--epsilon", "--weight-decay", "--schedule",
        "--step-epochs", "--step-factor", "--warmup-epochs", "--clip-norm",
        "--epochs", "--batch-size", "--shards", "--seed", "--precision", "--reduction", "--early-stopping",
        "--kernels", "--step", "--synchronise-every",
        "--run-dir", "--ranks", "--backend", "--device", "--threads", "--checkpoint-every", "--keep",
        "--max-steps", "--step-timeout", "--restarts", "--trace", "--no-trace",
        "--report", "--no-report", "--log",
    ],
    "evaluate": [*COMMON, "--split", "--data", "--labels", "--checkpoint", "--json", "--predictions",
                 "--absent", "--areas", "--out"],
    "predict": [*COMMON, "--out", "--checkpoint", "--run"],
    "verify": ["--help", "--ranks", "--backends", "--threads", "--interruptions", "--steps", "--random-seed"],
    "report": ["--help", "--out"],
    "data": [
        "--help", "--json", "--height", "--width", "--bands", "--classes", "--noise", "--labels", "--test-data",
        "--test-labels", "--test-fraction", "--validation", "--split", "--group", "--block-size", "--unlabelled",
        "--neighborhood", "--target", "--features", "--drop", "--categories", "--missing",
        "--missing-values", "--seed", "--ranks", "--backend",
    ],
    "slurm": [
        "--help", "--site", "--nodes", "--ranks-per-node", "--cpus-per-rank", "--time", "--account", "--partition",
        "--qos", "--job-name", "--sbatch", "--sweep", "--array", "--module", "--venv", "--image", "--launcher", "--mpi",
        "--signal-before", "--requeue", "--max-restarts", "--preflight", "--no-preflight", "--lines", "--follow",
        "--json",
    ],
    "bench": [
        "--help", "--json", "--config", "--ranks", "--steps", "--seconds", "--time-limit", "--repetitions",
        "--parameters", "--out",
        "--data", "--labels", "--test-data", "--test-labels", "--test-fraction", "--validation", "--normalize",
        "--split", "--group", "--block-size", "--unlabelled", "--neighborhood", "--target", "--features", "--drop",
        "--categories", "--missing", "--missing-values",
        "--hidden", "--activation", "--output-activation", "--activation-alpha", "--bias", "--no-bias", "--init",
        "--init-sigma", "--dropout", "--loss", "--class-weights",
        "--optimizer", "--lr", "--momentum", "--beta1", "--beta2", "--epsilon", "--weight-decay", "--schedule",
        "--step-epochs", "--step-factor", "--warmup-epochs", "--clip-norm",
        "--batch-size", "--shards", "--seed", "--precision", "--reduction", "--kernels", "--step",
        "--synchronise-every", "--backend", "--device", "--threads",
    ],
    "doctor": [
        "--help", "--json", "--time-limit", "--preflight", "--shared-folder", "--expect-ranks",
        "--ranks", "--backend", "--device",
    ],
}  # fmt: skip


def training(line: str) -> tuple[Config, bool]:
    """The configuration, and whether a run is continued."""
    config, resume, _, _ = cli.parse(["train", *line.split()]).arguments
    return config, resume


def trained(line: str) -> Config:
    return training(line)[0]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A directory that holds the configuration of a run."""
    config.write_toml(config.build({"lr": 0.5, "epochs": 7, "run_dir": "elsewhere"}), tmp_path / "config.toml")
    return tmp_path


# Flags


def test_every_verb_has_flags_pinned_here() -> None:
    assert list(verbs.NAMES) == list(FLAGS)


@pytest.mark.parametrize("verb", FLAGS)
def test_the_flags_are_these(verb: str) -> None:
    parser = verbs.load(verb).parser(verb)
    found = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
    assert sorted(found) == sorted(FLAGS[verb])


def test_every_field_of_the_configuration_is_a_flag_of_train() -> None:
    assert {"--" + name.replace("_", "-") for name in config.FIELDS} <= set(FLAGS["train"])


def test_the_help_of_train_shows_docstrings_defaults_sections_and_examples() -> None:
    text = " ".join(verbs.load("train").parser("train").format_help().split())
    for part in (
        "--batch-size N|all Global batch: samples a step over all ranks together; 1 is stochastic, all is batch "
        "gradient descent. By default 128 for sgd, momentum and nesterov; for adam and adamw the largest power of two "
        "with at least 50 steps an epoch, from 8 to 128.",
        "--hidden N [N ...] Widths of the hidden layers;",
        "(default: 128 128)",
        "--bias, --no-bias Whether the layers have a bias. (default: yes)",
        "[optimizer] How the parameters follow the gradient:",
        "--optimizer sgd|momentum|nesterov|adam|adamw The update rule; --optimizer sgd is that of the lecture, with a "
        "learning rate and a batch of its own. (default: adam)",
        "examples: ptrain train --data fashion-mnist",
    ):
        assert part in text


@pytest.mark.alone
def test_help_answers_fast() -> None:
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*PTRAIN, "--help"], stdout=subprocess.DEVNULL, timeout=60, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.2


# Values


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("--lr 0.1", "lr", 0.1),
        ("--lr 1", "lr", 1.0),
        ("--lr=1e-3", "lr", 1e-3),
        ("--batch-size 64", "batch_size", 64),
        ("--batch_size 64", "batch_size", 64),
        ("--batch_size=64", "batch_size", 64),
        ("--batch-size all", "batch_size", "all"),
        ("--hidden 128 64", "hidden", (128, 64)),
        ("--hidden 128", "hidden", (128,)),
        ("--hidden none", "hidden", ()),
        ("--no-bias", "bias", False),
        ("--no_bias", "bias", False),
        ("--bias", "bias", True),
        ("--class-weights balanced", "class_weights", "balanced"),
        ("--class-weights none", "class_weights", "none"),
        ("--class-weights 1 2.5", "class_weights", (1.0, 2.5)),
        ("--unlabelled none", "unlabelled", "none"),
        ("--unlabelled 0 255", "unlabelled", (0, 255)),
        ("--unlabelled -9999", "unlabelled", (-9999,)),
        ("--run-dir runs/a_b", "run_dir", "runs/a_b"),
        ("--run_dir=runs/a_b", "run_dir", "runs/a_b"),
        ("--data 7", "data", "7"),
        ("--activation leaky_relu", "activation", "leaky_relu"),
        ("--clip-norm none", "clip_norm", None),
        ("--lr 0.1 --lr 0.2", "lr", 0.2),
        ("--step messages", "step", "messages"),
        ("--exchange messages", "step", "messages"),  # its name in former versions
    ],
)
def test_values(line: str, name: str, value: Any) -> None:
    built = trained(line)
    assert getattr(getattr(built, config.FIELDS[name]), name) == value


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text("[optimizer]\nlr = 0.5\nclip_norm = 1.0\n[train]\nepochs = 3\nbatch_size = 'all'\n")
    built = trained(f"--config {path} --lr 0.25 --clip-norm none")
    assert (built.optimizer.lr, built.optimizer.clip_norm) == (0.25, None)
    assert (built.train.epochs, built.train.batch_size, built.train.seed) == (3, "all", 0)


def test_a_combination_of_file_and_flags_is_validated_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text("[train]\nshards = 16\n")
    assert trained(f"--config {path} --ranks 16").run.ranks == 16
    with pytest.raises(ConfigError, match="at most one rank a gradient shard"):
        trained("--ranks 16")


def test_ranks_are_taken_out_of_the_command_line_of_the_ranks() -> None:
    line = "train --lr 0.1 --ranks 2 --hidden 3 4 --ranks=3 --data ranks"
    assert without(line.split(), "--ranks") == ["train", "--lr", "0.1", "--hidden", "3", "4", "--data", "ranks"]


# Errors of one line


VERBS = ", ".join(verbs.NAMES)
ERRORS = [
    ("", f"no verb: expected one of {VERBS} first; see ptrain --help"),
    ("trian", "unknown verb trian: did you mean train?; see ptrain --help"),
    ("--hidden 3", f"unknown flag --hidden: expected one of {VERBS} first; see ptrain --help"),
    ("train --hiden 3", "unknown flag --hiden: did you mean --hidden? ptrain train --help lists all of them"),
    (
        "train --bach_size 3",
        "unknown flag --bach-size: did you mean --batch-size? ptrain train --help lists all of them",
    ),
    ("train --batch 3", "unknown flag --batch: did you mean --batch-size? ptrain train --help lists all of them"),
    ("train --epoch 3", "unknown flag --epoch: did you mean --epochs? ptrain train --help lists all of them"),
    (
        "train --learning-rate 3",
        "unknown flag --learning-rate: did you mean --lr? ptrain train --help lists all of them",
    ),
    ("train -np 2", "unknown flag -np: did you mean --ranks? ptrain train --help lists all of them"),
    ("predict r x --output y", "unknown flag --output: did you mean --out? ptrain predict --help lists all of them"),
    ("train 3", "unexpected argument 3; see ptrain train --help"),
    ("train --lr", "--lr: expected one argument; see ptrain train --help"),
    ("train --hidden", "--hidden: expected at least one argument; see ptrain train --help"),
    ("evaluate", "nothing to evaluate: expected RUN, or --predictions FILE and --labels FILE"),
    ("evaluate --predictions p.csv", "--predictions p.csv without --labels: expected the file of labels as well"),
    ("evaluate r --predictions p.csv --labels l.csv", "--predictions p.csv with RUN r: expected one of the two"),
    ("evaluate r --absent none", "--absent none: expected one of exclude, zero"),
    ("predict x --out y.csv", "only x: expected RUN INPUT, or INPUT --run RUN; see ptrain predict --help"),
    ("predict r x --run s --out y.csv", "unexpected argument x; see ptrain predict --help"),
    ("predict r x", "the following arguments are required: --out; see ptrain predict --help"),
    ("train --lr fast", "--lr fast: expected a number"),
    ("train --lr -1", "--lr -1.0: expected a number above 0"),
    ("train --optimizer admw", "--optimizer admw: did you mean adamw? (sgd, momentum, nesterov, adam, adamw)"),
    ("train --batch-size 0", "--batch-size 0: expected 1 or more, or all"),
    (
        "train --ranks 9",
        "--ranks 9 with --shards 8: expected at most one rank a gradient shard; use --shards 9 or more, or fewer ranks",
    ),
    ("train --force-resume", "--force-resume without --resume: expected --resume --run-dir RUN with it"),
    (
        "train --resume",
        "--resume without a run directory: expected --run-dir RUN with it, the run to continue",
    ),
    ("train --resume a --run-dir b", "--resume a with --run-dir b: expected one of the two"),
    (
        "train --config none.toml",
        "--config none.toml: cannot be read (No such file or directory); expected a TOML file",
    ),
    ("evaluate none", "none is no run directory (no config.toml in it); expected one of ptrain train"),
    ("evaluate none --backend mpl", "--backend mpl: did you mean mpi? (auto, single, mpi, horovod, torch)"),
    ("bench", "the following arguments are required: ACTION; see ptrain bench --help"),
    ("bench trian", "bench trian: did you mean train?"),
    ("bench train --ranks 1 2", "--ranks 1 2 for bench train: expected one number; bench scaling takes several"),
    ("bench train --steps 0", "--steps 0: expected 1 or more"),
    ("bench comm --ranks 1", "--ranks 1 for bench comm: expected 2 or more, one rank has nothing to exchange"),
    ("bench comm --seconds 0", "--seconds 0.0: expected 0.01 or more"),
    (
        "bench scaling --ranks 1 9",
        "--ranks 9 with --shards 8: expected at most one rank a gradient shard; use --shards 9 or more, or fewer ranks",
    ),
    ("bench scaling --out plot.pdf", "--out plot.pdf: expected a name that ends in .png"),
    (
        "bench scaling --out none/plot.png",
        "--out none/plot.png: cannot be written; expected a file in a folder that is there and yours",
    ),
    ("doctor --ranks x", "--ranks x: expected a whole number"),
    ("doctor --time-limit x", "--time-limit x: expected a number"),
]


@pytest.mark.parametrize(("line", "message"), ERRORS, ids=[line or "nothing" for line, _ in ERRORS])
def test_errors_are_one_line_with_exit_code_2(
    line: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(line.split()) == 2
    assert capsys.readouterr() == ("", f"ptrain: error: {message}\n")


def test_errors_of_a_run_that_is_there(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(run_dir), "--split", "tst"]) == 2
    assert cli.main(["evaluate", str(run_dir), "--labels", "y.npy"]) == 2
    assert cli.main(["predict", str(run_dir), "x.npy", "--out", "classes.txt"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "ptrain: error: --split tst: did you mean test? (test, validation, train)",
        "ptrain: error: --labels y.npy without --data: expected the features as well",
        "ptrain: error: --out classes.txt: expected a name that ends in .csv or .npy, or in .tif for a scene",
    ]


def test_a_process_with_bad_flags_ends_with_2_and_starts_no_rank() -> None:
    done = run_group([*PTRAIN, "train", "--ranks", "2", "--lr", "x"], timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "ptrain: error: --lr x: expected a number\n")


def test_the_version_and_the_help_are_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert re.fullmatch(r"ptrain \d+\.\d+\.\d+\n", capsys.readouterr().out)
    assert cli.main(["train", "--help"]) == 0
    assert capsys.readouterr().err == ""


# What the verbs are called with


def test_what_train_is_called_with() -> None:
    call = cli.parse(["train", "--ranks", "3"])
    assert call.arguments == (config.build({"ranks": 3}), False, False, ("ranks",))
    assert (call.ranks, call.ranks_to_start) == (3, 3)


def test_what_evaluate_and_predict_are_called_with(run_dir: Path) -> None:
    call = cli.parse(f"evaluate {run_dir} --ranks 100 --checkpoint best --json".split())
    assert (call.ranks, call.ranks_to_start) == (100, 100)  # they have no gradient shards that limit the ranks
    assert call.arguments == (
        EvaluateOptions(run=str(run_dir), checkpoint="best", json=True), config.RunConfig(ranks=100)
    )  # fmt: skip
    call = cli.parse(f"predict {run_dir} x.npy --out y.csv --device cpu --threads 2".split())
    options, settings = call.arguments
    assert (options.run_dir, options.source, options.out) == (str(run_dir), "x.npy", "y.csv")
    assert settings == config.RunConfig(device="cpu", threads=2)
    assert cli.parse(["predict", "x.npy", "--run", str(run_dir), "--out", "y.npy"]).arguments[0].source == "x.npy"


def test_what_bench_is_called_with(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text("[train]\nepochs = 3\nbatch_size = 64\n[run]\nranks = 5\nrun_dir = 'x'\n")
    call = cli.parse(f"bench train --config {path} --ranks 3 --hidden 7 --steps 9".split())
    assert call.arguments[0] == config.build({"ranks": 3, "batch_size": 64, "hidden": [7]})
    assert call.arguments[1] == BenchOptions(action="train", config=str(path), ranks=(3,), steps=9)
    assert call.ranks_to_start == 3


@pytest.mark.parametrize(
    ("line", "ranks"),
    [
        ("train", None), ("train --ranks 1", 1), ("comm", None), ("comm --ranks 3", None), ("comm --backend mpi", 2),
        ("comm --backend mpi --ranks 3", 3), ("scaling --ranks 1 2", None),
    ],
)  # fmt: skip
def test_ranks_that_are_started_before_a_benchmark(line: str, ranks: int | None) -> None:
    assert cli.parse(f"bench {line}".split()).ranks_to_start == ranks


# Resume


@pytest.mark.parametrize("line", ["--resume --run-dir {run}", "--resume {run}", "--resume auto --run-dir {run}"])
def test_resume_takes_the_stored_configuration_with_flags_on_top(run_dir: Path, line: str) -> None:
    built, resume = training(f"{line.format(run=run_dir)} --epochs 9")
    assert resume
    assert (built.optimizer.lr, built.train.epochs, built.run.run_dir) == (0.5, 9, str(run_dir))


def test_resume_puts_the_file_over_the_stored_configuration(run_dir: Path) -> None:
    (run_dir / "job.toml").write_text("[optimizer]\nlr = 0.25\n")
    built, resume = training(f"--resume {run_dir} --config {run_dir / 'job.toml'}")
    assert (resume, built.optimizer.lr, built.train.epochs) == (True, 0.25, 7)


def test_resume_auto_starts_a_run_where_there_is_none(tmp_path: Path) -> None:
    built, resume = training(f"--resume auto --run-dir {tmp_path / 'new'}")
    assert (resume, built.run.run_dir) == (False, str(tmp_path / "new"))


def test_resume_of_what_is_no_run_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--resume", "--run-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"ptrain: error: --resume: {tmp_path} holds no run to continue (no config.toml in it); "
        "give the --run-dir of a run, or start a new one with --resume auto or without --resume\n"
    )


# Launchers


def under_openmpi(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for name, value in {"RANK": 0, "SIZE": size, "LOCAL_RANK": 0, "LOCAL_SIZE": size}.items():
        monkeypatch.setenv(f"OMPI_COMM_WORLD_{name}", str(value))


def test_ranks_that_contradict_the_launcher_are_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    under_openmpi(monkeypatch, 2)
    assert cli.main(["train", "--ranks", "3"]) == 2
    assert capsys.readouterr().err == (
        "ptrain: error: --ranks 3 under openmpi, which started 2: leave --ranks out, or start ptrain once\n"
    )


def test_a_files_ranks_are_for_machines_without_a_launcher(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text("[run]\nranks = 3\nkeep = 5\n")
    call = cli.parse(["train", "--config", str(path)])
    assert (call.ranks, call.ranks_to_start) == (None, 3)
    flags = ["--config", str(path), "--epochs", "1", "--hidden", "none", "--no-report"]
    done = run_ranks([*PTRAIN, "train", *flags, "--run-dir", str(tmp_path / "run")], 2)
    assert done.returncode == 0, done.stderr
    assert config.build(config.read_toml(tmp_path / "run" / "config.toml")).run.ranks is None


def test_a_rank_that_cannot_tell_its_number_does_not_train_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PTRAIN_JOB_ID", "x")
    assert cli.main(["train", "--ranks", "2"]) == 2
    assert capsys.readouterr().err.startswith("ptrain: error: mpirun started this process without a variable that")


# How a process ends


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (DataError("a\nb"), 2, "ptrain: error: a\\nb\n"),
        (DivergedError("loss is nan"), 3, "ptrain: error: loss is nan\n"),
        (StopRequested("stopped at step 5"), 75, "ptrain: stopped at step 5\n"),
        (PtrainError("x"), 1, "ptrain: error: x\n"),
        (KeyboardInterrupt(), 130, "ptrain: interrupted\n"),
    ],
)
def test_exit_codes_and_texts(error: BaseException, code: int, text: str) -> None:
    assert failures.describe(error, 0, 1) == (code, text)


def test_an_error_of_another_rank_names_it_unless_all_agree() -> None:
    host = os.uname().nodename
    error = DataError("x")
    assert failures.describe(error, 3, 4) == (2, f"ptrain: error: rank 3 on {host}: x\n")
    error.agreed = True
    assert failures.describe(error, 3, 4) == (2, "ptrain: error: x\n")


def test_a_defect_shows_its_traceback_with_rank_and_host() -> None:
    try:
        os.environ["PTRAIN_MISSING"]
    except KeyError as error:
        code, text = failures.describe(error, 2, 4)
    assert code == 1
    assert text.startswith("Traceback (most recent call last):\n")
    assert f"ptrain: error: rank 2 on {os.uname().nodename}: KeyError: 'PTRAIN_MISSING' (not foreseen" in text


@pytest.mark.parametrize(("line", "code"), [("doctor --backend mpi", 141), ("--help", 0), ("train --help", 0)])
def test_a_reader_that_went_away_is_no_error(line: str, code: int) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [*PTRAIN, *line.split()]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize(
    ("number", "code", "text"), [(signal.SIGINT, 130, "ptrain: interrupted\n"), (signal.SIGTERM, -15, "")]
)
def test_a_signal_before_the_work_starts_ends_it(number: signal.Signals, code: int, text: str) -> None:
    command = [sys.executable, "-u", "-m", "ptrain", "doctor", "--backend", "mpi"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ok")
        process.send_signal(number)
        try:
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, err) == (code, text)


FAILING_JOB = """
import os, sys
from mpi4py import MPI
from ptrain import failures
from ptrain.errors import DataError
try:
    {what}
    MPI.COMM_WORLD.Barrier()
except Exception as error:
    sys.exit(failures.end(error, os.environ))
"""


def failing_job(tmp_path: Path, what: str) -> tuple[int, list[str], float]:
    """Run a job of two ranks; return its exit code, what the ranks (not mpirun) wrote on stderr, and the seconds."""
    program = tmp_path / "job.py"
    program.write_text(FAILING_JOB.format(what=what))
    start = time.monotonic()
    done = run_ranks([sys.executable, str(program)], 2, timeout=60)
    seconds = time.monotonic() - start
    return done.returncode, re.findall(r"^ptrain: .*|^Traceback.*", done.stderr, re.MULTILINE), seconds


def test_one_rank_that_fails_ends_the_job_and_is_named(tmp_path: Path) -> None:
    code, lines, seconds = failing_job(tmp_path, "if MPI.COMM_WORLD.rank == 1: raise DataError('bad file')")
    assert (code, lines) == (2, [f"ptrain: error: rank 1 on {os.uname().nodename}: bad file"])
    assert seconds < 30


def test_the_same_error_on_all_ranks_is_printed_once(tmp_path: Path) -> None:
    assert failing_job(tmp_path, "raise DataError('bad file')")[:2] == (2, ["ptrain: error: bad file"])


def test_an_error_that_all_ranks_agree_on_is_printed_once_and_nobody_waits(tmp_path: Path) -> None:
    what = "error = DataError('bad file'); error.agreed = True; raise error"
    assert failing_job(tmp_path, what)[:2] == (2, ["ptrain: error: bad file"])


def test_a_defect_on_one_rank_ends_the_job_with_its_traceback(tmp_path: Path) -> None:
    code, lines, _ = failing_job(tmp_path, "if MPI.COMM_WORLD.rank == 1: 1 / 0")
    assert code == 1
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith(f"ptrain: error: rank 1 on {os.uname().nodename}: ZeroDivisionError: division by zero")
    assert len(lines) == 2
