"""Starting ranks on this machine: exit codes, signals, what is printed, and that nobody is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptrain.errors import LaunchError
from ptrain.launch.env import detect
from ptrain.launch.local import exit_code, must_start
from tests.ranks import ROOT, clean_environment, descendants, kill_tree, run_group

START = "import os, sys; from ptrain.launch.local import start; "
START += "sys.exit(start([sys.executable, *sys.argv[2:]], int(sys.argv[1]), os.environ))"
# A rank like ptrain's: it follows mpirun, stops on SIGUSR1, and does not end by being asked to.
RANK = """
import os, signal, sys, time
from pathlib import Path
from ptrain.launch.orphans import follow_launcher
follow_launcher(os.environ)
stop = []
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGUSR1, lambda *_: stop.append(1) if sys.argv[2] == "stops" else None)
Path(sys.argv[1], f"{os.getpid()}.up").touch()
end = time.monotonic() + 60
while time.monotonic() < end and not stop:
    time.sleep(0.02)
sys.exit(75)
"""
OUR_RANK = "import os; rank = int(os.environ.get('OMPI_COMM_WORLD_RANK') or os.environ['PMI_RANK']); "


def run(program: str, ranks: int = 2, **env: str) -> subprocess.CompletedProcess[str]:
    return run_group([sys.executable, "-c", START, str(ranks), "-c", program], timeout=30, env=env)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class Job:
    """Two running ranks, the launcher that started them, and mpirun between them."""

    def __init__(self, folder: Path, behaviour: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, "2", "-c", RANK, str(folder), behaviour],
            env=clean_environment(),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        wait_for(lambda: len(list(folder.glob("*.up"))) == 2)
        self.ranks = [int(path.stem) for path in folder.glob("*.up")]
        self.everybody = [self.process.pid, *descendants(self.process.pid)]
        assert set(self.ranks) < set(self.everybody)

    def finish(self) -> tuple[int, str]:
        """Return exit code and stderr, and see that nobody is left."""
        _, stderr = self.process.communicate(timeout=20)
        wait_for(lambda: not any(map(alive, self.everybody)), 10)
        return self.process.returncode, stderr


@pytest.fixture
def start_job(tmp_path: Path) -> Iterator[Callable[[str], Job]]:
    jobs: list[Job] = []

    def start(behaviour: str = "stops") -> Job:
        jobs.append(Job(tmp_path, behaviour))
        return jobs[-1]

    yield start
    for job in jobs:
        for pid in job.everybody:
            if alive(pid):
                kill_tree(pid)
        job.process.communicate()


@pytest.mark.parametrize("code", [0, 1, 2, 3, 75])
def test_exit_codes_come_out_without_noise(code: int) -> None:
    done = run(f"import sys; sys.exit({code})")
    assert (done.returncode, done.stderr) == (code, "")


def test_the_output_of_the_ranks_comes_through() -> None:
    done = run(OUR_RANK + "import sys; print('out', rank); print('err', rank, file=sys.stderr); sys.exit(0)")
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == ["out 0", "out 1"]
    assert sorted(done.stderr.splitlines()) == ["err 0", "err 1"]


def test_ranks_know_that_there_is_no_terminal_and_no_input() -> None:
    done = run("import os, sys; print(os.environ['PTRAIN_TERMINAL'], repr(sys.stdin.read()))", ranks=1)
    assert done.stdout == "0 ''\n"


def test_mpi_abort_ends_with_its_code() -> None:
    done = run(OUR_RANK + "from mpi4py import MPI; import time; rank and MPI.COMM_WORLD.Abort(3); time.sleep(60)")
    assert (done.returncode, done.stderr) == (3, "")


def test_more_ranks_than_cores_share_memory() -> None:
    program = (
        "import os, sys; from mpi4py import MPI; world = MPI.COMM_WORLD; "
        "world.Alltoall(bytearray(4 * 100_000), bytearray(4 * 100_000)); "
        "maps = open('/proc/self/maps').read(); print('sm_segment' in maps or 'vader_segment' in maps, world.size)"
    )
    done = run(program, ranks=4, OMPI_MCA_btl="self,sm", OMPI_MCA_mpi_yield_when_idle="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["True 4"] * 4


@pytest.mark.alone
def test_a_killed_rank_is_named_once() -> None:
    start = time.monotonic()
    done = run(OUR_RANK + "import time; rank == 1 and os.kill(os.getpid(), 9); time.sleep(60)")
    assert time.monotonic() - start < 15
    assert done.returncode == 137
    host = os.uname().nodename
    assert done.stderr == f"error: rank 1 on {host} was ended by signal 9 (SIGKILL), as when memory runs out\n"


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_the_ranks_in_good_order(number: int, start_job: Callable[..., Job]) -> None:
    job = start_job()
    job.process.send_signal(number)
    code, stderr = job.finish()
    assert code == 75
    assert stderr.strip() == ("stopping at the next step; Ctrl-C again ends at once" if number == signal.SIGINT else "")


@pytest.mark.alone
def test_the_second_interrupt_ends_at_once(start_job: Callable[..., Job]) -> None:
    job = start_job("goes on")
    job.process.send_signal(signal.SIGINT)
    stderr = job.process.stderr
    assert stderr is not None
    stderr.readline(), stderr.readline()
    start = time.monotonic()
    job.process.send_signal(signal.SIGINT)
    assert job.finish()[0] == 130
    assert time.monotonic() - start < 8


@pytest.mark.alone
@pytest.mark.parametrize("behaviour", ["stops", "goes on"])
def test_nobody_outlives_a_killed_launcher(behaviour: str, start_job: Callable[..., Job]) -> None:
    job = start_job(behaviour)
    job.process.kill()
    assert job.finish()[0] == -9


@pytest.mark.alone
def test_nobody_outlives_a_killed_mpirun(start_job: Callable[..., Job]) -> None:
    job = start_job("goes on")
    (mpirun,) = [pid for pid in descendants(job.process.pid) if pid not in job.ranks]
    os.kill(mpirun, signal.SIGKILL)
    assert job.finish() == (137, "error: mpirun was ended by signal 9 (SIGKILL), and its ranks with it\n")


def test_ranks_start_inside_another_launchers_job() -> None:
    program = "from ptrain.launch.env import detect; import os; info = detect(os.environ); print(info.size, info.rank)"
    slurm = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_JOB_NODELIST": "nowhere[1-2]", "SLURM_NNODES": "2"}
    slurm |= {"SLURM_TASKS_PER_NODE": "2(x2)", "SLURM_PROCID": "0"}
    done = run_group([sys.executable, "-c", START, "2", "-c", program], timeout=30, env=slurm)
    assert sorted(done.stdout.splitlines()) == ["2 0", "2 1"], done.stderr


@pytest.mark.parametrize(
    ("returned", "rank_signal", "asked", "code"),
    [
        (0, None, [], 0),
        (75, None, [signal.SIGTERM], 75),
        (137, signal.SIGKILL, [], 137),
        (1, signal.SIGKILL, [], 137),
        (138, signal.SIGUSR1, [signal.SIGUSR1], 75),
        (-signal.SIGUSR1, None, [signal.SIGTERM], 75),
        (138, signal.SIGUSR1, [], 138),
        (-signal.SIGKILL, None, [], 137),
        (1, None, [signal.SIGINT, signal.SIGINT], 130),
    ],
)
def test_exit_code(returned: int, rank_signal: int | None, asked: list[int], code: int) -> None:
    assert exit_code(returned, rank_signal, asked) == code


def test_ranks_under_a_launcher() -> None:
    alone = detect({}, "h")
    two = detect({"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2"}, "h")
    assert must_start(2, alone)
    assert not must_start(None, alone)
    assert not must_start(1, alone)
    assert not must_start(None, two)
    assert not must_start(2, two)
    with pytest.raises(LaunchError, match="--ranks 3 under pmi, which started 2: leave --ranks out") as caught:
        must_start(3, two)
    assert caught.value.agreed
