"""The pictures of a run, drawn with matplotlib without pyplot: PNG files for slides, SVG for the page."""

import functools
import io
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import PowerNorm, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's colours, which colour-blind people can tell apart; dashes and markers tell them apart in print."""
DASHES = ("-", "--", "-.", ":")
MARKERS = "osD^vP*"
SEQUENTIAL = "YlGnBu"
"""Light for little, dark for much, also in grey and for colour-blind people."""
_STYLE: dict[Any, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 120,
    "font.size": 10,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be called $1$
}


@contextmanager
def _drawing(style: Mapping[Any, Any] | None = None) -> Iterator[None]:
    """The style of all plots, and no words about letters that the font lacks: in the page another one has them."""
    with rc_context({**_STYLE, **(style or {})}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a plot over epochs; values may be None."""

    name: str
    epochs: Sequence[int]
    values: Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A drawn figure with the words for those who do not see it."""

    name: str
    title: str
    description: str
    figure: Figure


def curves_plot(name: str, title: str, curves: Sequence[Curve], *, percent: bool = False, small: bool = False) -> Plot:
    """Draw curves over epochs. ``percent``: the values are shares of 1. ``small``: one figure of three, from 0 up."""
    with _drawing():
        figure = Figure(figsize=(4.1, 2.7) if small else (5.2, 3.1))
        axes = figure.add_subplot()
        for index, curve in enumerate(curves):
            points = [(x, y) for x, y in zip(curve.epochs, curve.values, strict=True) if y is not None]
            axes.plot(
                [x for x, _ in points],
                [100 * y if percent else y for _, y in points],
                color=PALETTE[index % len(PALETTE)],
                linestyle=DASHES[index % len(DASHES)],
                marker=MARKERS[index % len(MARKERS)] if len(points) <= 30 else "",
                markersize=4,
                label=curve.name,
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{title.lower()} (%)" if percent else title.lower())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        if small:
            largest = max((value for curve in curves for value in curve.values if value is not None), default=1.0)
            axes.set_ylim(0, 1.08 * (largest or 1.0))
        else:
            axes.legend()
        _lay_out(figure)
    return Plot(name=name, title=title, description=_describe(title, curves, percent), figure=figure)


def _describe(title: str, curves: Sequence[Curve], percent: bool) -> str:
    parts = []
    for curve in curves:
        values = [value for value in curve.values if value is not None]
        if values:
            first, last = (f"{100 * value:.1f} %" if percent else f"{value:.4g}" for value in (values[0], values[-1]))
            parts.append(f"{curve.name} from {first} to {last} in {len(values)} epochs")
    return f"{title}: {'; '.join(parts)}."


def curves_of(runs: Iterable[tuple[str, Sequence[Mapping[str, Any]]]], key: str) -> list[Curve]:
    """The curve of ``key`` for each name and its records, where any of them has a value."""
    curves = [
        Curve(name=name, epochs=[one["epoch"] for one in records], values=[one.get(key) for one in records])
        for name, records in runs
    ]
    return [curve for curve in curves if any(value is not None for value in curve.values)]


def run_plots(metrics: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """The plots of loss, accuracy, learning rate, throughput and time over the epochs of one run."""
    if not metrics:
        return []
    plots = []
    for key in ("loss", "accuracy"):
        both = curves_of([("training", metrics)], f"train_{key}")
        both += curves_of([("validation", metrics)], f"validation_{key}")
        plots.append(curves_plot(key, key.capitalize(), both, percent=key == "accuracy"))
    for name, title, key, label in (
        ("learning_rate", "Learning rate", "learning_rate", "learning rate"),
        ("throughput", "Samples per second", "samples_per_second", "throughput"),
        ("seconds", "Seconds per epoch", "seconds", "time"),
    ):
        plots.append(curves_plot(name, title, curves_of([(label, metrics)], key), small=True))
    return plots


def reliability_plot(bins: Sequence[Mapping[str, Any]], error: float) -> Plot:
    """Draw accuracy against confidence with the number of samples in each bin; ``error`` is the calibration error."""
    with _drawing():
        figure = Figure(figsize=(5.2, 4.4))
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        filled = [row for row in bins if row["count"]]
        middles = [50 * (row["low"] + row["high"]) for row in filled]
        width = 100 * (bins[0]["high"] - bins[0]["low"]) * 0.92
        upper.plot([0, 100], [0, 100], color="#555555", linestyle="--", linewidth=1, label="confidence = accuracy")
        accuracies = [100 * row["accuracy"] for row in filled]
        upper.bar(middles, accuracies, width, color=PALETTE[4], edgecolor=PALETTE[0], label="accuracy in the bin")
        upper.plot(
            [100 * row["confidence"] for row in filled],
            accuracies,
            color=PALETTE[1],
            marker="D",
            markersize=4,
            linestyle="",
            label="at its mean confidence",
        )
        upper.set(xlim=(0, 101), ylim=(0, 103), ylabel="accuracy (%)")
        upper.legend(loc="upper left")
        lower.bar(middles, [row["count"] for row in filled], width, color="#767676")
        lower.set(xlabel="confidence (%)", ylabel="samples")
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        _lay_out(figure)
    text = "; ".join(
        f"{100 * row['confidence']:.0f} % confident, {100 * row['accuracy']:.0f} % right ({row['count']:,} samples)"
        for row in filled
    )
    description = f"Reliability diagram, expected calibration error {error:.4f}. By bin: {text}."
    return Plot(name="reliability", title="Reliability", description=description, figure=figure)


def confusion_plots(counts: Sequence[Sequence[int]], class_names: Sequence[str]) -> list[Plot]:
    """Draw the confusion matrix as counts, and as shares of each row; rows are the reference."""
    matrix = np.asarray(counts, dtype=np.float64)
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return [
        _heat_map("confusion", "Confusion (samples)", matrix, class_names, "{:.0f}"),
        _heat_map("confusion_normalised", "Confusion (% of the reference)", shares, class_names, "{:.1f}"),
    ]


def _heat_map(name: str, title: str, matrix: Any, class_names: Sequence[str], pattern: str) -> Plot:
    num_classes = len(class_names)
    with _drawing({"axes.grid": False, "font.size": 10 if num_classes <= 20 else 6}):
        side = max(4.0, min(11.0, 0.55 * num_classes + 1.5))
        figure = Figure(figsize=(side + 0.8, side))
        axes = figure.add_subplot()
        # The square root keeps few errors visible beside many hits.
        norm = PowerNorm(0.5, vmin=0, vmax=max(matrix.max(), 1))
        image = axes.imshow(matrix, cmap=SEQUENTIAL, norm=norm, interpolation="nearest")
        figure.colorbar(image, ax=axes, shrink=0.8)
        axes.set(xlabel="predicted", ylabel="reference", title=title)
        step = 1 if num_classes <= 100 else -(-num_classes // 50)
        positions = range(0, num_classes, step)
        labels = [short(class_names[position]) for position in positions]
        axes.set_xticks(positions, labels, rotation=90 if max(map(len, labels)) > 3 else 0)
        axes.set_yticks(positions, labels)
        for (row, column), value in np.ndenumerate(matrix if num_classes <= 20 else []):
            if value:
                colour = text_colour(_colours()[round(255 * norm(value))])
                axes.text(column, row, pattern.format(value), ha="center", va="center", color=colour, fontsize=8)
        _lay_out(figure)
    return Plot(name=name, title=title, description=title, figure=figure)


def _lay_out(figure: Figure) -> None:
    """Make room for labels once: savefig would do it anew for every format, and draw everything twice."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def short(name: str, length: int = 18) -> str:
    """A name cut to a length that an axis has room for."""
    return name if len(name) <= length else name[: length - 1] + "…"


def heat_colour(share: float) -> str:
    """The colour of a share from 0 to 1 of the largest value, as #rrggbb, on the scale of the square root."""
    return _colours()[round(255 * math.sqrt(max(0.0, min(1.0, share))))]


@functools.cache
def _colours() -> list[str]:
    return [str(to_hex(colormaps[SEQUENTIAL](step))) for step in range(256)]


@functools.cache
def text_colour(background: str) -> str:
    """Black or white, whichever has the higher contrast on a colour (luminance after WCAG 2.2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(background)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


def to_png(plot: Plot) -> bytes:
    """The figure as a PNG file."""
    file = io.BytesIO()
    plot.figure.dpi = _STYLE["figure.dpi"]  # drawing an SVG leaves another
    with _drawing():
        canvas: Any = FigureCanvasAgg(plot.figure)
        canvas.print_png(file, metadata={"Description": plot.description})
    return file.getvalue()


def to_svg(plot: Plot) -> str:
    """The figure as an SVG element for the page: it takes the width that there is, and its text stays text."""
    text = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # The salt makes the names of clip paths the same every time, and different in every figure of the page.
    with _drawing({"svg.hashsalt": plot.name}):
        canvas: Any = FigureCanvasSVG(plot.figure)
        canvas.print_svg(text, metadata=metadata)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    start = r'<svg \1 xmlns="http://www.w3.org/2000/svg" aria-hidden="true">'
    svg = re.sub(r'<svg[^>]*(viewBox="[^"]*")[^>]*>', start, svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    return re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", svg)
