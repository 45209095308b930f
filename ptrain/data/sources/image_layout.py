"""Splits and classes by the names of folders: CLASS/..., or train/CLASS/..., val/CLASS/... and test/CLASS/..."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ptrain.data.sources.image_tree import KIND, SUFFIXES, UNREAD, Tree
from ptrain.errors import DataError

ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""The split that a folder holds, by its name in any case."""
_SET = re.compile(r"[\W_]*(set|data|dataset|images|imgs|split)$")
_WORDS = re.compile(r"[\W\d_]+")
_SHOWN = 10
_BROKEN = ("Cc", "Cs", "Zl", "Zp")
"""Categories of characters that break a line, or are no text: control, surrogate, line and paragraph separator."""
Images = dict[str, list[str]]
"""Images by the name of a folder; those beside the folders under ''."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Splits and classes of a folder of images, and what there is to say of them."""

    classes: tuple[str, ...]
    """Sorted by their names, character by character."""
    splits: dict[str, list[tuple[str, int]]]
    """Images and the numbers of their classes, by the name of the split: there is always ``train``."""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def arrange(tree: Tree, class_names: Sequence[str] | None = None) -> Layout:
    """The splits and classes of the images below a folder.

    class_names: of a trained network that is to classify them; then there need not be a training split. Raises
    DataError where it is not clear what is what, and for a class without training images or that is none of these.
    """
    tops = _grouped(tree.images, 0)
    if not any(tops):
        what = f"{counted(len(tree.images), 'image')} but no folders" if tree.images else "no images"
        raise DataError(
            f"{tree.folder}: {what} in it; expected {KIND}, files that end in {', '.join(SUFFIXES)}: sort the images "
            "into FOLDER/CLASS/"
        )
    known = class_names is not None and {_spelled(name) for name in tops if name} <= set(class_names)
    roles = {} if known else _roles(tree, tops, for_network=class_names is not None)
    parts = {role: _grouped(tops[name], 1) for role, name in roles.items()} or {"train": tops}
    warnings = [*_flat(tree, roles, parts), *_beside(tree, tops if roles else {}, parts)]
    if "train" not in parts:
        parts, unused = _for_test(tree, roles, parts)
        warnings += unused
    named = {role: _by_class(tree, part) for role, part in parts.items()}
    classes = tuple(sorted(named["train"]))
    unknown = [] if class_names is None else [name for name in classes if name not in class_names]
    if unknown:
        raise DataError(
            f"{tree.folder}: class {unknown[0]!r} is none of the classes of the training samples; expected "
            f"{_listing(class_names or ())}: rename the folder, leave it out, or train with it"
        )
    splits = {role: _labelled(f"{tree.folder / roles.get(role, '')}", part, classes) for role, part in named.items()}
    warnings += [] if roles else _doubts(tree, tops)
    used = _listing(f"{name} ({role})" for role, name in roles.items() if role in splits)
    notes = [f"{tree.folder}: the splits are by folder: {used}"] if used else []
    return Layout(
        classes=classes,
        splits=splits,
        notes=(*notes, *left_out(tree, 1 if roles else 0)),
        warnings=(*warnings, *losses(tree)),
    )


def left_out(tree: Tree, depth: int | None = None) -> list[str]:
    """Return a line for what is no sample: system's files, other files, and folders of classes without images."""
    found = []
    if tree.hidden:
        found.append(f"{counted(tree.hidden, 'hidden file')} or {'folders' if tree.hidden > 1 else 'folder'}")
    others = {suffix: count for suffix, count in tree.others.items() if suffix not in UNREAD}
    if others:
        kinds = _listing(f"{count:,} {suffix}" for suffix, count in sorted(others.items(), key=lambda one: -one[1]))
        found.append(f"{counted(sum(others.values()), 'file')} of other kinds ({kinds})")
    filled = {"/".join(image.split("/")[: level + 1]) for image in tree.images for level in range((depth or 0) + 1)}
    empty = [one for one in tree.folders if depth is not None and one.count("/") <= depth and one not in filled]
    if empty:
        found.append(f"the folder{'s' * (len(empty) > 1)} {_listing(empty)}, in which there are no images")
    return [f"{tree.folder}: left out: {'; '.join(found)}"] if found else []


def losses(tree: Tree) -> list[str]:
    """Return a line for images that are not read, and one for links to what is read already."""
    unread = {suffix: count for suffix, count in tree.others.items() if suffix in UNREAD}
    found = []
    if unread:
        kinds = _listing(f"{count:,} {suffix}" for suffix, count in unread.items())
        found.append(
            f"{tree.folder}: left out: {counted(sum(unread.values()), 'image')} of formats that are not read "
            f"({kinds}); convert to .png or .jpg to use them"
        )
    if tree.again:
        found.append(
            f"{tree.folder}: left out: {counted(len(tree.again), 'link')} to what is read already, or to a folder "
            f"around it ({_listing(tree.again)})"
        )
    return found


def _roles(tree: Tree, tops: Images, *, for_network: bool) -> dict[str, str]:
    """The folders of the splits, by the names of these; none where the folders are classes."""
    found = _by_role(tops)
    classes = [name for name in tops if name and not any(name in names for names in found.values())]
    if "train" not in found:
        if classes or not found:  # a class may be called so, such as valid beside invalid
            return {}
        if not for_network:
            raise DataError(
                f"{tree.folder}: {_listing(tops)} but no folder train; expected train/CLASS/ beside them: name the "
                "folder of the training images so"
            )
    has_classes = any(image.count("/") > 1 for name in found.get("train", ()) for image in tops[name])
    if classes and not has_classes and len(found) == len(found["train"]) == 1:
        return {}  # train is a class, beside bus and car
    if classes:
        raise DataError(
            f"{tree.folder}: the folder {found['train'][0]} and beside it {_listing(classes)}; expected either splits "
            "(train, val, test) or classes: move the others away, or rename the folder if it is a class"
        )
    if "train" in found and not has_classes:
        raise DataError(
            f"{tree.folder / found['train'][0]}: images but no folders of classes; expected "
            f"{found['train'][0]}/CLASS/: sort the images into them"
        )
    for role, names in found.items():
        if len(names) > 1:
            raise DataError(f"{tree.folder}: {' and '.join(names)} are both the {role} split; expected one of them")
    return {role: found[role][0] for role in ("train", "validation", "test") if role in found}


def _by_role(tops: Images) -> dict[str, list[str]]:
    """The folders that hold a split by their names, such as train, test_set; also seg_train beside seg_test."""
    exact: dict[str, list[str]] = {}
    all_: dict[str, list[str]] = {}
    for name in filter(None, tops):
        role = ROLES.get(_SET.sub("", name.casefold()))
        words = [ROLES[word] for word in _WORDS.split(name.casefold()) if word in ROLES]
        if role:
            exact.setdefault(role, []).append(name)
        if role or words:
            all_.setdefault(role or words[0], []).append(name)
    # a class may be called test tube: such a name counts beside one for training that holds folders only
    has_folders = any(image.count("/") > 1 for name in all_.get("train", ()) for image in tops[name])
    return all_ if has_folders and len(all_) > 1 else exact


def _flat(tree: Tree, roles: Mapping[str, str], parts: dict[str, Images]) -> list[str]:
    """Take out splits without classes, which are images to predict, as competitions have them; say so."""
    flat = [role for role in roles if not any(parts[role])]
    return [
        f"{tree.folder / roles[role]} is not used: {counted(len(parts.pop(role)['']), 'image')} without folders of "
        "classes; ptrain predict gives their classes"
        for role in flat
    ]


def _beside(tree: Tree, tops: Images, parts: Mapping[str, Images]) -> list[str]:
    """Take out images beside the folders of classes; say how many there are."""
    loose = [*tops.get("", ()), *(image for part in parts.values() for image in part.pop("", ()))]
    if not loose:
        return []
    return [
        f"{tree.folder}: left out: {counted(len(loose), 'image')} beside the folders of classes ({_listing(loose)})"
    ]


def _for_test(tree: Tree, roles: Mapping[str, str], parts: Mapping[str, Images]) -> tuple[dict[str, Images], list[str]]:
    """The split to test a network on as the only one, and what is to be said of the other."""
    used = next((role for role in ("test", "validation") if role in parts), None)
    if used is None:
        raise DataError(f"{tree.folder}: no folders of classes in {_listing(roles.values())}; expected test/CLASS/")
    others = [roles[role] for role in parts if role != used]
    return {"train": parts[used]}, [f"{tree.folder}: {roles[used]} is used, {name} is not" for name in others]


def _by_class(tree: Tree, part: Images) -> Images:
    """The same by the name of the class."""
    found: Images = {}
    for folder, images in part.items():
        name = _spelled(folder)
        if any(unicodedata.category(one) in _BROKEN for one in name):
            raise DataError(f"{tree.folder}: a folder with the name {folder!a}; expected text in UTF-8: rename it")
        if name in found:
            raise DataError(f"{tree.folder}: two folders with the name {name}; expected one: put their images together")
        found[name] = images
    return found


def _spelled(name: str) -> str:
    """A name as it is on every system: a Mac takes é apart into e and an accent, Linux does not."""
    return unicodedata.normalize("NFC", name)


def _labelled(folder: str, part: Images, classes: tuple[str, ...]) -> list[tuple[str, int]]:
    unknown = sorted(set(part) - set(classes))
    if unknown:
        raise DataError(
            f"{folder}: {unknown[0]} is a class without training images; expected one of {_listing(classes)}: rename "
            "the folder, or remove it"
        )
    return [(image, label) for label, name in enumerate(classes) for image in part.get(name, ())]


def _doubts(tree: Tree, tops: Images) -> list[str]:
    """Say where the classes may be meant to be a folder below; raises DataError for splits below the classes."""
    names = [name for name in tops if name]
    below = {name: [one for one in _grouped(tops[name], 1) if one] for name in names}
    roles = {name: {ROLES.get(_SET.sub("", one.casefold())) for one in folders} for name, folders in below.items()}
    if len(names) == 1 and "train" in roles[names[0]]:
        folder = tree.folder / names[0]
        raise DataError(f"{tree.folder}: the splits are folders of {names[0]}; expected --data {folder}")
    if all("train" in found and len(found - {None}) > 1 for found in roles.values()):
        raise DataError(
            f"{tree.folder}: {names[0]} and its like hold folders {_listing(below[names[0]])}; expected "
            f"{tree.folder.name}/train/{names[0]}/: the splits around the classes, not in them"
        )
    if len(names) == 1 and len(below[names[0]]) > 1:
        folder = tree.folder / names[0]
        return [f"{folder} is the only class; if its folders {_listing(below[names[0]])} are, use --data {folder}"]
    return []


def _grouped(images: Iterable[str], depth: int) -> Images:
    """Images by the name of the folder at this depth; in their order."""
    found: Images = {}
    for image in images:
        parts = image.split("/")
        found.setdefault(parts[depth] if len(parts) > depth + 1 else "", []).append(image)
    return found


def counted(count: int, thing: str) -> str:
    """Such as 1 image, and 1,000 images."""
    return f"{count:,} {thing}{'s' * (count != 1)}"


def _listing(names: Iterable[str]) -> str:
    listed = [name for name in names if name]
    return ", ".join(listed[:_SHOWN]) + ", ..." * (len(listed) > _SHOWN)
