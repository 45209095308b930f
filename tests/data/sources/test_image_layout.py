"""What is a split and what a class, by names alone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrain.data.sources.image_layout import ROLES, Layout, arrange
from ptrain.data.sources.image_tree import Tree
from ptrain.errors import DataError


def arranged(*images: str, network: tuple[str, ...] | None = None) -> Layout:
    return arrange(Tree(Path("root"), images=list(images)), network)


def refused(*images: str, network: tuple[str, ...] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        arranged(*images, network=network)
    message = str(caught.value)
    assert message.isprintable()
    assert "expected" in message
    return message


def both(*parts: str) -> list[str]:
    return [f"{part}/{name}/{number}.png" for part in parts for name in ("ants", "bees") for number in range(2)]


@given(st.data())
def test_folders_of_splits_are_never_classes(data: st.DataObject) -> None:
    names = {role: [name for name in ROLES if ROLES[name] == role] for role in ("train", "validation", "test")}
    chosen = {}
    for role in ("train", *data.draw(st.lists(st.sampled_from(["validation", "test"]), unique=True, min_size=1))):
        letters = data.draw(st.sampled_from(names[role]))
        upper = data.draw(st.lists(st.booleans(), min_size=len(letters), max_size=len(letters)))
        chosen[role] = "".join(a.upper() if up else a for a, up in zip(letters, upper, strict=True))
    found = arranged(*both(*chosen.values()))
    assert found.classes == ("ants", "bees")
    assert found.splits == {
        role: [(f"{name}/{one}/{number}.png", label) for label, one in enumerate(found.classes) for number in range(2)]
        for role, name in chosen.items()
    }
    assert found.warnings == ()
    [note] = found.notes
    assert all(f"{name} ({role})" in note for role, name in chosen.items())


def test_a_class_may_have_the_name_of_a_split() -> None:
    assert arranged("valid/0.png", "invalid/0.png").classes == ("invalid", "valid")
    assert arranged("train/0.png", "bus/0.png", "car/0.png").classes == ("bus", "car", "train")
    assert arranged("dev/a/0.png", "ops/a/0.png").classes == ("dev", "ops")
    assert arranged("ants/train 1/0.png", "bees/train 2/0.png").classes == ("ants", "bees")
    assert arranged("bullet train/0.png", "test tube/0.png").classes == ("bullet train", "test tube")
    assert arranged("toy train/a/0.png", "cat/a/0.png").classes == ("cat", "toy train")


@pytest.mark.parametrize(
    ("train", "test"),
    [("training_set", "test_set"), ("seg_train", "seg_test"), ("trainset", "TestImages"), ("train", "test1")],
)
def test_names_of_splits_have_other_words_in_them(train: str, test: str) -> None:
    found = arranged(*both(train, test))
    assert (found.classes, list(found.splits)) == (("ants", "bees"), ["train", "test"])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([*both("train"), "cars/0.png"], "the folder train and beside it cars; expected either splits"),
        ([*both("train"), "cars/new/0.png"], "rename the folder if it is a class"),
        (["train/0.png", "test/0.png", "cars/0.png"], "expected either splits"),
        ([*both("seg_train", "seg_test"), "seg_pred/0.png"], "the folder seg_train and beside it seg_pred"),
        (both("train", "test", "test1"), "test and test1 are both the test split"),
        (["train/0.png", "val/0.png"], "root/train: images but no folders of classes; expected train/CLASS/"),
        (["train/0.png"], "root/train: images but no folders of classes"),
        (both("val", "test"), "root: val, test but no folder train; expected train/CLASS/ beside them"),
        (both("train", "val", "valid"), "val and valid are both the validation split; expected one of them"),
        (both("Train", "train"), "Train and train are both the train split"),
        ([*both("train"), "val/cats/0.png"], "root/val: cats is a class without training images; expected one of ants"),
        (both("data/train", "data/val"), "root: the splits are folders of data; expected --data root/data"),
        (both("ants/train", "ants/val", "bees/train", "bees/val"), "expected root/train/ants/: the splits around"),
        (["0.png", "1.png"], "root: 2 images but no folders in it; expected a folder with a folder of images"),
        (["0.png"], "root: 1 image but no folders in it"),
        ([], "root: no images in it; expected a folder with a folder of images for each class, files that end in .jpg"),
        (["a\nb/0.png", "c/0.png"], r"a folder with the name 'a\nb'; expected text in UTF-8: rename it"),
        (["caf\udce9/0.png", "c/0.png"], r"a folder with the name 'caf\udce9'; expected text"),
        (["e\u0301/0.png", "\u00e9/0.png"], "two folders with the name \u00e9; expected one"),
    ],
)
def test_what_is_not_clear_is_refused(images: list[str], message: str) -> None:
    assert message in refused(*images)


def test_classes_are_matched_by_name_over_the_splits() -> None:
    found = arranged("train/10/a.png", "train/2/a.png", "train/e\u0301/a.png", "test/\u00e9/b.png", "test/2/b.png")
    assert found.classes == ("10", "2", "\u00e9")
    assert found.splits["test"] == [("test/2/b.png", 1), ("test/\u00e9/b.png", 2)]


def test_names_of_classes_are_what_people_write() -> None:
    names = ["a b", "a,b", "=1+1", "-1", "\U0001f469\u200d\U0001f33e", "\u7532", '"', "NA", "007"]
    assert arranged(*(f"{name}/0.png" for name in names)).classes == tuple(sorted(names))


def test_what_is_not_used_is_said() -> None:
    found = arranged(*both("train", "val"), "test/0.png", "test/1.png")
    assert list(found.splits) == ["train", "validation"]
    assert found.warnings == (
        "root/test is not used: 2 images without folders of classes; ptrain predict gives their classes",
    )
    found = arranged(*both("train"), "cover.png", "train/cover.png", "test/ants/0.png", "test/cover.png")
    assert found.warnings == (
        "root: left out: 3 images beside the folders of classes (cover.png, train/cover.png, test/cover.png)",
    )
    assert [len(split) for split in found.splits.values()] == [4, 1]
    assert arranged("ants/0.png", "bees/0.png", "cover.png").warnings == (
        "root: left out: 1 image beside the folders of classes (cover.png)",
    )


def test_a_network_needs_no_training_split() -> None:
    found = arranged(*both("val"), network=("ants", "bees"))
    assert (list(found.splits), found.warnings) == (["train"], ())
    found = arranged(*both("val"), "test/bees/0.png", network=("ants", "bees"))
    assert (found.splits, found.classes) == ({"train": [("test/bees/0.png", 0)]}, ("bees",))
    assert found.warnings == ("root: test is used, val is not",)
    assert list(arranged(*both("train", "test"), network=("ants", "bees")).splits) == ["train", "test"]
    assert arranged("test/0.png", "train/1/0.png", network=("bus", "test", "train")).classes == ("test", "train")
    assert arranged("valid/0.png", network=("invalid", "valid")).classes == ("valid",)
    assert "root: class 'cat' is none of the classes of the training samples; expected ants, bees: rename" in refused(
        "ants/0.png", "cat/0.png", network=("ants", "bees")
    )
    # names of folders have no numbers
    assert "class 'one' is none" in refused("one/0.png", "zero/0.png", network=("0", "1"))
    assert "no folders of classes in test" in refused("test/0.png", network=("ants", "bees"))


def test_a_folder_around_the_classes_is_asked_about() -> None:
    assert arranged(*both("data")).warnings == (
        "root/data is the only class; if its folders ants, bees are, use --data root/data",
    )
    assert arranged("ants/0.png", "ants/1.png").warnings == ()


def test_files_that_are_no_samples_are_counted() -> None:
    tree = Tree(
        Path("root"),
        images=["a/0.png", "b/0.png"],
        folders=["a", "a/deep", "b", "c"],
        hidden=3,
        again=["a/self"],
    )
    tree.others.update({".txt": 2, ".heic": 1, "without an extension": 3})
    found = arrange(tree)
    assert found.notes == (
        "root: left out: 3 hidden files or folders; 5 files of other kinds "
        "(3 without an extension, 2 .txt); the folder c, in which there are no images",
    )
    assert found.warnings == (
        "root: left out: 1 image of formats that are not read (1 .heic); convert to .png or .jpg to use them",
        "root: left out: 1 link to what is read already, or to a folder around it (a/self)",
    )
