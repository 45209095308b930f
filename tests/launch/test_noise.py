"""What of mpirun's stderr reaches the user. The messages are those of Open MPI 4.1 and 5.0 and of MPICH 5.0."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrain.launch.noise import NoiseFilter

RULE = b"-" * 74 + b"\n"
EXITED_5 = (
    RULE
    + b"prterun detected that one or more processes exited with non-zero status,\n"
    + b"thus causing the job to be terminated. The first process to do so was:\n\n"
    + b"   Process name: [prterun-vm-4613@1,1]\n   Exit code:    75\n"
    + RULE
)
EXITED_4 = (
    RULE
    + b"Primary job  terminated normally, but 1 process returned\n"
    + b"a non-zero exit code. Per user-direction, the job has been aborted.\n"
    + RULE
    + RULE
    + b"mpirun detected that one or more processes exited with non-zero status, thus causing\n"
    + b"the job to be terminated. The first process to do so was:\n\n"
    + b"  Process name: [[14325,1],0]\n  Exit code:    2\n"
    + RULE
)
ABORTED_5 = (
    RULE
    + b"MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD\n  Proc: [[30504,1],1]\n  Errorcode: 3\n\n"
    + b"NOTE: invoking MPI_ABORT causes Open MPI to kill all MPI processes.\n"
    + RULE
    + RULE
    + b'prterun has exited due to process rank 1 with PID 0 on node vm calling\n"abort". This may have caused other\n'
    + RULE
    + b"\0"
)
ABORTED_MPICH = b"Abort(3) on node 1 (rank 1 in comm 0): application called MPI_Abort(MPI_COMM_WORLD, 3) - process 1\n"
KILLED_5 = RULE + b"prterun noticed that process rank 1 with PID 4622 on node vm exited on\nsignal 9 (Killed).\n" + RULE
KILLED_4 = (
    RULE
    + b"mpirun noticed that process rank 12 with PID 0 on node n1 exited on signal 11 (Segmentation fault).\n"
    + RULE
)
NO_SLOTS = RULE + b"There are not enough slots available in the system\n\n  true\n" + RULE + b"\0"


def passed(pieces: Sequence[bytes]) -> bytes:
    noise = NoiseFilter()
    return b"".join(noise.feed(piece) for piece in pieces) + noise.close()


@pytest.mark.parametrize("message", [EXITED_5, EXITED_4, ABORTED_5, ABORTED_MPICH])
def test_what_ranks_have_said_themselves_is_dropped(message: bytes) -> None:
    assert passed([message]) == b""
    assert passed([b"error: --lr 0\n" + message]) == b"error: --lr 0\n"
    assert passed([message[:-80]]) == b"" or message is ABORTED_MPICH


def test_a_killed_rank_is_named_once() -> None:
    want = b"error: rank 1 on vm was ended by signal 9 (SIGKILL), as when memory runs out\n"
    assert passed([KILLED_5]) == passed([KILLED_5, EXITED_5, KILLED_5]) == want
    assert passed([KILLED_4]) == b"error: rank 12 on n1 was ended by signal 11 (SIGSEGV), a crash inside a library\n"
    noise = NoiseFilter()
    noise.feed(KILLED_5)
    assert noise.signal == 9


def test_errors_of_mpirun_itself_pass() -> None:
    assert passed([NO_SLOTS]) == NO_SLOTS[:-1]
    assert passed([NO_SLOTS + EXITED_5]).rstrip(b"-\n") == NO_SLOTS.rstrip(b"\0").rstrip(b"-\n")
    assert passed([b"Fatal error in PMPI_Send: Abort(1)\n"]) == b"Fatal error in PMPI_Send: Abort(1)\n"


def test_a_progress_bar_is_shown_at_once() -> None:
    noise = NoiseFilter()
    assert noise.feed(b"epoch 1\n\r 10 %") == b"epoch 1\n\r 10 %"
    assert noise.feed(b"\r 20 %") == b"\r 20 %"
    assert noise.feed(b"\r 30 % ----------\n") == b"\r 30 % ----------\n"
    assert noise.feed(b"----") == b""
    assert noise.feed(b" a line\n") == b"---- a line\n"


MESSAGES = [EXITED_4, EXITED_5, ABORTED_5, KILLED_5]
TEXT = st.text(alphabet="ab -\r\n=A", max_size=60).map(lambda text: text.encode() + b"\n")


@given(data=st.data(), texts=st.lists(TEXT, max_size=4))
def test_pieces_of_any_size_give_the_same(data: st.DataObject, texts: list[bytes]) -> None:
    whole = b"".join(text + data.draw(st.sampled_from([b"", *MESSAGES])) for text in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert passed(pieces) == passed([whole])


@given(text=st.binary(max_size=200).filter(lambda text: b"\0" not in text and not text.endswith(b" ")))
def test_other_output_passes_unchanged(text: bytes) -> None:
    assert passed([text]) == text
