"""Which arrays of a file are features and labels, and of which split: one table of names for every format.

A name is a word for features or labels, alone or with a split before or after it, in any case: ``x``, ``X_train``,
``trainY``, ``val_images``, ``train_set_x``; or it is in a group with the name of a split, ``train/x``.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ptrain.errors import DataError

SPLITS = {
    "train": ("train", "training", "tr"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "te"),
}
"""Splits of a data set, and what they are called."""
PAIRS = (
    *(("features", "labels"), ("x", "y"), ("data", "labels"), ("data", "label"), ("data", "target")),
    *(("data", "y"), ("images", "labels"), ("images", "label"), ("image", "label"), ("inputs", "targets")),
    *(("input", "target"), ("features", "target"), ("features", "label"), ("fea", "gnd")),
)
"""Names of features and labels that belong together; of several the first that is there."""
FEATURES, LABELS = (tuple(dict.fromkeys(pair[place] for pair in PAIRS)) for place in (0, 1))
EXPECTED = "features and labels, x and y, data and target, images and labels, or x_train, y_train, x_test and y_test"
_SPLIT_OF = {word: split for split, words in SPLITS.items() for word in words}
_SPLIT_WORDS, _ROLE_WORDS = ("|".join(words) for words in (_SPLIT_OF, (*FEATURES, *LABELS)))
_NAME = re.compile(
    rf"((?P<before>{_SPLIT_WORDS})[-_. ]?(set[-_. ]?)?)?(?P<word>{_ROLE_WORDS})([-_. ]?(?P<after>{_SPLIT_WORDS}))?"
)


@dataclass(frozen=True, order=True)
class Role:
    """What a name says about an array."""

    split: str
    """train, validation, test, or empty where the name says none."""
    word: str
    """One of FEATURES or LABELS."""


@dataclass(frozen=True)
class Part:
    """The arrays of one split."""

    features: str
    labels: str | None = None


@dataclass(frozen=True)
class Found:
    """The arrays of a file that are used."""

    parts: dict[str, Part]
    """By split; that to train on is there."""
    warnings: tuple[str, ...] = ()
    """What people may not expect: other arrays that could be meant, another split than one for training."""


def split_of(name: str) -> str | None:
    """The split that a group or folder is named after, in any case; None where it is none."""
    return _SPLIT_OF.get(name.lower())


def split_in(name: str) -> str | None:
    """The split that the name of an array or group says; None or empty where it says none."""
    role = role_of(name)
    return split_of(name) if role is None else role.split


def role_of(name: str) -> Role | None:
    """What a name, or GROUP/NAME, says; None where it says nothing."""
    group, _, last = name.rpartition("/")
    match = _NAME.fullmatch(last.lower())
    words = [] if match is None else [word for word in (group.lower(), match["before"], match["after"]) if word]
    if match is None or len(words) > 1 or not set(words) <= {*_SPLIT_OF}:
        return None
    return Role(_SPLIT_OF[words[0]] if words else "", match["word"])


def find(names: Collection[str], origin: str, naming: str) -> Found:
    """Features and labels of each split by their names. ``naming`` says how one is named on the command line.

    Raises DataError where there are none, where one of a pair is missing, and where several could be meant.
    """
    roles = {name: role for name in names if (role := role_of(name)) is not None}
    parts: dict[str, Part] = {}
    warnings: list[str] = []
    alone: dict[str, list[str]] = {}
    for split in dict.fromkeys(role.split for role in roles.values()):
        words = {name: role.word for name, role in roles.items() if role.split == split}
        part = _part(words, origin, naming)
        if part is None:
            alone[split] = sorted(words)
            continue
        parts[split] = part
        warnings += _unused(origin, words, part)
    if not parts:
        raise DataError(f"{origin}: holds {listed(names)}; expected {EXPECTED}: rename them, or say {naming}")
    half = next((words for split, words in alone.items() if split), None)
    if half is not None:
        other = "labels" if role_of(half[0]) and roles[half[0]].word in FEATURES else "features"
        raise DataError(f"{origin}: holds {listed(half)} alone; expected its {other} too: add them, or say {naming}")
    return _with_train(parts, warnings, origin)


def _part(words: dict[str, str], origin: str, naming: str) -> Part | None:
    """The pair among the arrays of a split, given with their words; None where one of the two is missing."""
    features, labels = ([name for name, word in words.items() if word in role] for role in (FEATURES, LABELS))
    if not features or not labels:
        return None
    if len(features) > 1 or len(labels) > 1:
        pairs = (([x for x in features if words[x] == a], [y for y in labels if words[y] == b]) for a, b in PAIRS)
        features, labels = next(((x, y) for x, y in pairs if x and y), (features, labels))
    if len(features) > 1 or len(labels) > 1:
        raise DataError(
            f"{origin}: holds {listed([*features, *labels])}, several of which could be meant: expected one array of "
            f"features and one of labels; say {naming}"
        )
    return Part(features[0], labels[0])


def _with_train(parts: dict[str, Part], warnings: list[str], origin: str) -> Found:
    """The splits with one to train on: that with its name, else arrays without a split, else what there is."""
    plain = parts.pop("", None)
    if "train" in parts:
        if plain is not None:
            warnings.append(
                f"{origin}: {plain.features} and {plain.labels} are not used beside {parts['train'].features}"
            )
    elif plain is not None:
        parts["train"] = plain
    else:
        taken = "test" if "test" in parts else "validation"
        left = [part for split, part in parts.items() if split != taken]
        warnings.append(
            f"{origin}: {parts[taken].features} and {parts[taken].labels} are taken as the samples, as there are none "
            "to train on" + "".join(f"; {part.features} and {part.labels} are not used" for part in left)
        )
        parts = {"train": parts[taken]}
    return Found(parts, tuple(warnings))


def find_features(names: Collection[str], origin: str, naming: str) -> Found:
    """Features to predict, as the part ``train``: those without a split, else of the test split, else of another one.

    Raises DataError where there are none.
    """
    roles = {name: role for name in names if (role := role_of(name)) is not None and role.word in FEATURES}
    splits = ("", "test", "validation", "train")
    order = sorted(roles, key=lambda name: (splits.index(roles[name].split), FEATURES.index(roles[name].word)))
    if not order:
        raise DataError(
            f"{origin}: holds {listed(names)}; expected {' or '.join(FEATURES)}: rename them, or say {naming}"
        )
    if roles[order[0]] in [roles[name] for name in order[1:]]:
        raise DataError(f"{origin}: holds {listed(order)}, several of which could be meant: expected one; say {naming}")
    return Found({"train": Part(order[0])}, _unused(origin, order, Part(order[0])))


def partner(name: str, names: Collection[str]) -> str | None:
    """The labels that belong to features of this name by convention, where they are there."""
    role = role_of(name)
    if role is None:
        return None
    there = {other: found.word for other in names if (found := role_of(other)) and found.split == role.split}
    labels = [other for other, word in there.items() if word in LABELS]
    pairs = ([other for other in labels if there[other] == word] for own, word in PAIRS if own == role.word)
    return next((few[0] for few in (*pairs, labels) if len(few) == 1), None)


def find_labels(names: Collection[str]) -> str | None:
    """The labels in a file of labels: its only array, or the only one whose name says so."""
    usual = [name for name in names if (role := role_of(name)) is not None and role.word in LABELS]
    return next((few[0] for few in (usual, list(names)) if len(few) == 1), None)


def listed(names: Iterable[str]) -> str:
    """The first names, for a message."""
    some = [name[:40] for name in sorted(names)]  # of a damaged file they may be anything
    return ", ".join(some[:8] + [f"{len(some) - 8} more"] * (len(some) > 8)) or "no arrays"


def _unused(origin: str, names: Iterable[str], part: Part) -> tuple[str, ...]:
    others = [name for name in names if name not in (part.features, part.labels)]
    return (f"{origin}: {listed(others)} not used beside {part.features}",) if others else ()
