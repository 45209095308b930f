"""Rendered job scripts: golden files, shellcheck, and values that try to leave their place."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptrain import cli
from ptrain.errors import ConfigError
from ptrain.slurm import site as slurm_site
from ptrain.slurm import sweep as slurm_sweep
from ptrain.slurm import words as slurm_words
from tests.slurm import golden

BASE = ["--site", "generic-cpu", "--venv", "/env"]
HOSTILE = [
    "a b",
    "a;touch canary",
    "$(touch canary)",
    "`touch canary`",
    "a\n#SBATCH --partition=evil",
    "a\ntouch canary",
    "a\rtouch canary",
    "' ; touch canary; '",
    '" ; touch canary; "',
    'a\' "b" $HOME',
    "${IFS}touch canary",
    "& touch canary &",
    "| touch canary",
    "> canary",
    ") touch canary (",
    "#x",
    "a\\",
    "%j",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "x\x00y",
    "é 中",
]


def directives(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.lstrip().startswith("#SBATCH")]


@pytest.mark.parametrize("site", slurm_site.names())
def test_golden(site: str) -> None:
    expected = (golden.FOLDER / f"{site}.sh").read_bytes()
    assert golden.of_site(site).encode() == expected, "if this is meant: python -m tests.slurm.golden"


def test_every_site_has_a_golden_file_and_every_site_of_the_issue_is_there() -> None:
    assert sorted(path.stem for path in golden.FOLDER.iterdir()) == sorted(slurm_site.names()) == sorted(golden.LINES)
    assert len(slurm_site.names()) == 9


@pytest.mark.parametrize("site", slurm_site.names())
def test_bash_and_shellcheck_find_nothing(site: str) -> None:
    script = golden.FOLDER / f"{site}.sh"
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=10)
    assert shutil.which("shellcheck"), "the tests need shellcheck: scripts/setup --dev installs it"
    done = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("site", slurm_site.names())
def test_every_profile_names_its_source_and_explains_itself(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    profile = slurm_site.load(site)
    assert profile.sources
    assert profile.notes
    assert cli.main(["slurm", "sites", site]) == 0
    out = capsys.readouterr().out
    assert profile.title in out
    assert all(source in out for source in profile.sources)


def test_what_a_site_needs_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["slurm", "render", "--site", "juwels-booster"]) == 2
    assert capsys.readouterr().err == (
        "ptrain: error: --site juwels-booster needs --account; ptrain slurm sites juwels-booster says which one\n"
    )


# Hostile values


FLAGS = [
    "--account", "--partition", "--qos", "--job-name", "--time", "--array", "--module", "--venv", "--image", "--mpi",
    "--launcher", "--requeue", "--sbatch", "--sweep", "--site", "--nodes", "--max-restarts",
    "train --run-dir", "train --data", "train --labels", "train --activation", "train --lr", "train --backend",
    "sbatch reservation", "sweep data", "sweep key",
]  # fmt: skip


def line_of(flag: str, value: str) -> list[str]:
    where, _, name = flag.rpartition(" ")
    if where == "train":
        return [*BASE, "--", "--labels", "l.npy", "--data", "d.npy", name, value]
    if where == "sbatch":
        return [*BASE, "--sbatch", f"{name}={value}"]
    if flag == "sweep data":
        return [*BASE, "--sweep", f"data={value}"]
    if flag == "sweep key":
        return [*BASE, "--sweep", f"{value}=1"]
    base = ["--site", "generic-cpu"] if flag in ("--venv", "--image", "--site") else BASE
    return [*base, f"{flag}={value}"]


FAKE = """#!/bin/bash
printf '%s' "$(basename "$0")" >>"$CALLS"
printf '\\037%s' "$@" >>"$CALLS"
printf '\\036' >>"$CALLS"
"""


def execute(script: str, folder: Path) -> list[list[str]]:
    """Run a script with programs that only note what they are called with; return the calls of srun and module."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("srun", "mpirun", "getent", "squeue", "scontrol", "sbatch", "module", "apptainer", "ptrain", "sbcast"):
        (programs / name).write_text(FAKE)
        (programs / name).chmod(0o755)
    environ = {
        "PATH": f"{programs}:/usr/bin:/bin", "CALLS": str(folder / "calls"), "HOME": str(folder), "USER": "me",
        "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS": "4",
        "SLURM_CPUS_PER_TASK": "1", "SLURMD_NODENAME": "n1", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0",
    }  # fmt: skip
    (folder / "job.sh").write_text(script)
    work = folder / "work"
    work.mkdir()
    subprocess.run(
        ["bash", str(folder / "job.sh")], cwd=work, env=environ, capture_output=True, timeout=30, check=False
    )
    text = (folder / "calls").read_text() if (folder / "calls").exists() else ""
    return [call.split("\x1f") for call in text.split("\x1e") if call]


@pytest.mark.parametrize("flag", FLAGS)
def test_hostile_values_add_no_directive_and_run_no_command(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    safe = {re.split("[ =]", line)[1] for line in directives(golden.rendered(*BASE))} | {
        "--array",
        "--reservation",
        f"--{flag[2:]}",
    }
    for number, value in enumerate(HOSTILE):
        if "\x00" in value and not flag.startswith("train"):
            continue  # no program can be called with it
        argv = ["slurm", "render", *line_of(flag, value)]
        monkeypatch.setattr(sys, "argv", ["ptrain", *argv])
        code = cli.main(argv)
        said = capsys.readouterr()
        if code != 0:
            assert code == 2, said.err
            assert said.err.count("\n") == 1, said.err
            assert said.err.startswith("ptrain: error: "), said.err
            continue
        subprocess.run(["bash", "-n"], input=said.out, text=True, check=True, timeout=10)
        found = directives(said.out)
        assert {re.split("[ =]", line)[1] for line in found} <= safe, (value, found)
        assert not any("evil" in line for line in found)
        folder = tmp_path / str(number)
        folder.mkdir()
        calls = execute(said.out, folder)
        assert not list(folder.rglob("canary")), value
        assert not any(call[0] == "touch" for call in calls)


@pytest.mark.parametrize("value", ["a b", "$(touch canary)", "' ; touch canary; '", '"x" `y` \\ #', "é 中", "*", "~"])
def test_a_train_flag_arrives_as_it_was_written(value: str, tmp_path: Path) -> None:
    script = golden.rendered("--site", "generic-cpu", "--", "--data", value, "--labels", "l.npy")
    calls = [call for call in execute(script, tmp_path) if call[0] == "srun" and "train" in call]
    assert len(calls) == 1
    words = calls[0]
    assert words[words.index("--data") + 1] == value
    assert words[-6:] == ["--resume", "auto", "--run-dir", "runs/ptrain", "--threads", "1"]


@given(st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_the_shell_reads_a_word_back(text: str) -> None:
    try:
        slurm_words.one_line("x", text)
    except ConfigError:
        return
    command = f"printf '%s\\0' {slurm_words.words(text)}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=10, check=True)
    assert done.stdout.decode() == text + "\0"


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20))
@settings(max_examples=100, deadline=None)
def test_only_names_are_expanded_in_a_sites_values(text: str) -> None:
    word = slurm_words.expandable("x", text + "$A_B" + text)
    environ = {"A_B": "value", "PATH": os.environ["PATH"]}
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {word}"], env=environ, capture_output=True, timeout=10)
    expected = re.sub(r"\$([A-Z][A-Z0-9_]*)", lambda m: environ.get(m[1], ""), text + "$A_B" + text, flags=re.ASCII)
    assert done.stdout.decode() == expected + "\0"


# Flags and sites


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "--site is missing: expected one of generic-cpu, generic-gpu, "),
        ("--site juwels", "--site juwels: expected one of generic-cpu, "),
        ("--site none.toml", "--site none.toml: cannot be read (No such file or directory); expected a TOML file"),
        ("--site generic-cpu --nodes 0", "--nodes 0: expected 1 or more"),
        ("--site generic-cpu --nodes 3", "12 ranks with --shards 8: expected at most one rank a gradient shard; "),
        ("--site generic-cpu --time soon", "--time 'soon': expected minutes, "),
        ("--site generic-cpu --array 0-3", "--array 0-3 without --sweep: every task would train the same; add --sweep"),
        (
            "--site generic-cpu --array 0-4 --sweep lr=1,2",
            "--array 0-4: there are 2 combinations; expected numbers up to 1",
        ),
        ("--site generic-cpu --array x --sweep lr=1,2", "--array 'x': expected task numbers such as 0-3, "),
        ("--site generic-cpu --sweep lr", "--sweep 'lr': expected a flag and its values, such as lr=0.1,0.01"),
        ("--site generic-cpu --sweep lr=1,1", "--sweep lr=1,1: a value twice would train the same twice"),
        ("--site generic-cpu --sweep lr=1 --sweep lr=2", "--sweep lr twice: "),
        ("--site generic-cpu --sweep lr=fast", "--lr fast: expected a number"),
        ("--site generic-cpu --sweep lrr=1", "unknown flag --lrr: did you mean --lr? "),
        ("--site generic-cpu --requeue maybe", "--requeue maybe: expected one of requeue, successor, off"),
        ("--site generic-cpu --sbatch x", "--sbatch 'x': expected OPTION=VALUE, such as reservation=NAME"),
        ("--site generic-cpu --sbatch nodes=9", "--sbatch nodes=9: use --nodes instead"),
        ("--site generic-cpu --sbatch output=x", "--sbatch output: is set by the job itself; "),
        ("--site generic-cpu -- --ranks 3", "--ranks after the --: use --nodes and --ranks-per-node before the --"),
        ("--site generic-cpu -- --resume auto --run-dir x", "--resume after the --: "),
        (
            "--site generic-cpu -- --lrr 3",
            "unknown flag --lrr: did you mean --lr? ptrain train --help lists all of them",
        ),
        ("--site generic-cpu runs/x", "ptrain slurm render runs/x: expected flags of ptrain train after a --"),
        (
            "--site lumi-g --account a --ranks-per-node 57 -- --shards 57",
            "--ranks-per-node 57: --site lumi-g has 56 CPUs",
        ),
    ],
)
def test_errors_say_the_fix(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["slurm", "render", *words.split()]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"ptrain: error: {message}"), said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "unknown key x; expected title, notes, "),
        ("title = 1", "title = 1: expected text"),
        ("title = 'a\\u000Ab'", None),
        ('title = "a\\nb"', "title 'a\\nb': has a control character"),
        ("[node]\nranks = 0", "node.ranks = 0: expected a whole number of 1 or more"),
        ("[node]\nrank = 1", "node.unknown key rank; expected ranks, cpus, cpus_per_rank"),
        ("[launch]\nlauncher = 'ssh'", "launch.launcher = 'ssh': expected one of srun, mpirun"),
        ("[software]\nmodules = 'x'", "software.modules = 'x': expected a list of texts"),
        ("[environment]\nx = 1", "environment.x = 1: expected text"),
        ("[environment]\n'a;b' = 'x'", "environment.a;b: expected the name of a variable"),
        ("[directives]\n'a b' = 'x'", "directives.a b: expected an option of sbatch without its dashes"),
        ("[directives]\nqos = 'a b'", "--qos 'a b': expected letters, digits and the characters "),
        ("node = 3", "node = 3: expected a table"),
        ("= 3", "is not valid TOML: "),
    ],
)
def test_a_site_of_ones_own(text: str, message: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    code = cli.main(["slurm", "render", "--site", str(path)])
    said = capsys.readouterr()
    assert code == (0 if message is None else 2), said.err
    assert (message or "") in said.err


def test_a_sites_variables_are_expanded_where_they_belong(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        "[environment]\nA = 'x;$HOME'\n[rank_environment]\nROCR_VISIBLE_DEVICES = '$SLURM_LOCALID'\nB = \"a'b $(x)\"\n"
    )
    text = golden.rendered("--site", str(path))
    assert 'export A="x;$HOME"' in text
    match = re.search(r"^ptrain=\(bash -c (.*) rank ", text, re.MULTILINE)
    assert match is not None
    shown = f"export SLURM_LOCALID=3; bash -c {match[1]} rank env"
    done = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, timeout=10, check=True)
    assert {"ROCR_VISIBLE_DEVICES=3", "B=a'b $(x)"} <= set(done.stdout.splitlines())


# Sweeps


def test_a_sweep_is_every_combination() -> None:
    found = slurm_sweep.combinations(["lr=0.1,0.01", "hidden=128,256x128"])
    assert [one.flags for one in found] == [
        ("--lr", "0.1", "--hidden", "128"),
        ("--lr", "0.1", "--hidden", "256", "128"),
        ("--lr", "0.01", "--hidden", "128"),
        ("--lr", "0.01", "--hidden", "256", "128"),
    ]
    assert found[3].name == "3-lr=0.01,hidden=256x128"
    assert found[3].values == {"lr": "0.01", "hidden": "256x128"}


def test_an_x_in_a_name_splits_nothing() -> None:
    assert slurm_sweep.combinations(["data=xor,data/x.npz"])[1].flags == ("--data", "data/x.npz")


def test_too_many_combinations_are_refused() -> None:
    numbers = ",".join(map(str, range(1, 60)))
    with pytest.raises(ConfigError, match="3481 combinations; expected at most 1000"):
        slurm_sweep.combinations([f"seed={numbers}", f"epochs={numbers}"])


@given(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True), min_size=1, max_size=3))
def test_combinations_are_all_different_and_have_names_of_their_own(axes: list[list[int]]) -> None:
    found = slurm_sweep.combinations([f"flag{i}={','.join(map(str, axis))}" for i, axis in enumerate(axes)])
    number = 1
    for axis in axes:
        number *= len(axis)
    assert len(found) == number == len({one.flags for one in found}) == len({one.name for one in found})
