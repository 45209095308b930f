"""Pictures of scenes and class maps as PNG files, with a legend."""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ptrain.report.plots import short

LONGEST = 1200
"""Pixels on the longer side of the image in a picture; of larger ones every second, third, ... pixel is shown."""
UNCLASSIFIED = (236, 236, 236)
_STYLE: dict[Any, Any] = {
    "figure.dpi": 130,
    "font.size": 9,
    "legend.frameon": False,
    "text.parse_math": False,  # a class may be called $1$
}


def stride_of(height: int, width: int) -> int:
    """Which of the pixels are shown: every ``stride``-th row and column."""
    return max(1, math.ceil(max(height, width) / LONGEST))


def paint(
    values: NDArray[np.integer[Any]], classes: Sequence[int], colors: Sequence[tuple[int, int, int]]
) -> NDArray[np.uint8]:
    """Class values (h, w), at most max(classes), as colours (h, w, 3), light grey where there is no class."""
    table = np.full((max(classes) + 1, 3), UNCLASSIFIED, np.uint8)
    table[list(classes)] = colors
    painted: NDArray[np.uint8] = table[values]
    return painted


def composite(pixels: NDArray[np.generic], bands: Sequence[int], missing: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Three bands as red, green and blue, each stretched between its 2nd and 98th percentile. (h, w, 3)."""
    image = np.full((*pixels.shape[:2], 3), 255, np.uint8)
    for channel, band in enumerate(bands):
        values = pixels[:, :, band].astype(np.float64)
        if missing.all():
            break
        low, high = np.percentile(values[~missing], [2, 98])
        scaled = np.clip((values - low) / ((high - low) or 1.0), 0, 1) ** 0.8
        image[:, :, channel] = np.where(missing, 255, np.rint(255 * scaled))
    return image


def draw(
    panels: Sequence[tuple[str, NDArray[np.uint8]]],
    names: Sequence[str],
    colors: Sequence[tuple[int, int, int]],
    shares: Sequence[float] | None = None,
    unclassified: str | None = None,
) -> bytes:
    """A PNG with images side by side and the legend of the classes on the right.

    panels: title and image (h, w, 3) each. shares: of each class, shown in the legend. unclassified: what light grey
    stands for, where it occurs.
    """
    height, width = panels[0][1].shape[:2]
    entries = len(names) + (unclassified is not None)
    columns = math.ceil(entries / 28)
    # inches: the images get an area that is about the same for any shape, the legend what its text needs
    side = 4.6 if len(panels) > 1 else 5.4
    across = side * min(1.6, max(0.5, math.sqrt(width / height)))
    down = max(1.2, min(across * height / width, 11.0))
    longest = max((len(name) for name in names), default=0)
    legend = columns * (0.65 + 0.075 * (min(longest, 40) + (8 if shares is not None else 0)))
    high = max(down + 0.45, 0.25 + 0.21 * min(entries, 28))
    total = len(panels) * (across + 0.15) + legend
    with rc_context(_STYLE):
        figure = Figure(figsize=(total, high))
        for index, (title, image) in enumerate(panels):
            left = (0.08 + index * (across + 0.15)) / total
            axes: Axes = figure.add_axes((left, (high - down - 0.35) / high, across / total, down / high))
            axes.imshow(image, interpolation="nearest" if max(image.shape) < 700 else "antialiased")
            axes.set_title(title, loc="left", fontsize=10)
            axes.set_axis_off()
        labels = [short(name, 40) for name in names]
        if shares is not None:
            labels = [f"{label}  {_percent(share)}" for label, share in zip(labels, shares, strict=True)]
        legend_of = [
            *zip(colors, labels, strict=True),
            *([] if unclassified is None else [(UNCLASSIFIED, unclassified)]),
        ]
        figure.legend(
            handles=[
                Patch(facecolor=(r / 255, g / 255, b / 255), edgecolor="#777777", linewidth=0.4, label=label)
                for (r, g, b), label in legend_of
            ],
            loc="upper left",
            bbox_to_anchor=((len(panels) * (across + 0.15)) / total, (high - 0.3) / high),
            ncols=columns,
            handlelength=1.2,
            handleheight=1.2,
            labelspacing=0.5,
            borderaxespad=0.3,
        )
        file = io.BytesIO()
        FigureCanvasAgg(figure).print_png(file)  # type: ignore[no-untyped-call]
    return file.getvalue()


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 or share == 0 else "< 0.1 %"
