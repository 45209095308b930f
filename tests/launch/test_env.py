"""Launch detection from the variables that launchers set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrain.errors import LaunchError
from ptrain.launch.env import LAUNCHERS, RankInfo, detect, expand_counts, first_host, is_slurm_task

OPENMPI = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    "PMIX_NAMESPACE": "prterun-host-77@1",
    "PMIX_RANK": "5",
}
HYDRA = {"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4"}
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "n1",
    "MASTER_PORT": "29500",
}
HOROVODRUN = {
    "HOROVOD_RANK": "5",
    "HOROVOD_SIZE": "8",
    "HOROVOD_LOCAL_RANK": "1",
    "HOROVOD_LOCAL_SIZE": "4",
    "HOROVOD_GLOO_RENDEZVOUS_PORT": "1234",
}
# As Slurm 22.05 sets them in the batch script of a job of 8 tasks on 2 nodes.
BATCH = {
    "SLURM_JOB_ID": "31",
    "SLURM_JOBID": "31",
    "SLURM_NTASKS": "8",
    "SLURM_NPROCS": "8",
    "SLURM_NNODES": "2",
    "SLURM_NODEID": "0",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_TASKS_PER_NODE": "4(x2)",
    "SLURM_JOB_NODELIST": "n[1-2]",
}
TASK = {
    **BATCH,
    "SLURM_STEP_ID": "0",
    "SLURM_STEPID": "0",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
}
NOBODY = RankInfo(rank=0, size=1, local_rank=0, local_size=1, host="h", launcher="none", job_id="")


def expected(launcher: str, job_id: str = "") -> RankInfo:
    return RankInfo(rank=5, size=8, local_rank=1, local_size=4, host="h", launcher=launcher, job_id=job_id)


@pytest.mark.parametrize(
    ("environ", "want"),
    [
        ({}, NOBODY),
        ({"HOME": "/", "RANK": "captain"}, NOBODY),
        (OPENMPI, expected("openmpi", "prterun-host-77@1")),
        (HYDRA, expected("pmi")),
        ({"PMI_RANK": "5", "PMI_SIZE": "8", "PMI_LOCAL_RANK": "1", "PMI_LOCAL_SIZE": "4"}, expected("pmi")),
        (TORCHRUN, expected("torchrun", "none.n1.29500")),
        (HOROVODRUN, expected("horovod", "1234")),
        (TASK, expected("slurm", "31.0.0")),
        ({k: v for k, v in TASK.items() if "STEPID" not in k and "STEP_T" not in k}, expected("slurm", "31.0")),
        ({**TASK, "SLURM_RESTART_COUNT": "1"}, expected("slurm", "31.0.0.1")),
        (BATCH, NOBODY),
        ({**BATCH, "SLURM_STEP_ID": "batch"}, NOBODY),
        ({**BATCH, "SLURM_STEP_ID": "4294967291"}, NOBODY),  # the batch step's number
        ({**BATCH, "SLURM_STEP_ID": "4294967290"}, NOBODY),  # salloc's interactive step
    ],
)
def test_each_launcher(environ: dict[str, str], want: RankInfo) -> None:
    assert detect(environ, "h") == want


@pytest.mark.parametrize(
    ("environ", "launcher"),
    [
        ({**BATCH, **OPENMPI}, "openmpi"),  # mpirun in a batch script
        ({**TASK, "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", **OPENMPI}, "openmpi"),  # its daemons run by srun
        ({**TASK, "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", **HYDRA}, "pmi"),
        ({**TASK, "PMI_RANK": "5", "PMI_SIZE": "8"}, "slurm"),  # srun --mpi=pmi2
        ({**TASK, "PMIX_RANK": "5"}, "slurm"),  # srun --mpi=pmix
        ({**TASK, "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", **TORCHRUN}, "torchrun"),
        ({**TASK, "RANK": "0", "WORLD_SIZE": "2"}, "slurm"),  # exported by the job script for another program
        ({**OPENMPI, "RANK": "5", "WORLD_SIZE": "8"}, "openmpi"),
        ({**BATCH, **HOROVODRUN}, "horovod"),
        ({k: v for k, v in TORCHRUN.items() if "ELASTIC" not in k}, "torchrun"),  # set by hand
    ],
)
def test_precedence(environ: dict[str, str], launcher: str) -> None:
    info = detect(environ, "h")
    assert (info.launcher, info.rank, info.size, info.local_rank, info.local_size) == (launcher, 5, 8, 1, 4)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({**OPENMPI, "OMPI_COMM_WORLD_SIZE": "5"}, "rank 5 of 5"),
        ({**OPENMPI, "OMPI_COMM_WORLD_LOCAL_RANK": "4"}, "local rank 4 of 4"),
        ({**OPENMPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "9"}, "local rank 1 of 9"),
        ({**OPENMPI, "OMPI_COMM_WORLD_RANK": "five"}, "OMPI_COMM_WORLD_RANK is five: expected a whole number"),
        ({**OPENMPI, "OMPI_COMM_WORLD_RANK": "-1"}, "OMPI_COMM_WORLD_RANK is -1: expected"),
        ({**OPENMPI, "OMPI_COMM_WORLD_RANK": "٣"}, "OMPI_COMM_WORLD_RANK is ٣: expected"),
        ({"OMPI_COMM_WORLD_RANK": "0"}, "OMPI_COMM_WORLD_SIZE is not"),
        ({"PMIX_RANK": "0"}, "PMIX_RANK is 0, but"),
        ({"PMI_RANK": "1", "PMI_SIZE": "4"}, "without MPI_LOCALRANKID"),
        ({"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1"}, "without MPI_LOCALNRANKS"),
        ({"RANK": "1", "WORLD_SIZE": "4"}, "set it to each rank's number on its host"),
        ({**TASK, "SLURM_STEP_TASKS_PER_NODE": "4(y2)"}, r"4\(y2\): expected numbers"),
        ({**TASK, "SLURM_NODEID": "2"}, "tells of 2 nodes"),
        ({k: v for k, v in TASK.items() if "TASKS_PER" not in k}, "without SLURM_TASKS_PER_NODE"),
    ],
)
def test_what_does_not_fit_is_an_error_of_one_line(environ: dict[str, str], message: str) -> None:
    with pytest.raises(LaunchError, match=message) as caught:
        detect(environ, "h")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "local"),
    [
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, (0, 1)),
        ({**TASK, "SLURM_STEP_TASKS_PER_NODE": "8", "SLURM_NODEID": "0", "SLURM_LOCALID": ""}, (5, 8)),
        ({**TASK, "SLURM_STEP_TASKS_PER_NODE": "1(x8)", "SLURM_NODEID": "5", "SLURM_LOCALID": ""}, (0, 1)),
        ({**TASK, "SLURM_STEP_TASKS_PER_NODE": "2(x3),1,1", "SLURM_NODEID": "2"}, (1, 2)),
        ({**TASK, "SLURM_NODEID": ""}, (1, 4)),
        ({**{k: v for k, v in TASK.items() if "TASKS_PER" not in k}, "SLURM_NNODES": "1"}, (1, 8)),
    ],
)
def test_local_numbers_are_derived(environ: dict[str, str], local: tuple[int, int]) -> None:
    info = detect(environ, "h")
    assert (info.local_rank, info.local_size) == local


@given(counts=st.lists(st.tuples(st.integers(1, 200), st.integers(1, 5)), min_size=1, max_size=6), data=st.data())
def test_slurm_tasks_per_node(counts: list[tuple[int, int]], data: st.DataObject) -> None:
    text = ",".join(f"{n}(x{times})" if times > 1 else str(n) for n, times in counts)
    flat = [n for n, times in counts for _ in range(times)]
    assert expand_counts(text) == flat
    node = data.draw(st.integers(0, len(flat) - 1))
    local = data.draw(st.integers(0, flat[node] - 1))
    rank = sum(flat[:node]) + local
    task = {
        "SLURM_STEP_ID": "3",
        "SLURM_PROCID": str(rank),
        "SLURM_NTASKS": str(sum(flat)),
        "SLURM_LOCALID": str(local),
        "SLURM_NODEID": str(node),
        "SLURM_TASKS_PER_NODE": text,
    }
    info = detect(task, "h")
    assert (info.rank, info.size, info.local_rank, info.local_size) == (rank, sum(flat), local, flat[node])


NAMES = sorted({name for launcher in LAUNCHERS for name in launcher.marks + launcher.rank + launcher.size})
VALUES = st.sampled_from(["", "0", "1", "2", "7", "x", "-1", " 1 ", "1.5", "4294967291"])


@given(environ=st.dictionaries(st.sampled_from([*NAMES, *TASK, *OPENMPI, *HYDRA, *TORCHRUN]), VALUES))
def test_any_variables_give_a_rank_or_an_error(environ: dict[str, str]) -> None:
    try:
        info = detect(environ, "h")
    except LaunchError:
        return
    assert 0 <= info.rank < info.size
    assert 0 <= info.local_rank < info.local_size <= info.size


@pytest.mark.parametrize(
    ("nodelist", "host"),
    [
        ("node7", "node7"),
        ("node7,node9", "node7"),
        ("jwb[0097-0099,0103]", "jwb0097"),
        ("r[07-09,12]n1,login", "r07n1"),
        ("a-[3,5]-b[1-2],c", "a-3-b1"),
        ("n1.cluster.org", "n1.cluster.org"),
    ],
)
def test_first_host(nodelist: str, host: str) -> None:
    assert first_host(nodelist) == host


@pytest.mark.parametrize("nodelist", ["", "[1-2", "n[1-2", "n]1", "a b", ","])
def test_a_node_list_that_is_none(nodelist: str) -> None:
    with pytest.raises(LaunchError, match="expected host names"):
        first_host(nodelist)


@pytest.mark.parametrize("text", ["", "2(x)", "(x2)", "2,,1", "a", "2(x3", "²"])
def test_counts_that_are_none(text: str) -> None:
    with pytest.raises(LaunchError, match="expected numbers"):
        expand_counts(text)


def test_the_older_name_of_the_step() -> None:
    assert is_slurm_task({"SLURM_STEPID": "12"})
    assert not is_slurm_task({})
