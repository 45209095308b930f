"""Output of rank 0: plain text in a log file, tables and a bar on a real (pseudo) terminal."""

import io
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from ptrain.console import Console, duration, shown


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def plain(rank: int = 0, clock: Callable[[], float] | None = None) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(rank, stream, environ={}, clock=clock), stream


def in_terminal(program: str, **environ: str) -> str:
    """Run Python code with its output on a terminal of 80 columns and return all that it wrote."""
    leader, follower = pty.openpty()
    env = {"PATH": os.environ["PATH"], "COLUMNS": "80", "LINES": "24", "TERM": "xterm", "LANG": "C.UTF-8", **environ}
    code = f"from ptrain.console import Console\nconsole = Console()\n{program}"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=follower, stderr=follower, env=env)
    os.close(follower)
    output, limit = b"", time.monotonic() + 60
    while time.monotonic() < limit:
        if select.select([leader], [], [], 1.0)[0]:
            try:
                chunk = os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
            output += chunk
    os.close(leader)
    process.kill()
    assert process.wait(10) == 0, output.decode()
    return output.decode()


def screen(output: str) -> list[str]:
    """Return the lines that a terminal shows at the end: carriage return, erase to the end of the line, colours."""
    lines, column = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", output):
        if part == "\r":
            column = 0
        elif part == "\n":
            lines.append("")
            column = 0
        elif part == "\x1b[K":
            lines[-1] = lines[-1][:column]
        elif part.startswith("\x1b"):
            assert part.endswith("m"), f"only colours besides: {part!r}"
        else:
            lines[-1] = lines[-1][:column].ljust(column) + part + lines[-1][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines]


def test_a_table_in_a_log_file_is_aligned_text() -> None:
    console, stream = plain()
    console.table(["class", "support", "F1"], [["cat", 1200, 0.91234], ["zebra", 7, None]], title="Classes")
    assert stream.getvalue().splitlines() == [
        "Classes",
        "class  support      F1",
        "-----  -------  ------",
        "cat      1,200  0.9123",
        "zebra        7       -",
    ]


def test_a_table_without_rows_is_its_heading() -> None:
    console, stream = plain()
    console.table(["a", "b"], [])
    assert stream.getvalue() == "a  b\n-  -\n"


def test_a_growing_table_prints_its_heading_once_and_every_row_at_once() -> None:
    console, stream = plain()
    table = console.growing_table(["epoch", "loss", "note"])
    assert stream.getvalue() == ""
    table([1, 0.5, "best"])
    assert stream.getvalue().splitlines() == ["epoch    loss  note", "    1  0.5000  best"]
    table([10, None, ""])
    assert stream.getvalue().splitlines()[2:] == ["   10       -"]


def test_other_ranks_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    console, stream = plain(rank=1, clock=clock)
    console.say("x")
    console.warn("x")
    console.table(["a"], [[1]], title="t")
    console.growing_table(["a"])([1])
    with console.progress(10, "train") as progress:
        clock.now += 1000
        progress.update(5)
    assert stream.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def test_warnings_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    plain()[0].warn("few samples")
    assert capsys.readouterr() == ("", "warning: few samples\n")


def test_a_log_file_gets_a_line_of_progress_now_and_then() -> None:
    clock = Clock()
    console, stream = plain(clock=clock)
    with console.progress(1600, "train") as progress:
        for step in range(1, 1601):
            clock.now += 1 / 16
            progress.update(step, "loss 0.5")
    assert stream.getvalue().splitlines() == [
        "train: 10 %, 160 of 1,600 steps, 16 steps/s, 1:30 left, loss 0.5",
        "train: 40 %, 640 of 1,600 steps, 16 steps/s, 1:00 left, loss 0.5",
        "train: 70 %, 1,120 of 1,600 steps, 16 steps/s, 0:30 left, loss 0.5",
        "train: 100 %, 1,600 of 1,600 steps, 16 steps/s, 0:00 left, loss 0.5",
    ]


def test_short_work_leaves_no_line_in_a_log_file() -> None:
    clock = Clock()
    console, stream = plain(clock=clock)
    with console.progress(10, "train") as progress:
        for step in range(10):
            clock.now += 0.9
            progress.update(step)
    assert stream.getvalue() == ""


def test_the_speed_of_a_continued_run_counts_only_its_own_steps() -> None:
    clock = Clock()
    console, stream = plain(clock=clock)
    with console.progress(1000, "train", completed=900) as progress:
        clock.now += 20
        progress.update(920)
    assert "1 steps/s, 1:20 left" in stream.getvalue()


@pytest.mark.alone
def test_an_update_that_is_not_due_costs_less_than_two_microseconds() -> None:
    for rank in (0, 1):
        console, _ = plain(rank)
        with console.progress(10, "train") as progress:
            best = float("inf")
            for _ in range(20):
                start = time.perf_counter()
                for _ in range(1000):
                    progress.update(5, "loss")
                best = min(best, (time.perf_counter() - start) / 1000)
        assert best < 2e-6


ROWS_UNDER_A_BAR = """
import sys, time
table = console.growing_table(["epoch", "loss"])
with console.progress(30, "train") as progress:
    for step in range(30):
        time.sleep(0.02)
        progress.update(step + 1, "loss 0.5")
        if step % 10 == 9:
            table([step // 10 + 1, 0.5])
        if step == 15:
            console.warn("few samples")
console.say("done")
"""


def test_a_bar_never_destroys_the_lines_above_it_and_is_gone_at_the_end() -> None:
    output = in_terminal(ROWS_UNDER_A_BAR)
    assert "━" in output
    assert "of 30 steps" in output
    expected = ["epoch    loss", "    1  0.5000", "warning: few samples", "    2  0.5000", "    3  0.5000", "done", ""]
    assert screen(output) == expected


@pytest.mark.alone
def test_a_bar_is_drawn_at_most_ten_times_a_second_and_fits_the_line() -> None:
    output = in_terminal(
        "import time\nstart = time.monotonic()\nwith console.progress(10**6, 'train') as progress:\n"
        "    while time.monotonic() < start + 0.55:\n        progress.update(7, 'x' * 200)\n"
    )
    bars = re.findall(r"\r\x1b\[K([^\r]+)", output)
    assert 2 <= len(bars) <= 6
    assert all(len(bar) < 80 for bar in bars)


def test_an_error_under_a_bar_starts_on_a_clean_line() -> None:
    output = in_terminal(
        "try:\n    with console.progress(10, 'train') as progress:\n        progress.update(5)\n        1 / 0\n"
        "except ZeroDivisionError:\n    console.say('error')\n"
    )
    assert "of 10 steps" in output
    assert screen(output) == ["error", ""]


TABLE = "console.table(['class', 'F1'], [['a [x]', 0.5], ['b', 0.25]], title='Scores')"


def test_a_table_on_a_terminal_shows_the_same_cells() -> None:
    output = in_terminal(TABLE)
    assert "\x1b[" in output
    shown_lines = screen(output)
    assert [line.split() for line in shown_lines if "0." in line] == [["a", "[x]", "0.5000"], ["b", "0.2500"]]
    assert shown_lines[0] == "Scores"


def has_colours(output: str) -> bool:
    """Whether any colour is set, from 30 to 37 or 90 to 97; bold is none."""
    return re.search(r"\x1b\[[0-9;]*[39][0-7]", output) is not None


def test_no_color_keeps_the_bar_without_colours() -> None:
    program = "with console.progress(10, 'train') as progress:\n    progress.update(5)\n"
    assert has_colours(in_terminal(program))
    output = in_terminal(program, NO_COLOR="1")
    assert "━" in output
    assert not has_colours(output)


def test_a_dumb_terminal_gets_plain_lines() -> None:
    assert "\x1b" not in in_terminal(TABLE + "\n" + ROWS_UNDER_A_BAR, TERM="dumb")


def test_the_terminal_that_mpirun_makes_for_a_rank_is_none() -> None:
    assert "\x1b" not in in_terminal(TABLE + "\n" + ROWS_UNDER_A_BAR, PMIX_RANK="0")


def test_a_pipe_that_ends_on_a_terminal_has_its_width() -> None:
    stream = io.StringIO()
    console = Console(stream=stream, environ={"PTRAIN_TERMINAL": "40", "PMIX_RANK": "0"})
    assert console.terminal
    assert console.width == 40
    with console.progress(1000, "train") as progress:
        progress.update(5, "a text that does not fit")
    bars = re.findall(r"\r\x1b\[K([^\r]+)", stream.getvalue())
    assert len(bars) == 1
    assert len(bars[0]) < 40


@pytest.mark.parametrize("columns", ["", "0", "wide", "-3"])
def test_a_width_that_is_none_is_ignored(columns: str) -> None:
    assert not Console(stream=io.StringIO(), environ={"PTRAIN_TERMINAL": columns}).terminal


def test_force_color_colours_a_log_file_but_draws_no_bar() -> None:
    stream, clock = io.StringIO(), Clock()
    console = Console(stream=stream, environ={"FORCE_COLOR": "1"}, clock=clock)
    console.growing_table(["a"])([1])
    with console.progress(10, "train") as progress:
        clock.now += 60
        progress.update(5)
    assert stream.getvalue() == "\x1b[1ma\x1b[0m\n1\ntrain: 50 %, 5 of 10 steps, 0.083 steps/s, 1:00 left\n"


def test_values_are_shown_for_people() -> None:
    values = [None, True, False, 1797, 0.0, 0.91234, 12.5, 123456.0, 1e-5, 1e12, float("nan"), "text"]
    expected = ["-", "yes", "no", "1,797", "0.0000", "0.9123", "12.5000", "123,456", "1e-05", "1e+12", "nan", "text"]
    assert [shown(value) for value in values] == expected


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0, 7.4, 754, 11220)] == ["0:00", "0:07", "12:34", "3:07:00"]
