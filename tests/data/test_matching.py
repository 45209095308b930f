from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrain.data import matching
from ptrain.data.matching import by_name, values_of
from ptrain.data.samples import Samples, Source
from ptrain.errors import DataError

NAMES = ("cat", "dog", "eel", "fox")


def source(labels: Any, names: tuple[str, ...] | None, **held_out: Any) -> Source:
    def make(numbers: Any) -> Samples:
        kind = np.uint8 if isinstance(numbers, list) and all(0 <= number < 256 for number in numbers) else None
        return Samples(np.arange(len(numbers), dtype=np.float32)[:, None], np.asarray(numbers, kind), "made")

    own: dict[str, Any] = {name: make(numbers) for name, numbers in held_out.items()}
    return Source(name="made", description="made", class_names=names, train=make(labels), **own)


def labels_of(found: Source) -> dict[str, list[int]]:
    return {name: samples.labels.tolist() for name, samples in {"train": found.train, **found.held_out}.items()}


@given(st.permutations(NAMES), st.integers(1, 4))
def test_every_sample_keeps_the_name_of_its_class(order: list[str], count: int) -> None:
    own = tuple(order[:count])
    found = by_name(source([*range(count)] * 2, own, validation=[0], test=[count - 1, 0]), NAMES)
    assert found.class_names == NAMES
    named = {name: [NAMES[label] for label in labels] for name, labels in labels_of(found).items()}
    assert named == {"train": list(own) * 2, "validation": [own[0]], "test": [own[-1], own[0]]}
    absent = [name for name in NAMES if name not in own]
    expected = "made: classes are matched by name" + (f"; it has no samples of {', '.join(absent)}" if absent else "")
    assert found.notes == (() if own == NAMES else (expected,))


def test_a_class_that_training_did_not_have_is_refused_by_name() -> None:
    with pytest.raises(
        DataError, match="class 'yak' of sample 1 is none of the classes of the training samples; expected cat, dog"
    ):
        by_name(source([0, 2], ("cat", "gnu", "yak")), NAMES)
    assert labels_of(by_name(source([0, 0], ("cat", "yak")), NAMES)) == {"train": [0, 0]}  # a name without samples
    with pytest.raises(DataError, match="class '7' of sample 1 is none of"):
        by_name(source([0, 7], ("cat", "dog")), NAMES)
    with pytest.raises(DataError, match=r"class '3' of sample 2 is none of the classes .* expected 0, 1, 2"):
        by_name(source([0, 1, 2], None, test=[1, 0, 3]))


def test_numbers_count_where_one_side_has_no_names() -> None:
    for own, names, labels in (
        (None, NAMES, [0, 3]),
        (("0", "1"), NAMES, [1, 0]),
        (NAMES[:2], ("0", "1", "2"), [1, 0]),
    ):
        found = by_name(source(labels, own), names)
        assert (labels_of(found), found.class_names) == ({"train": labels}, names)
        shown = own or ("0", "1", "2", "3")
        pairs = ", ".join(f"{one} is {other}" for one, other in zip(shown, names, strict=False))
        assert found.warnings == (f"made: classes are matched by number, since one side has no names: {pairs}",)
    # numbers as names of both sides are names
    assert labels_of(by_name(source([0, 1], ("2", "10")), ("10", "2", "7"))) == {"train": [1, 0]}
    with pytest.raises(DataError, match="class '4' of sample 0"):
        by_name(source([4, 3], None), NAMES)


IDS = st.lists(st.integers(-(2**63), 2**64 - 1) | st.integers(-3, 30), min_size=1, max_size=30)


@given(IDS, st.data())
def test_labels_of_any_size_are_classes_by_their_value(labels: list[int], data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([np.uint64 if min(labels) >= 0 else np.int64, np.dtype(">i8")]))
    array = np.array([label for label in labels if np.iinfo(kind).min <= label <= np.iinfo(kind).max] or [0], kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_AT_ONCE", data.draw(st.integers(1, 7)))
        found = by_name(source(array, None, test=array[::-1]))
        assert found.class_names == tuple(map(str, sorted(set(array.tolist()))))
        assert [int(found.class_names[label]) for label in found.train.labels] == array.tolist()
        assert [int(found.class_names[label]) for label in found.held_out["test"].labels] == array.tolist()[::-1]
        # a part of them, read alone, has the same numbers
        some = data.draw(st.lists(st.sampled_from(array.tolist()), min_size=1))
        again = by_name(source(np.array(some, kind), None), found.class_names)
        assert [int(found.class_names[label]) for label in again.train.labels] == some
        assert by_name(again, found.class_names) is again


def test_numbers_that_are_positions_already_are_not_copied() -> None:
    made = source([0, 2, 1], None)
    assert by_name(made).train is made.train
    assert (by_name(made).class_names, by_name(made).notes) == (("0", "1", "2"), ())
    part = source([2, 0], None)
    assert by_name(part, ("0", "1", "2")).train is part.train


def test_what_is_doubtful_is_said() -> None:
    found = by_name(source([3, 1, 2, 1], None))
    assert (found.notes, found.warnings) == (("made: the classes are its labels 1, 2, 3",), ())
    assert by_name(source([1, -1, 1], None)).warnings == ()
    assert "-1 is a class, of 2 samples" in by_name(source([1, -1, 0, -1], None)).warnings[0]
    assert "each of 11 samples has its own class" in by_name(source([*range(11)], None)).warnings[0]
    with pytest.raises(DataError, match="more than 10,000 different labels"):
        by_name(source(np.arange(10_001) * 7, None))


def test_the_number_of_a_class_outside() -> None:
    assert values_of(("1", "2", "26")).tolist() == [1, 2, 26]
    assert values_of(("01", "1")).tolist() == [0, 1]
    assert values_of(("cat", "2")).tolist() == [0, 1]
    assert values_of(("0", str(2**64 - 1))).tolist() == [0, 1]
