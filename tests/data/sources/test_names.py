from itertools import product

import pytest

from ptrain.data.sources.names import Role, SplitNames, find, find_features, find_labels, partner, role_of
from ptrain.errors import DataError

SAY = "--data FILE:NAME --labels FILE:NAME"


@pytest.mark.parametrize(
    ("name", "split", "word"),
    [
        ("x", "", "x"), ("X", "", "x"), ("Features", "", "features"), ("target", "", "target"), ("gnd", "", "gnd"),
        ("x_train", "train", "x"), ("X_Train", "train", "x"), ("xtrain", "train", "x"), ("XTrain", "train", "x"),
        ("train_x", "train", "x"), ("trainY", "train", "y"), ("train_images", "train", "images"),
        ("val_labels", "validation", "labels"), ("yval", "validation", "y"), ("X_valid", "validation", "x"),
        ("y_validation", "validation", "y"), ("test_images", "test", "images"), ("Xte", "test", "x"),
        ("test_set_x", "test", "x"), ("train_set_y", "train", "y"), ("label_test", "test", "label"),
        ("train/x", "train", "x"), ("Val/Y", "validation", "y"), ("testing/data", "test", "data"),
    ],
)  # fmt: skip
def test_what_a_name_says(name: str, split: str, word: str) -> None:
    assert role_of(name) == Role(split, word)


@pytest.mark.parametrize(
    "name",
    [
        "z",
        "x1",
        "train",
        "test",
        "xylophone",
        "y_pred",
        "target_names",
        "train/x_test",
        "other/x",
        "arr_0",
        "x_train_y",
    ],
)
def test_names_that_say_nothing(name: str) -> None:
    assert role_of(name) is None


@pytest.mark.parametrize(
    ("x", "y"), [("x", "y"), ("images", "labels"), ("data", "target"), ("X", "Y"), ("Features", "LABELS")]
)
@pytest.mark.parametrize("pattern", ["{}_{}", "{1}_{0}", "{1}{0}", "{1}/{0}"])
def test_splits_are_found_under_all_names(x: str, y: str, pattern: str) -> None:
    names = [pattern.format(word, split) for word, split in product((x, y), ("train", "val", "test"))]
    found = find(["other", *names], "a.npz", SAY)
    assert set(found.parts) == {"train", "validation", "test"}
    for split, short in (("train", "train"), ("validation", "val"), ("test", "test")):
        assert found.parts[split] == SplitNames(pattern.format(x, short), pattern.format(y, short))
    assert found.warnings == ()


def test_arrays_without_a_split_are_for_training() -> None:
    found = find(["X", "y", "Xval", "yval", "Xtest", "ytest"], "a.mat", SAY)  # as in a well-known course
    assert found.parts == {
        "train": SplitNames("X", "y"), "validation": SplitNames("Xval", "yval"), "test": SplitNames("Xtest", "ytest")
    }  # fmt: skip


def test_what_is_there_and_not_used_is_said() -> None:
    found = find(["x", "y", "x_train", "y_train"], "a.npz", SAY)
    assert found.parts == {"train": SplitNames("x_train", "y_train")}
    assert found.warnings == ("a.npz: x and y are not used beside x_train",)
    found = find(["data", "images", "target", "target_names"], "a.npz", SAY)  # scikit-learn's digits
    assert found.parts == {"train": SplitNames("data", "target")}
    assert found.warnings == ("a.npz: images not used beside data",)
    found = find(["x_test", "y_test", "x_val", "y_val"], "a.npz", SAY)
    assert found.parts == {"train": SplitNames("x_test", "y_test")}
    (note,) = found.warnings
    assert note.startswith("a.npz: x_test and y_test are taken as the samples, as there are none to train on; x_val")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["arr_0", "arr_1"], f"holds arr_0, arr_1; expected features and labels, .*: rename them, or say {SAY}"),
        ([], "holds no arrays; expected"),
        (["x"], "holds x; expected"),
        (["x_train", "y_train", "x_test"], "holds x_test alone; expected its labels too"),
        (["x_train", "y_train", "y_val"], "holds y_val alone; expected its features too"),
        (["x", "X", "y"], f"holds X, x, y, several of which could be meant: .*say {SAY}"),
        (["X", "y", "Y"], "several of which could be meant"),
        (["images", "inputs", "target", "label", "gnd"], None),
    ],
)
def test_what_could_be_anything_is_refused_with_the_flags_that_say_it(names: list[str], message: str | None) -> None:
    if message is None:
        assert find(names, "a.npz", SAY).warnings
        return
    with pytest.raises(DataError, match=message):
        find(names, "a.npz", SAY)


def test_features_to_predict() -> None:
    for names, expected in (
        (["x"], "x"),
        (["x_train", "y_train", "x_test"], "x_test"),
        (["val_images", "train_images"], "val_images"),
        (["x_test", "data"], "data"),
        (["train/x", "test/x"], "test/x"),
    ):
        found = find_features(names, "a.npz", SAY)
        assert found.parts == {"train": SplitNames(expected)}
        assert bool(found.warnings) == (len([name for name in names if "y" not in name]) > 1)
    for names in (["other"], ["x", "X"], ["y"]):
        with pytest.raises(DataError, match="expected"):
            find_features(names, "a.npz", SAY)


def test_labels_that_belong_to_features() -> None:
    assert partner("x_train", ["x_train", "y_train", "y_test"]) == "y_train"
    assert partner("images", ["images", "target"]) == "target"
    assert partner("x", ["x", "y", "label"]) == "y"
    assert partner("lone", ["lone", "y"]) is None
    assert partner("x", ["x", "y_test"]) is None
    assert find_labels(["classes"]) == "classes"
    assert find_labels(["y", "other"]) == "y"
    assert find_labels(["y_train", "y_test"]) is None
