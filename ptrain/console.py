"""Output of rank 0: lines, tables, and progress as a bar on a terminal or a plain line now and then in a log file."""

import contextlib
import io
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

BAR_INTERVAL = 0.1  # seconds between two drawings of the bar
FIRST_LINE = 10.0  # seconds until the first plain line of progress: shorter work needs none
LINE_INTERVAL = 30.0  # seconds between two plain lines
_ERASE = "\r\x1b[K"


class Console:
    """Prints on rank 0 and is silent on every other rank.

    ``PTRAIN_TERMINAL=<columns>`` in the environment says that a pipe ends on a terminal, as the ranks' output does
    under mpirun. ``NO_COLOR`` and ``FORCE_COLOR`` are respected (no-color.org, force-color.org).
    """

    def __init__(
        self, rank: int = 0, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ, clock: Any = None
    ) -> None:
        self.stream = sys.stdout if stream is None else stream
        self.rank = rank
        columns = environ.get("PTRAIN_TERMINAL", "")
        self._columns = int(columns) if columns.isdecimal() and int(columns) > 0 else None
        # Open MPI 5 gives every rank a terminal of its own, whatever the output of mpirun is.
        own = self.stream.isatty() and not any(name in environ for name in ("PMIX_RANK", "OMPI_COMM_WORLD_RANK"))
        on_terminal = own or self._columns is not None
        self.terminal = on_terminal and environ.get("TERM") != "dumb"
        """Whether lines can be drawn over: only then there is a bar."""
        self.colour = (self.terminal or bool(environ.get("FORCE_COLOR"))) and not environ.get("NO_COLOR")
        self._clock = time.monotonic if clock is None else clock
        self._bar = ""  # what is drawn on the last line of the terminal and must survive the lines above it

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return self._columns or shutil.get_terminal_size().columns

    def say(self, text: str = "") -> None:
        """Print a line."""
        self._write(text + "\n", self.stream)

    def warn(self, text: str) -> None:
        """Print a line of warning on stderr."""
        self._write(f"warning: {text}\n", sys.stderr)

    def tell(self, notes: Sequence[str], warnings: Sequence[str]) -> None:
        """Say what a source of data has to say of its samples: what was left out, converted or matched."""
        for text in notes:
            self.say(f"{'note':<12} {_printable(text)}")
        for text in warnings:
            self.warn(_printable(text))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
        """Print a table; columns of numbers are aligned to the right."""
        if self.rank != 0:
            return
        cells = [[shown(value) for value in row] for row in rows]
        right = [all(_is_numeric(row[index]) for row in cells) and bool(cells) for index in range(len(columns))]
        if self.terminal or self.colour:
            self._write(self._rich_table(columns, cells, right, title), self.stream)
            return
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        lines = [] if title is None else [title]
        lines += [_line(row, widths, right) for row in (columns, ["-" * width for width in widths], *cells)]
        self.say("\n".join(lines))

    def growing_table(self, columns: Sequence[str]) -> Callable[[Sequence[Any]], None]:
        """A function that prints a row of a table; the heading is printed before the first."""
        widths: list[int] = []
        right: list[bool] = []

        def add(values: Sequence[Any]) -> None:
            cells = [shown(value) for value in values]
            if not widths:
                right.extend(map(_is_numeric, cells))
                widths.extend(max(map(len, column)) for column in zip(columns, cells, strict=True))
                heading = _line(columns, widths, right)
                self.say(f"\x1b[1m{heading}\x1b[0m" if self.colour else heading)
            self.say(_line(cells, widths, right))

        return add

    @contextlib.contextmanager
    def progress(
        self, total: int, description: str, unit: str = "steps", completed: int = 0
    ) -> Iterator["ProgressLine"]:
        """Show how far a piece of work is; it starts at ``completed`` of ``total``. The bar is gone at the end."""
        try:
            yield ProgressLine(self, total, description, unit, completed)
        finally:
            self._draw("")

    def _write(self, text: str, stream: TextIO) -> None:
        if self.rank != 0:
            return
        if self._bar:
            self.stream.write(_ERASE)
            self.stream.flush()
        stream.write(text)
        stream.flush()
        if self._bar:
            self.stream.write(self._bar)
            self.stream.flush()

    def _draw(self, bar: str) -> None:
        if bar or self._bar:
            self.stream.write(_ERASE + bar)
            self.stream.flush()
        self._bar = bar

    def _rendered(self, renderable: Any, end: str = "\n") -> str:
        from rich.console import Console as RichConsole

        text, width = io.StringIO(), self.width if self.terminal else 10_000
        rich = RichConsole(
            file=text, force_terminal=True, width=width, no_color=not self.colour, highlight=False, markup=False
        )
        rich.print(renderable, end=end)
        return text.getvalue()

    def _rich_table(self, columns: Sequence[str], cells: list[list[str]], right: list[bool], title: str | None) -> str:
        from rich import box
        from rich.table import Table

        unicode = (self.stream.encoding or "ascii").lower().startswith("utf")
        table = Table(
            title=title,
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD if unicode else box.ASCII2,
            show_edge=False,
            pad_edge=False,
        )
        for name, to_right in zip(columns, right, strict=True):
            table.add_column(name, justify="right" if to_right else "left")
        for row in cells:
            table.add_row(*row)
        return self._rendered(table)


@dataclass
class ProgressLine:
    """How far a piece of work is."""

    console: Console
    total: int
    description: str
    unit: str
    first: int

    def __post_init__(self) -> None:
        self._clock = self.console._clock
        self._start = self._clock()
        first_wait = 0.0 if self.console.terminal else FIRST_LINE
        self._due = self._start + first_wait if self.console.rank == 0 else math.inf

    def update(self, completed: int, text: str = "") -> None:
        """Say that ``completed`` units are done; cheap enough to be called at every step."""
        now = self._clock()
        if now < self._due:
            return
        console = self.console
        self._due = now + (BAR_INTERVAL if console.terminal else LINE_INTERVAL)
        share = completed / self.total if self.total else 1.0
        rate = (completed - self.first) / (now - self._start) if now > self._start else 0.0
        figures = [f"{100 * share:.0f} %", f"{completed:,} of {self.total:,} {self.unit}"]
        if rate > 0:
            speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
            figures += [f"{speed} {self.unit}/s", f"{duration((self.total - completed) / rate)} left"]
        if text:
            figures.append(text)
        if console.terminal:
            console._draw(self._bar(completed, ", ".join(figures)))
        else:
            console.say(f"{self.description}: {', '.join(figures)}")

    def _bar(self, completed: int, figures: str) -> str:
        """One line that is shorter than the terminal is wide, so that it can be drawn over."""
        from rich.progress_bar import ProgressBar

        room = self.console.width - 1
        description, figures = self.description[:room], " " + figures
        length = min(40, room - len(description) - len(figures) - 1)
        if length < 5:
            return (description + figures)[:room]
        bar = ProgressBar(total=max(self.total, 1), completed=completed, width=length)
        return f"{description} {self.console._rendered(bar, end='')}{figures}"


def _printable(text: str) -> str:
    """A text with names of files in it on one line, without what a terminal would obey."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def shown(value: Any) -> str:
    """A value as text for people: four decimals where they say something, thousands separated, - for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value == 0 or 1e-3 <= abs(value) < 1e3:
            return f"{value:.4f}"
        return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.3g}"
    return str(value)


def duration(seconds: float) -> str:
    """Seconds as ``0:07``, ``12:34`` or ``3:07:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _is_numeric(text: str) -> bool:
    try:
        float(text.replace(",", "").removesuffix("%"))
    except ValueError:
        return text in ("-", "–")  # noqa: RUF001, the en dash of undefined scores
    return True


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    columns = zip(cells, widths, right, strict=True)
    return "  ".join(cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in columns).rstrip()
