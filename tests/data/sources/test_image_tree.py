import os
from pathlib import Path

import pytest

from ptrain.data.sources.image_tree import holds_images, tree_of
from ptrain.errors import DataError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def test_the_order_is_by_folder_then_by_name(tmp_path: Path) -> None:
    tree = tree_of(touch(tmp_path, "b/IMG_10.PNG", "b/IMG_2.png", "a/c/0.jpg", "a/z.jpg", "a-b/0.tif", "top.webp"))
    assert tree.images == ["top.webp", "a/z.jpg", "a-b/0.tif", "a/c/0.jpg", "b/IMG_10.PNG", "b/IMG_2.png"]


def test_what_systems_leave_behind_is_no_sample(tmp_path: Path) -> None:
    junk = ["._0.png", ".DS_Store", "cat/._0.png", "cat/Thumbs.db", "cat/desktop.ini", ".ipynb_checkpoints/0.png"]
    junk += ["cat/.ipynb_checkpoints/0-checkpoint.png", "__MACOSX/cat/._0.png", "cat/@eaDir/0.png/thumb.jpg"]
    tree = tree_of(touch(tmp_path, "cat/0.png", *junk, "cat/notes.TXT", "README", "cat/photo.heic"))
    assert (tree.images, tree.folders) == (["cat/0.png"], ["cat"])
    assert (tree.hidden, tree.others) == (9, {".txt": 1, "without an extension": 1, ".heic": 1})


def test_a_link_never_makes_a_sample_twice(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "a/0.png", "b/1.png", "b/deep/2.png")
    touch(tmp_path / "else", "3.png", "up/4.png")
    links = {
        "a/self": ".", "a/root": "..", "a/around": "../..", "b/other": "../a", "0dup": "a", "c": "../else",
        "d": "../else", "e": "../else/up", "0link.png": "a/0.png", "9.png": "../else/3.png", "8.png": "../else/5.png",
    }  # fmt: skip
    touch(tmp_path / "else", "5.png")
    for name, target in links.items():
        os.symlink(target, root / name)
    os.symlink("../../root", tmp_path / "else" / "up" / "back")
    tree = tree_of(root)
    assert tree.images == ["a/0.png", "b/1.png", "b/deep/2.png", "c/3.png", "c/5.png", "c/up/4.png"]
    assert sorted(tree.again) == [
        "0dup", "0link.png", "8.png", "9.png", "a/around", "a/root", "a/self", "b/other", "c/up/back", "d", "e"
    ]  # fmt: skip


def test_files_may_be_links_to_a_store(tmp_path: Path) -> None:
    touch(tmp_path / "store", "x.png", "y.png")
    (tmp_path / "root" / "a").mkdir(parents=True)
    for name in ("x", "y"):
        os.symlink(tmp_path / "store" / f"{name}.png", tmp_path / "root" / "a" / f"{name}.png")
    assert tree_of(tmp_path / "root").images == ["a/x.png", "a/y.png"]
    os.symlink(tmp_path / "root", tmp_path / "other")
    assert tree_of(tmp_path / "other").images == ["a/x.png", "a/y.png"]


def test_links_to_nothing_are_refused_by_name(tmp_path: Path) -> None:
    for name, message in (("gone", "gone: is a link to nothing; expected"), ("gone.png", "gone.png: no such file")):
        root = touch(tmp_path / name, "a/0.png")
        os.symlink("nowhere", root / "a" / name)
        with pytest.raises(DataError, match=message):
            tree_of(root)
    root = touch(tmp_path / "other", "a/0.png")
    os.symlink("nowhere", root / "notes.txt")
    os.symlink("b.txt", root / "b.txt")
    assert tree_of(root).images == ["a/0.png"]


def test_a_folder_with_an_image_somewhere_is_one_of_images(tmp_path: Path) -> None:
    assert holds_images(touch(tmp_path / "flat", "0.PNG", "class_idx.json"))
    assert holds_images(touch(tmp_path / "deep", ".hidden/0.png", "a/b/c/0.png"))
    assert not holds_images(touch(tmp_path / "hidden", ".hidden/0.png", "a/._0.png", "__MACOSX/0.png"))
    assert not holds_images(touch(tmp_path / "idx", "preview.png", "train-images-idx3-ubyte"))
    os.symlink(".", touch(tmp_path / "loop", "a.txt") / "self")
    assert not holds_images(tmp_path / "loop")
