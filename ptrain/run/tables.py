"""The tables of an evaluation on the terminal."""

from collections.abc import Mapping
from typing import Any

from ptrain.console import Console
from ptrain.evaluation.table import evaluation_tables


def show(console: Console, summary: Mapping[str, Any]) -> None:
    """Print the tables of an evaluation."""
    for table in evaluation_tables(summary):
        console.say()
        console.table(table.columns, table.rows, table.title)
        for note in table.notes:
            console.say(note)
    console.say()
