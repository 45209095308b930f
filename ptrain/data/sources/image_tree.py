"""Which images lie below a folder: without what systems leave there, and every folder once, whatever links say."""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ptrain.data.store.reading import reading
from ptrain.errors import DataError

KIND = "a folder with a folder of images for each class"
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision.datasets.ImageFolder."""
UNREAD = (
    *(".heic", ".heif", ".gif", ".avif", ".jfif", ".jpe", ".jp2", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw"),
    *(".psd", ".tga", ".svg", ".exr", ".dcm"),
)
"""Of images all the same, in formats that are not read."""
_SYSTEM = frozenset(
    (
        *("__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "#recycle", "lost+found"),
        *("system volume information", "__pycache__"),
    )
)
_IDX = re.compile(r"(images|labels)[-_.]idx\d", re.I)
_ENTRIES = 20_000  # looked at before a folder is taken for one without images

Identity = tuple[int, int]
"""Device and inode."""


@dataclass(eq=False)
class Tree:
    """What lies below a folder, as paths below it with slashes."""

    folder: Path
    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    """All folders that were read, empty ones as well."""
    hidden: int = 0
    """Files and folders that systems and programs leave behind."""
    others: "Counter[str]" = field(default_factory=Counter)
    """Files that are no images by their names: how many of each extension."""
    again: list[str] = field(default_factory=list)
    """Links to what is read already, and to folders around this one."""


def tree_of(folder: Path) -> Tree:
    """The images below a folder, sorted by folder and name as torchvision does; raises DataError for a broken link.

    What lies in the folder goes before what links in it lead to, so that a link never takes the place of a folder.
    """
    tree, links = Tree(folder), list[str]()
    with reading(folder, KIND):
        around = folder.resolve()
        seen = {_identity(one) for one in (around, *around.parents)}
    later = _read(tree, "", links, seen, linked=False)
    while later:
        name = min(later)
        later.remove(name)
        if (found := _identity(folder / name)) in seen:
            tree.again.append(name)
        else:
            seen.add(found)
            later += _read(tree, name, links, seen, linked=True)
    _add_links(tree, sorted(links))
    tree.images.sort(key=lambda name: name.rpartition("/")[::2])
    tree.folders.sort()
    return tree


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one that systems and programs leave behind."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def is_image(name: str) -> bool:
    """Whether a file is an image by its name."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def holds_images(folder: Path) -> bool:
    """Whether there is an image somewhere below a folder, and no IDX file beside it."""
    looked = 0
    for _, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        if any(map(_IDX.search, files)):
            return False
        if any(is_image(name) and not is_hidden(name) for name in files):
            return True
        looked += 1 + len(folders) + len(files)
        if looked > _ENTRIES:
            break
    return False


def _read(tree: Tree, top: str, links: list[str], seen: set[Identity], *, linked: bool) -> list[str]:
    """Read a folder and all in it, but for links: those to folders are returned, those to images put into ``links``."""
    later, stack = [], [top]
    while stack:
        at = stack.pop()
        if at:
            tree.folders.append(at)
        with reading(tree.folder / at, KIND), os.scandir(tree.folder / at) as entries:
            for entry in entries:
                name = f"{at}/{entry.name}" if at else entry.name
                if is_hidden(entry.name):
                    tree.hidden += 1
                elif _is_folder(entry):
                    if entry.is_symlink():
                        later.append(name)
                    elif linked and _identity(tree.folder / name) in seen:
                        tree.again.append(name)
                    else:
                        seen.add(_identity(tree.folder / name))
                        stack.append(name)
                elif is_image(entry.name):
                    (links if entry.is_symlink() else tree.images).append(name)
                else:
                    _need_whole(entry)
                    tree.others[os.path.splitext(entry.name)[1].lower() or "without an extension"] += 1
    return later


def _add_links(tree: Tree, links: list[str]) -> None:
    """Put links to images beside them, unless their image is there already."""
    if not links:
        return
    with reading(tree.folder, KIND):
        seen = {_identity(tree.folder / name) for name in tree.images}
    for name in links:
        with reading(tree.folder / name, "an image"):
            found = _identity(tree.folder / name)
        (tree.again if found in seen else tree.images).append(name)
        seen.add(found)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _need_whole(entry: "os.DirEntry[str]") -> None:
    """Raise DataError for a link to nothing that may have been one to a folder."""
    if entry.is_symlink() and "." not in entry.name and not os.path.exists(entry.path):
        raise DataError(f"{entry.path}: is a link to nothing; expected a folder or a file: restore or remove it")


def _identity(path: Path) -> Identity:
    found = path.stat()
    return found.st_dev, found.st_ino
