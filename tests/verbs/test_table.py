"""Every verb of the table: its help, its examples, and one line with exit code 2 for what it does not know."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ptrain import cli, config, verbs
from ptrain.config.training import with_file
from ptrain.verbs.base import Action, Verb, function
from tests.test_imports import HEAVY

VERBS = [pytest.param(name, verbs.load(name), id=name) for name in verbs.NAMES]
ACTIONS = {"data": "data", "bench": "bench", "slurm": "ptrain slurm"}
"""Verbs with actions, and how their messages begin."""


def actions_of(name: str) -> dict[str, Action]:
    found: dict[str, Action] = sys.modules[f"ptrain.verbs.{name}"].ACTIONS
    return found


def refused(line: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr of a command line that is refused."""
    assert cli.main(line) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"ptrain: error: .*\n", said.err), said.err
    return said.err


def test_every_file_and_folder_of_the_verbs_is_in_the_table() -> None:
    here = Path(verbs.__file__).parent
    found = {path.stem for path in here.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - {"__init__", "base"} == set(verbs.NAMES)


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_the_help_says_what_it_is_for_and_what_every_argument_means(name: str, verb: Verb) -> None:
    parser = verb.parser(name)
    text = " ".join(parser.format_help().split())
    letters = text.replace(" ", "")
    assert text.startswith(f"usage: ptrain {name} ")
    assert verb.summary[1:] in text
    assert not verb.summary.endswith(".")
    assert re.search(rf"^  {name} +{re.escape(verb.summary)}$", cli.main_parser().format_help(), re.MULTILINE)
    for action in parser._actions:
        assert action.help, action.dest
        assert "".join(action.help.replace("%%", "%").split()) in letters  # lines may be broken within a word


@pytest.mark.parametrize("argv", [[], *([name] for name in verbs.NAMES)], ids=["ptrain", *verbs.NAMES])
def test_help_loads_nothing_heavy(argv: list[str]) -> None:
    code = (
        "import sys; from ptrain.cli import main; code = main([*sys.argv[1:], '--help']); "
        f"heavy = [name for name in {HEAVY} if name in sys.modules]; sys.exit(str(heavy) if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: {' '.join(['ptrain', *argv])} " in done.stdout


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_the_examples_of_the_help_are_valid(name: str, verb: Verb) -> None:
    examples = [line for line in verb.examples.splitlines() if "ptrain " in line]
    assert len(examples) in (3, 4)
    for line in examples:
        words = re.split(r"\s{3,}|\s>\s", line.strip())[0].removeprefix("srun ").removeprefix("ptrain ")
        program, *argv = shlex.split(words)
        assert program == name
        given = verb.read(name, argv)
        for group in verb.groups:
            if group.of not in config.SECTIONS.values():
                given.of(group.of)
        config.build(with_file(None, given))


@pytest.mark.parametrize("name", verbs.NAMES)
def test_an_unknown_flag_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown flag --no-such-flag: did you mean --" in refused([name, "--no-such-flag", "3"], capsys)


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_a_word_too_many_is_refused(name: str, verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--out", "x.csv"] if name == "predict" else []
    if name == "report":  # takes any number of them
        return
    refused([name, *flags, "a", "b", "c", "d"], capsys)


@pytest.mark.parametrize("name", ACTIONS)
def test_an_unknown_action_is_refused_with_the_nearest(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for action in actions_of(name):
        assert refused([name, f"{action}x"], capsys).endswith(f"{ACTIONS[name]} {action}x: did you mean {action}?\n")


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_is_there_and_told_of_by_the_help(name: str) -> None:
    text = " ".join(verbs.load(name).parser(name).format_help().split())
    for action, row in actions_of(name).items():
        assert f"{' '.join((action, *row.words))}: {row.does}" in text
        assert callable(function(row.work))
