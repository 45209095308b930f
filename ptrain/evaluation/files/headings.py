"""What the heading of a column says it is, and whether a first line is a heading at all."""

import re
from collections.abc import Sequence
from typing import Literal

from ptrain.evaluation.files.lines import is_number

Kind = Literal["counter", "id", "probability", "score", "prediction", "reference", "class", "other"]
Evidence = Literal["certain", "sure", "likely", "none"]

_COUNTER = {"index", "idx", "sample", "row", "rownumber", "rowid", "nr", "no", "number", "unnamed0", "indexlevel0"}
_ID = {"id", "ids", "image", "images", "file", "files", "filename", "filenames", "path", "filepath", "name", "key"}
_ID |= {"uid", "uuid", "guid", "fid", "objectid", "imagename", "samplename", "img"}
_SCORE = {"probability", "probabilities", "prob", "probs", "proba", "score", "scores", "confidence", "conf", "logit"}
_SCORE |= {"logits", "certainty"}
_PREDICTION = {"pred", "preds", "predicted", "prediction", "predictions", "predict", "ypred", "yhat", "hat"}
_PREDICTION |= {"predclass", "predlabel", "output", "guess", "classified", "forecast"}
_REFERENCE = {"truth", "groundtruth", "gt", "actual", "actuals", "reference", "ref", "gold", "observed", "expected"}
_REFERENCE |= {"ytrue", "ytest", "annotation", "true", "real", "truelabel", "trueclass"}
_CLASS = {"class", "classes", "label", "labels", "category", "categories", "target", "targets", "y"}
_FILLING = {"id", "name", "names", "code", "number", "nr", "no", "value", "index", "idx"}
_UNSURE = {
    "y",
    "true",
    "real",
    "target",
    "targets",
    "no",
    "number",
    "name",
    "row",
    "key",
    "output",
    "guess",
    "expected",
    "path",
}
"""Words that may as well be names of classes: alone they do not make a heading."""
_PREFIX = re.compile(r"p|prob|probs|proba|probability|score|logit|logits", re.IGNORECASE)


def kind_of(heading: str) -> Kind:
    """What a heading says of its column, in any case, with spaces, underscores or nothing between its words."""
    if class_of_probability(heading) is not None:
        return "probability"
    tokens = _tokens(heading)
    joined = "".join(tokens)
    words = {*tokens, joined}
    if not tokens or joined in _COUNTER:
        return "counter"
    if words & _SCORE:
        return "score"
    if words & _PREDICTION:
        return "prediction"
    if words & _REFERENCE:
        return "reference"
    if tokens[-1] in _CLASS or (words & _CLASS and set(tokens) <= _CLASS | _FILLING):
        return "class"
    return "id" if joined in _ID or {"id", "ids"} & {tokens[0], tokens[-1]} else "other"


def class_of_probability(heading: str) -> str | None:
    """The class in a heading p(class), as ptrain predict writes it; None for others."""
    return heading[2:-1] if heading.startswith("p(") and heading.endswith(")") else None


def without_prefix(headings: Sequence[str]) -> list[str]:
    """The classes in headings such as prob_cat, prob_dog; as they are where not all begin so."""
    found = [re.fullmatch(rf"(?:{_PREFIX.pattern})[ _.:-]+(.+)", heading, re.IGNORECASE) for heading in headings]
    return [match[1].strip() for match in found if match] if all(found) else list(headings)


def evidence(rows: Sequence[Sequence[str]]) -> Evidence:
    """How much speaks for the first line being a heading.

    Certain: several columns have text above numbers, or the numbers of classes are above probabilities. Sure: there is
    a word that columns are called by, or text above numbers, or a number above text. Likely: no cell occurs again in
    its column, while others below do. A word that occurs below in its own column is a class.
    """
    if len(rows) < 2:
        return "sure" if rows and any(map(is_word, rows[0])) else "none"
    columns = [column for column in zip(*rows, strict=True) if any(column)]
    if any(column[0] in column[1:] and not is_number(column[0]) for column in columns):
        return "none"
    differing = sum(map(_differs, columns))
    if differing > 1 or _numbers_classes(rows):
        return "certain"
    if differing or any(map(is_word, rows[0])):
        return "sure"
    again = any(2 * len(set(column[1:])) <= len(column) - 1 and not is_number(column[0]) for column in columns)
    return "likely" if again and not any(column[0] in column[1:] for column in columns) else "none"


def _tokens(heading: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", heading)
    return re.findall(r"[^\W_]+", spaced.casefold())


def is_word(cell: str) -> bool:
    """Whether a cell is a word that columns are called by and classes hardly are."""
    if is_number(cell):
        return False
    kind, joined = kind_of(cell), "".join(_tokens(cell))
    return bool(joined) and kind != "other" and joined not in _UNSURE


def _differs(column: Sequence[str]) -> bool:
    """Text (or nothing) above numbers, or a whole number above text."""
    first, *below = column
    if is_number(first):
        return first.isdecimal() and len(below) > 1 and not any(map(is_number, below))
    return all(map(is_number, below))


def _numbers_classes(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line numbers the classes of the probabilities, or scores, below."""
    first = rows[0]
    if len(first) < 2 or not all(cell.isdecimal() for cell in first) or len(set(first)) < len(first):
        return False
    if not all(is_number(cell) for row in rows[1:] for cell in row):
        return False
    if all(abs(sum(map(float, row)) - 1) < 1e-2 for row in rows[1:]):
        return sum(map(int, first)) != 1 or any("." in cell for row in rows[1:] for cell in row)
    counts_up = list(map(int, first)) in (list(range(len(first))), list(range(1, len(first) + 1)))
    return counts_up and any(not float(cell).is_integer() for row in rows[1:] for cell in row)
