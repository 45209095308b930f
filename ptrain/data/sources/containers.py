"""Files and folders of named arrays: which of them are features and labels of which split."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ptrain.data.sources.array_stream import to_stream
from ptrain.data.sources.arrays import Array, Arrays, Pair
from ptrain.data.sources.names import Found, Part, find, find_features, find_labels, listed, partner, split_in, split_of
from ptrain.data.sources.validity import masked
from ptrain.data.store.stream import Request, Stream
from ptrain.errors import DataError

GROUPS, MASK = "groups", "mask"


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

    def naming(self, group: str) -> str:
        """How arrays of a group are named on the command line."""
        return f"--data {self.origin(join(group, 'NAME'))} --labels {self.origin(join(group, 'NAME'))}"


Opener = Callable[[Path], Container]


def open_arrays(kind: str, opener: Opener, spec: str, request: Request) -> Stream:
    """The stream of FILE, FILE:/GROUP or FILE:/GROUP/FEATURES; --labels is FILE:/GROUP/LABELS, in this or another file.

    Without --labels the labels are found by name beside the features. A group may hold its own validation and test
    splits, and the array ``groups``. Memory: one read of at most 64 MiB and one chunk of at most 64 MiB.
    """
    return to_stream(find_arrays(kind, opener, spec, request), request, in_pieces=True)


def find_arrays(kind: str, opener: Opener, spec: str, request: Request) -> Arrays:
    """The arrays that are asked for."""
    path, inner = split_inner(spec)
    container, given = opener(path), request.config.labels
    group, found = _locate(container, inner, request)
    files, pairs = [path], {}
    for split, part in found.parts.items():
        features = _with_mask(container, group, part.features, named=container.names(inner) is None)
        pairs[split] = Pair(features, None if part.labels is None else container.array(join(group, part.labels)))
    groups = None
    if request.labelled and GROUPS in (container.names(group) or []):
        groups = container.array(join(group, GROUPS))
    train = Pair(pairs["train"].features, pairs["train"].labels, groups)
    if given is not None and request.labelled:
        other, labels = _labels_of(opener, given)
        files += [other] if other != path else []
        train = Pair(train.features, labels, groups)
    options = {
        "format": kind,
        "names": [group, {split: list(asdict(part).values()) for split, part in found.parts.items()}, groups is None],
        "labels": given and split_inner(given)[1],
        "zeros": not request.labelled,
    }
    return Arrays(
        train,
        {split: pair for split, pair in pairs.items() if split != "train"},
        name=f"{kind}:{spec}",
        files=tuple(files),
        options=options,
        warnings=found.warnings,
    )


def _locate(container: Container, inner: str, request: Request) -> tuple[str, Found]:
    """The group, and what is asked for in it, by convention where it is not said; raises DataError where it is not."""
    needs_labels = request.labelled and request.config.labels is None
    names, origin = container.names(inner), container.origin(inner)
    if names is None:
        group, _, last = inner.rpartition("/")
        labels = partner(last, container.names(group) or []) if needs_labels else None
        if needs_labels and labels is None:
            raise DataError(
                f"{origin}: features without labels; expected --labels {container.origin(join(group, 'NAME'))}"
            )
        return group, Found({"train": Part(last, labels)}, _left(container, inner))
    for split in [name for name in names if split_of(name) is not None]:
        names = [*names, *(join(split, name) for name in container.names(join(inner, split)) or [])]
    search = find if needs_labels else find_features
    found = search(names, origin, container.naming(inner))
    return inner, replace(found, warnings=(*found.warnings, *_left(container, inner)))


def _left(container: Container, inner: str) -> tuple[str, ...]:
    """A warning where arrays or a group to train on are named, and there are others to test on that are not used."""
    group, _, last = inner.rpartition("/")
    if not last or split_in(last) != "train":
        return ()
    others = [name for name in container.names(group) or [] if split_in(name) in ("validation", "test")]
    return (f"{container.origin(inner)}: {listed(others)} not used beside it",) if others else ()


def _with_mask(container: Container, group: str, name: str, *, named: bool) -> Array:
    """Features, without the values that a mask of numpy.ma beside them hides: true where there is none.

    Where the features are named on the command line a mask is not meant with them, which is said.
    """
    features, names = container.array(join(group, name)), container.names(group) or []
    last = name.rpartition("/")[2]
    for beside in (f"{last}_{MASK}", MASK):
        if beside in names:
            mask = container.array(join(group, beside))
            if (
                type(features) is Array
                and mask.shape == features.shape
                and mask.dtype.kind == "b"
                and features.dtype.kind in "iuf"
            ):
                said = f"{features.origin}: {mask.origin} is not applied to it, as it is named alone"
                return replace(features, note=said) if named else masked(features, mask)
    return features


def _labels_of(opener: Opener, spec: str) -> tuple[Path, Array]:
    """File and array of --labels: the array that is named, the only one, or one whose name says that it is labels."""
    path, inner = split_inner(spec)
    container = opener(path)
    names = None if inner else container.names("")
    if names is not None:
        usual = find_labels(names)
        if usual is None:
            raise DataError(f"{path}: holds {listed(names)}; expected --labels {container.origin('NAME')}")
        inner = usual
    return path, container.array(inner)


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
