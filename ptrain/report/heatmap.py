"""The confusion matrix as squares of an SVG that the page draws: readable from 2 to some hundred classes."""

from collections.abc import Sequence
from dataclasses import dataclass

from ptrain.report.plots import heat_colour, short, text_colour

MAX_SVG_CLASSES = 150
"""Number of classes up to which the page has a square a count; above it the page shows the picture of plots/."""
MAX_TEXT_CLASSES = 20
"""Number of classes up to which the counts are written into the squares."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One square that holds samples."""

    x: float
    y: float
    colour: str
    text: str
    text_colour: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Everything that the template needs; lengths are in pixels of the SVG."""

    title: str
    description: str
    side: float
    """Width and height of a square."""
    left: float
    """Width of the class names on the left."""
    bottom: float
    """Height of the class names below."""
    extent: float
    """Width and height of all squares."""
    font_size: float
    upright: bool
    """Whether the names below are short enough to be written from left to right."""
    names: Sequence[str]
    cells: Sequence[Cell]
    legend: Sequence[tuple[float, str, str]]
    """Position from 0 to 1, colour and label of the steps of the colour scale."""


def heat_maps(counts: Sequence[Sequence[int]], class_names: Sequence[str]) -> list[HeatMap]:
    """The matrix as counts, and as shares of each row; rows are the reference."""
    hints = []
    for row, reference in zip(counts, class_names, strict=True):
        total = max(sum(row), 1)
        hints.append(
            [
                f"{count:,} of {sum(row):,} ({_percent(count / total)}) samples of {reference} predicted as {predicted}"
                for count, predicted in zip(row, class_names, strict=True)
            ]
        )
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    num_right = sum(row[index] for index, row in enumerate(counts))
    num_samples = sum(map(sum, counts))
    errors = [(counts[i][j], i, j) for i in range(len(counts)) for j in range(len(counts)) if i != j and counts[i][j]]
    description = f"{num_right:,} of {num_samples:,} samples are on the diagonal, that is right."
    if errors:
        count, i, j = max(errors, key=lambda error: (error[0], -error[1], -error[2]))
        description += f" The most frequent error is {class_names[i]} taken for {class_names[j]}: {count:,} samples."
    largest = max(max(map(max, counts)), 1)
    return [
        _heat_map(
            "Samples",
            description,
            [[count / largest for count in row] for row in counts],
            [[f"{count}" for count in row] for row in counts],
            hints,
            class_names,
            [(share, f"{round(share * largest):,}") for share in (0.0, 0.25, 1.0)],
        ),
        _heat_map(
            "Per cent of the reference class",
            description,
            shares,
            [[_percent(share, unit="") for share in row] for row in shares],
            hints,
            class_names,
            [(share, f"{100 * share:.0f} %") for share in (0.0, 0.25, 1.0)],
        ),
    ]


def _percent(share: float, unit: str = " %") -> str:
    """A share in per cent with three figures at most, and never 100 or 0 for what is not quite that."""
    value = 100 * share
    if 0 < value < 0.1:
        return f"<0.1{unit}"
    text = f"{value:.1f}" if value < 99.95 or share == 1 else "99.9"
    return text.removesuffix(".0") + unit


def _heat_map(
    title: str,
    description: str,
    shares: Sequence[Sequence[float]],
    texts: Sequence[Sequence[str]],
    hints: Sequence[Sequence[str]],
    class_names: Sequence[str],
    legend: Sequence[tuple[float, str]],
) -> HeatMap:
    num_classes = len(class_names)
    side = max(9.0, min(80.0, 450 / num_classes))
    font_size = min(13.0, 0.9 * side) if num_classes > MAX_TEXT_CLASSES else 13.0
    names = [short(str(name), 16) for name in class_names]
    longest = max(map(len, names))
    upright = longest * font_size * 0.56 < side
    cells = []
    for row, line in enumerate(shares):
        for column, share in enumerate(line):
            if share > 0:
                cells.append(
                    Cell(
                        x=round(column * side, 2),
                        y=round(row * side, 2),
                        colour=heat_colour(share),
                        text=texts[row][column] if num_classes <= MAX_TEXT_CLASSES else "",
                        text_colour=text_colour(heat_colour(share)),
                        hint=hints[row][column],
                    )
                )
    return HeatMap(
        title=title,
        description=description,
        side=round(side, 2),
        left=longest * font_size * 0.56 + 30,
        bottom=(font_size * 1.4 if upright else longest * font_size * 0.56) + 34,
        extent=round(num_classes * side, 2),
        font_size=round(font_size, 2),
        upright=upright,
        names=names,
        cells=cells,
        legend=[(share, heat_colour(share), label) for share, label in legend],
    )
