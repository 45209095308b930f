"""The confusion matrix as squares of an SVG that the page draws: readable from 2 to some hundred classes."""

from collections.abc import Sequence
from typing import Any

from ptrain.report.plots import heat_colour, short, text_colour

MAX_SVG_CLASSES = 150
"""Number of classes up to which the page has a square a count; above it the page shows the picture of plots/."""
MAX_TEXT_CLASSES = 20
"""Number of classes up to which the counts are written into the squares."""


def heat_maps(counts: Sequence[Sequence[int]], class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The matrix as counts, and as shares of each row, as the template draws them; rows are the reference.

    Lengths are in pixels of the SVG. Only squares that hold samples are there.
    """
    num_classes, totals = len(class_names), [sum(row) for row in counts]
    filled = [(i, j, count) for i, row in enumerate(counts) for j, count in enumerate(row) if count]
    largest = max(max(map(max, counts)), 1)
    side = max(9.0, min(80.0, 450 / num_classes))
    font_size = min(13.0, 0.9 * side) if num_classes > MAX_TEXT_CLASSES else 13.0
    names = [short(str(name), 16) for name in class_names]
    longest = max(map(len, names)) * font_size * 0.56
    upright = longest < side
    layout = {
        "description": _description(filled, class_names),
        "side": round(side, 2),  # of a square
        "left": longest + 30,  # width of the class names on the left
        "bottom": (font_size * 1.4 if upright else longest) + 34,  # height of the class names below
        "extent": round(num_classes * side, 2),  # of all squares
        "font_size": round(font_size, 2),
        "upright": upright,  # whether the names below are short enough to be written from left to right
        "names": names,
    }
    maps = []
    for title, bottoms, percent in (
        ("Samples", [largest] * num_classes, False),
        ("Per cent of the reference class", totals, True),
    ):
        cells = []
        for i, j, count in filled:
            share, colour = _percent(count / totals[i]), heat_colour(count / bottoms[i])
            text = share.removesuffix(" %") if percent else f"{count}"
            hint = f"{count:,} of {totals[i]:,} ({share}) samples of {class_names[i]} predicted as {class_names[j]}"
            cells.append(
                {
                    "x": round(j * side, 2),
                    "y": round(i * side, 2),
                    "colour": colour,
                    "text": text if num_classes <= MAX_TEXT_CLASSES else "",
                    "text_colour": text_colour(colour),
                    "hint": hint,
                }
            )
        # where on the scale, from 0 to 1, which colour, and its label
        legend = [
            (step, heat_colour(step), f"{100 * step:.0f} %" if percent else f"{round(step * largest):,}")
            for step in (0.0, 0.25, 1.0)
        ]
        maps.append({"title": title, "cells": cells, "legend": legend, **layout})
    return maps


def _description(filled: Sequence[tuple[int, int, int]], class_names: Sequence[str]) -> str:
    right, total = sum(count for i, j, count in filled if i == j), sum(count for _, _, count in filled)
    text = f"{right:,} of {total:,} samples are on the diagonal, that is right."
    errors = [(count, -i, -j) for i, j, count in filled if i != j]
    if errors:
        count, i, j = max(errors)  # the first of equal ones, hence the signs
        text += f" The most frequent error is {class_names[-i]} taken for {class_names[-j]}: {count:,} samples."
    return text


def _percent(share: float) -> str:
    """A share in per cent with three figures at most, and never 100 or 0 for what is not quite that."""
    value = 100 * share
    if 0 < value < 0.1:
        return "<0.1 %"
    text = f"{value:.1f}" if value < 99.95 or share == 1 else "99.9"
    return text.removesuffix(".0") + " %"
