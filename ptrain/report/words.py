"""Values as people read them."""

from typing import Any

from ptrain.evaluation.table import UNDEFINED


def number(value: Any) -> str:
    """A number for people: whole ones with separators, others with four figures."""
    if value is None:
        return UNDEFINED
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def percent(value: float | None) -> str:
    """A share of 1 in per cent with two decimals."""
    return UNDEFINED if value is None else f"{100 * value:.2f} %"


def duration(seconds: float) -> str:
    """Seconds as 0.42 s, 12 s, 3 min 20 s or 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
