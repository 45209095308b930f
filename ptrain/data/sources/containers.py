"""Files and folders of named arrays: which of them are features and labels, and the stream of these."""

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ptrain.data.sources.arrays import Array, Arrays, to_stream
from ptrain.data.store.stream import Request, Stream
from ptrain.errors import DataError

PAIRS = (("features", "labels"), ("x", "y"), ("X", "y"), ("X", "Y"), ("data", "labels"), ("data", "label"))
TRAIN_PAIRS = (*((f"{x}_train", f"{y}_train") for x, y in PAIRS), *((f"train_{x}", f"train_{y}") for x, y in PAIRS))
FEATURES = ("features", "x", "X", "data", "x_test", "X_test")
EXPECTED = "features and labels, x and y, X and y, data and labels, or x_train, y_train, x_test and y_test"
GROUPS = "groups"
_SPLITS = ("train", "test")


@dataclass(frozen=True)
class Container:
    """A file or folder of named arrays, some of them in groups: what a format adds to this file."""

    path: Path
    names: Callable[[str], list[str] | None]
    """Names in a group, "" being the outermost; None where it is an array. Raises DataError where it is neither."""
    array: Callable[[str], Array]
    """An array, checked."""
    separator: str = ":/"
    """Between path and name, as they are given to --data."""

    def origin(self, name: str) -> str:
        """Path and name, for messages."""
        return f"{self.path}{self.separator}{name}" if name or self.separator.endswith("/") else str(self.path)


@dataclass(frozen=True)
class Names:
    """Names of the arrays of a file."""

    features: str
    labels: str | None = None
    test_features: str | None = None
    test_labels: str | None = None
    groups: str | None = None


Opener = Callable[[Path], Container]


def open_arrays(kind: str, opener: Opener, spec: str, request: Request) -> Stream:
    """The stream of FILE, FILE:/GROUP or FILE:/GROUP/FEATURES; --labels is FILE:/GROUP/LABELS, in this or another file.

    Without --labels the labels are found by name beside the features. A group may hold its own test split, and the
    array ``groups``. Memory: one read of at most 64 MiB and one chunk of at most 64 MiB.
    """
    arrays, files, options = find_arrays(kind, opener, spec, request)
    return to_stream(arrays, name=f"{kind}:{spec}", files=files, options=options, in_pieces=True)


def find_arrays(
    kind: str, opener: Opener, spec: str, request: Request
) -> tuple[Arrays, tuple[Path, ...], dict[str, Any]]:
    """The arrays that are asked for, the files that they are in, and what the result depends on besides these."""
    path, inner = split_inner(spec)
    container, given = opener(path), request.config.labels
    names = _locate(container, inner, request)
    files, labels = [path], None if names.labels is None else container.array(names.labels)
    if given is not None and request.labelled:
        other, labels = _labels_of(opener, given)
        files += [other] if other != path else []
    test = None
    if names.test_features is not None and names.test_labels is not None:
        test = container.array(names.test_features), container.array(names.test_labels)
    groups = None if names.groups is None else container.array(names.groups)
    options = {
        "format": kind,
        "names": list(asdict(names).values()),
        "labels": given and split_inner(given)[1],
        "zeros": not request.labelled,
    }
    return Arrays(container.array(names.features), labels, test, groups), tuple(files), options


def _locate(container: Container, inner: str, request: Request) -> Names:
    """Names of what is asked for, by convention where it is not said; raises DataError where it is not there."""
    needs_labels = request.labelled and request.config.labels is None
    names, origin = container.names(inner), container.origin(inner)
    if names is None:
        group, _, last = inner.rpartition("/")
        beside = container.names(group) or []
        found = Names(features=last, labels=partner(last, beside) if needs_labels else None)
        if needs_labels and found.labels is None:
            raise DataError(
                f"{origin}: features without labels; expected --labels {container.origin(join(group, 'NAME'))}"
            )
    else:
        group, beside = inner, names
        has_splits = needs_labels and {*_SPLITS} <= {*names}
        parts = {part: container.names(join(group, part)) for part in _SPLITS} if has_splits else {}
        if not needs_labels:
            found = Names(features=find_features(names, origin))
        elif parts and None not in parts.values():
            train, test = (find_names(held or (), f"{origin}/{part}") for part, held in parts.items())
            found = Names(
                *(f"train/{name}" for name in (train.features, train.labels)),
                *(f"test/{name}" for name in (test.features, test.labels)),
            )
        else:
            found = find_names(names, origin)
    if request.labelled and GROUPS in beside:
        found = replace(found, groups=GROUPS)
    whole = {kind: join(group, name) for kind, name in asdict(found).items() if name is not None}
    return Names(**whole)


def _labels_of(opener: Opener, spec: str) -> tuple[Path, Array]:
    """File and array of --labels: the array that is named, the only one, or one whose name says that it is labels."""
    path, inner = split_inner(spec)
    container = opener(path)
    names = None if inner else container.names("")
    if names is not None:
        usual = next((y for _, y in PAIRS if y in names), names[0] if len(names) == 1 else None)
        if usual is None:
            raise DataError(f"{path}: holds {listed(names)}; expected --labels {container.origin('NAME')}")
        inner = usual
    return path, container.array(inner)


def find_names(names: Collection[str], origin: str) -> Names:
    """Which of the names are features and labels by convention; raises DataError where none are."""
    pair = next((pair for pair in TRAIN_PAIRS + PAIRS if set(pair) <= set(names)), None)
    if pair is None:
        raise DataError(f"{origin}: holds {listed(names)}; expected {EXPECTED}: rename them")
    test = (pair[0].replace("train", "test"), pair[1].replace("train", "test"))
    given = [name for name in test if name not in pair and name in names]
    if len(given) == 1:
        raise DataError(f"{origin}: holds {given[0]} alone; expected {' and '.join(test)}: add the other one")
    return Names(*pair, *(test if given else ()))


def find_features(names: Collection[str], origin: str) -> str:
    """Which of the names are features to predict; raises DataError where none are."""
    name = next((name for name in FEATURES if name in names), None)
    if name is None:
        raise DataError(f"{origin}: holds {listed(names)}; expected {' or '.join(FEATURES)}: rename the array")
    return name


def partner(name: str, names: Collection[str]) -> str | None:
    """The labels that belong to features of this name by convention, where they are there."""
    test_pairs = tuple((x.replace("train", "test"), y.replace("train", "test")) for x, y in TRAIN_PAIRS)
    return next((y for x, y in (*TRAIN_PAIRS, *test_pairs, *PAIRS) if x == name and y in names), None)


def listed(names: Collection[str]) -> str:
    """The first names, for a message."""
    some = [name[:40] for name in sorted(names)]  # of a damaged file they may be anything
    return ", ".join(some[:8] + [f"{len(some) - 8} more"] * (len(some) > 8)) or "no arrays"


def join(group: str, name: str) -> str:
    """The name of an array from the outermost group on."""
    return f"{group}/{name}".strip("/")


def split_inner(spec: str) -> tuple[Path, str]:
    """Path and name in it of FILE, FILE:NAME or FILE:/GROUP/NAME; a name that is not given is empty."""
    path = Path(spec).expanduser()
    head, _, inner = spec.rpartition(":")
    if not head or path.exists():
        return path, ""
    return Path(head).expanduser(), inner.strip("/")
