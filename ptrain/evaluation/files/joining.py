"""Two files of the same samples: which first lines are headings, and which rows belong together."""

import numpy as np

from ptrain.errors import DataError
from ptrain.evaluation.files.classes import counts_lines
from ptrain.evaluation.files.columns import ClassColumn, Ids
from ptrain.evaluation.files.headings import is_word
from ptrain.evaluation.files.lines import listing
from ptrain.evaluation.files.tables import Table


def settle(found: Table, reference: Table) -> tuple[Table, Table, list[str]]:
    """Decide of text files whether their first lines are headings, and say what was guessed.

    A first line is none where it is a class of the other file, or where the numbers of rows say so.
    """
    ways = [_ways(found, reference), _ways(reference, found)]
    sizes = [len(table.rows) or len(table.columns[0].values) for table in (found, reference)]
    together = [(first, second) for first in ways[0] for second in ways[1]]
    fitting = [(first, second) for first, second in together if sizes[0] - first == sizes[1] - second]
    chosen = (fitting or together)[0]
    said = [
        f"{table.path}: the first line is a heading ({listing(table.rows[0], 4)})"
        for table, heading in zip((found, reference), chosen, strict=True)
        if heading and not any(map(is_word, table.rows[0]))
    ]
    tables = [
        table.settled(heading) if table.rows else table
        for table, heading in zip((found, reference), chosen, strict=True)
    ]
    return tables[0], tables[1], said


def _ways(table: Table, other: Table) -> tuple[bool, ...]:
    """Whether the first line of a file may be a heading, the more probable first."""
    if table.heading in ("none", "certain"):
        return (table.heading == "certain",)
    cells = set(table.rows[0]) - {""}
    if any(not cells.isdisjoint(row) for row in other.rows[1:]):
        return (False, True)
    return (True,) if table.heading == "sure" else (True, False)


def join(found: ClassColumn, reference: ClassColumn) -> tuple[ClassColumn, list[str]]:
    """Put the predictions into the order of the labels, by ids where both have some, and say so.

    Raises DataError where the files do not hold the same samples.
    """
    pair = _shared(found, reference)
    if pair is not None:
        theirs, ours = pair
        if np.array_equal(theirs.values, ours.values):
            return found, []
        by_id = np.argsort(theirs.values, kind="stable")
        order = by_id[np.searchsorted(theirs.values[by_id], ours.values)]
        name = f"column {ours.heading}" if ours.heading else "the first column"
        return found.taken(order), [f"rows of {found.path} put into the order of {reference.path} by {name}"]
    sizes = [len(column.classes) for column in (found, reference)]
    if sizes[0] != sizes[1]:
        raise DataError(
            f"{sizes[1]} labels in {reference.path} and {sizes[0]} predictions in {found.path}: "
            "expected one of each a sample, in the same order"
        )
    if found.gaps and reference.gaps and found.gaps != reference.gaps:
        raise DataError(
            f"{found.path} and {reference.path} have empty lines at different places: expected a class a sample; "
            "fill them, or give both files ids"
        )
    if not (found.ids and reference.ids):
        return found, [
            f"{column.path} matched by the order of its rows, since the other file has no ids"
            for column in (found, reference)
            if any(counts_lines(ids.values) != "in order" for ids in column.ids)
        ]
    _check_order_alone(found, reference)
    return found, [f"{found.path} and {reference.path} matched by the order of their rows: one only counts them"]


def _shared(found: ClassColumn, reference: ClassColumn) -> tuple[Ids, Ids] | None:
    """Ids that both files have, each once (or in the same order); those of the same heading first."""
    pairs = [(theirs, ours) for theirs in found.ids for ours in reference.ids]
    for theirs, ours in sorted(pairs, key=lambda pair: pair[0].heading != pair[1].heading):
        if np.array_equal(theirs.values, ours.values):
            return theirs, ours
        ordered = np.sort(theirs.values)
        if np.array_equal(ordered, np.sort(ours.values)) and (ordered[1:] != ordered[:-1]).all():
            return theirs, ours
    return None


def _check_order_alone(found: ClassColumn, reference: ClassColumn) -> None:
    """Refuse files with different ids, unless those of one only count its rows and the others are something else."""
    theirs, ours = found.ids[0], reference.ids[0]
    for first, second in ((theirs, ours), (ours, theirs)):
        if first.only_counts and counts_lines(second.values) != "permuted":
            return
    for ids, column, of_it in ((ours, found, "labels"), (theirs, reference, "predictions")):
        missing = np.flatnonzero(~np.isin(ids.values, theirs.values if ids is ours else ours.values))
        if missing.size:
            raise DataError(
                f"{column.origin}: no id {ids.values[missing[0]]}, which the {of_it} have ({missing.size:,} are "
                "missing); expected the same samples in both files"
            )
    raise DataError(f"{found.origin} and {reference.origin}: ids occur more than once; expected one row a sample")
