"""What can be said of the image without building it; scripts/container test builds it and runs it."""

import fnmatch
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.ranks import ROOT
from tests.scripts.shell import plain_machine, run

TEXT = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = [
    tuple(line.split(maxsplit=1))
    for line in re.sub(r"\\\n\s*", "", re.sub(r"(?m)^\s*#.*\n", "", TEXT)).splitlines()
    if line.strip()
]
LAST_STAGE = INSTRUCTIONS[max(i for i, one in enumerate(INSTRUCTIONS) if one[0] == "FROM") :]
IGNORED = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]


def is_sent(path: str) -> bool:
    """Return whether the builder gets ``path``; as for Docker, the last pattern that fits wins."""
    sent = True
    for pattern in IGNORED:
        bare = pattern.removeprefix("!").removeprefix("**/")
        parts = Path(path).parts
        places = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        if pattern.startswith("**/"):
            places += list(parts)
        if any(fnmatch.fnmatchcase(place, bare) for place in places):
            sent = pattern.startswith("!")
    return sent


def copied() -> list[str]:
    lines = [words.split() for name, words in INSTRUCTIONS if name == "COPY"]
    return [word.rstrip("/") for words in lines if not words[0].startswith("--from=") for word in words[:-1]]


def test_only_known_instructions() -> None:
    assert {one[0] for one in INSTRUCTIONS} <= {
        *("ARG", "FROM", "ENV", "RUN", "COPY", "WORKDIR", "USER", "LABEL", "ENTRYPOINT", "CMD")
    }


def test_bases_are_arguments_with_a_tag() -> None:
    assert {words.split()[0] for name, words in INSTRUCTIONS if name == "FROM"} - {"environment", "horovod"} == {
        "${BASE}",
        "${BUILD_BASE}",
    }
    arguments = dict(words.split("=", 1) for name, words in INSTRUCTIONS if name == "ARG")
    assert re.fullmatch(r"[a-z.]+/[a-z/]+:[a-z]+-[a-z0-9.-]+", arguments["BASE"])
    assert arguments["BUILD_BASE"] == "${BASE}"
    assert f"BASE={arguments['BASE']} " in (ROOT / "scripts" / "container").read_text()


def test_what_is_copied_is_there_and_sent() -> None:
    assert copied()
    for path in copied():
        assert (ROOT / path).exists(), path
        assert is_sent(path), path


@pytest.mark.parametrize(
    "path",
    [
        *(".git/config", ".venv/bin/python", "runs/first/model.safetensors", ".cache/wheels/x", "tests/conftest.py"),
        *("ptrain/__pycache__/cli.cpython-311.pyc", "ptrain/verbs/__pycache__/x.pyc", "build/lib/ptrain/cli.py"),
        "ptrain/native/kernels.cpython-311-x86_64-linux-gnu.so",
    ],
)
def test_what_does_not_belong_is_not_sent(path: str) -> None:
    assert not is_sent(path)


def test_packages_come_without_recommended_ones_and_lists() -> None:
    for _, words in (one for one in INSTRUCTIONS if one[0] == "RUN" and "apt-get" in one[1]):
        assert "--no-install-recommends" in words
        assert "rm -rf /var/lib/apt/lists/*" in words


def test_the_image_has_no_compiler_and_no_root() -> None:
    commands = " ".join(words for name, words in LAST_STAGE if name == "RUN")
    assert not re.search(r"g\+\+|gcc|-dev\b|\bpip\b", commands)
    users = [words for name, words in LAST_STAGE if name == "USER"]
    assert users
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])


def test_ptrain_comes_as_a_wheel_from_a_stage_with_a_compiler() -> None:
    builds = [i for i, one in enumerate(INSTRUCTIONS) if one[0] == "RUN" and "pip wheel" in one[1]]
    assert len(builds) == 1
    stages = [one for one in INSTRUCTIONS[: builds[0]] if one[0] == "FROM"]
    assert stages[-1] == ("FROM", "horovod AS wheel")
    assert not any("/opt/ptrain/source" in words for _, words in LAST_STAGE)


def test_a_change_of_ptrain_does_not_build_horovod_again() -> None:
    before = INSTRUCTIONS[: INSTRUCTIONS.index(("FROM", "horovod AS wheel"))]
    sent = {word for name, words in before if name == "COPY" for word in words.split()[:-1]}
    assert sent == {
        *("requirements.lock", "requirements-tools.lock"),
        *("scripts/lib.sh", "scripts/setup", "scripts/build-horovod"),
    }


def test_signals_arrive() -> None:
    assert ("ENTRYPOINT", '["tini", "-s", "--", "ptrain"]') in LAST_STAGE


def test_labels_are_the_standard_ones() -> None:
    (labels,) = (words for name, words in LAST_STAGE if name == "LABEL")
    keys = {word.split("=")[0].removeprefix("org.opencontainers.image.") for word in shlex.split(labels)}
    assert keys >= {"title", "description", "version", "revision"}


def test_the_test_program_parses() -> None:
    subprocess.run(["bash", "-n", str(ROOT / "container" / "test")], check=True, timeout=10)


def test_an_engine_that_nobody_knows_is_the_users_fault(tmp_path: Path) -> None:
    done = run("container", "build", env={"PTRAIN_ENGINE": "lxc", "PTRAIN_CACHE": str(tmp_path)})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "'lxc', expected docker, podman or buildah" in done.stderr


@pytest.mark.parametrize("verb", ["build", "run", "test"])
def test_without_an_engine_nothing_is_skipped(tmp_path: Path, verb: str) -> None:
    path = plain_machine(tmp_path / "bin")
    for engine in ("docker", "podman", "buildah"):
        (path / engine).unlink(missing_ok=True)
    done = run("container", verb, env={"PATH": str(path), "PTRAIN_CACHE": str(tmp_path / "cache")})
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1
    assert "apt-get install" in done.stderr


@pytest.mark.parametrize("words", [("build", "--help"), ("test", "-h")])
def test_help_of_a_verb(words: tuple[str, ...]) -> None:
    done = run("container", *words)
    assert done.returncode == 0
    assert "Usage: scripts/container" in done.stdout
