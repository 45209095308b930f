import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import environment

# A shell that starts the tests in the background lets them, and every program that they start, ignore these.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
# Asked to end, pytest ends what the test at hand has started, as after Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)

# Before any module of tests is imported. A worker of pytest-xdist inherits what the process above it has made.
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
HOME = Path(os.environ["HOME"]) if IS_WORKER else environment.set_up()

# Examples are drawn anew each time, also where CI is set; how long one takes says nothing beside other processes.
hypothesis.settings.register_profile("tests", hypothesis.settings.get_profile("default"), deadline=None)
hypothesis.settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _what_a_test_sets_ends_with_it() -> Iterator[None]:
    """ptrain sets variables of libraries where they are not set; the next test finds none of them."""
    before = {**os.environ, "PYTEST_CURRENT_TEST": ""}
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if name != "PYTEST_CURRENT_TEST"})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests marked gpu where there is none; files of whole runs come first.

    Those marked alone are two groups, each for one worker: the Slurm cluster, whose jobs wait most of the time, and the
    others, so that no two of these run at once.
    """
    # Side by side, nobody then waits at the end for the last of the long files.
    items.sort(key=lambda item: item.path.parent.name not in ("verbs", "steps", "comm", "scripts"))
    for item in items:
        if item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.xdist_group("cluster" if item.path.name == "test_cluster.py" else "alone"))
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        config.hook.pytest_deselected(items=on_gpu)
        items[:] = [item for item in items if item not in on_gpu]


@pytest.hookimpl(trylast=True)  # after pytest-xdist has ended its workers
def pytest_sessionfinish(session: pytest.Session) -> None:
    """No process of a test is left behind: one that is, is ended and fails the session."""
    if IS_WORKER:
        return
    for pid in environment.processes_of(HOME):
        command = (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        os.kill(pid, signal.SIGKILL)
        print(f"\nERROR: left behind by a test: {pid} {command}")
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure() -> None:
    """Remove the home folder of the tests."""
    if not IS_WORKER:
        environment.remove(HOME)
