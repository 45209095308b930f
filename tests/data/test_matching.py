from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrain.data.matching import by_name
from ptrain.data.samples import Samples, Source
from ptrain.data.store.converted import stream_of
from ptrain.data.store.stream import Stream
from ptrain.errors import DataError

NAMES = ("cat", "dog", "eel", "fox")


def source(labels: list[int], names: tuple[str, ...] | None, **held_out: list[int]) -> Source:
    def make(numbers: list[int]) -> Samples:
        return Samples(np.arange(len(numbers), dtype=np.float32)[:, None], np.array(numbers, np.uint8), "made")

    own: dict[str, Any] = {name: make(numbers) for name, numbers in held_out.items()}
    return Source(name="made", description="made", class_names=names, train=make(labels), **own)


def labels_of(found: Stream | Source) -> dict[str, list[int]]:
    if isinstance(found, Source):
        splits = {"train": found.train, **found.held_out}
        return {name: samples.labels.tolist() for name, samples in splits.items()}
    blocks = {"train": found.train, **found.held_out}
    return {name: [label for _, y, _ in make() for label in y.tolist()] for name, make in blocks.items()}


@given(st.permutations(NAMES), st.integers(1, 4), st.booleans())
def test_every_sample_keeps_the_name_of_its_class(order: list[str], count: int, as_stream: bool) -> None:
    own = tuple(order[:count])
    made = source([*range(count)] * 2, own, validation=[0], test=[count - 1, 0])
    found = by_name(stream_of(made) if as_stream else made, NAMES)
    assert found.class_names == NAMES
    named = {name: [NAMES[label] for label in labels] for name, labels in labels_of(found).items()}
    assert named == {"train": list(own) * 2, "validation": [own[0]], "test": [own[-1], own[0]]}
    absent = [name for name in NAMES if name not in own]
    same = own == NAMES
    expected = "made: classes are matched by name" + (f"; it has no samples of {', '.join(absent)}" if absent else "")
    assert found.notes == (() if same else (expected,))


def test_a_stream_matched_otherwise_is_another_conversion() -> None:
    one, other = (by_name(stream_of(source([0, 1], own, test=[0])), NAMES) for own in (("cat", "dog"), ("dog", "cat")))
    assert isinstance(one, Stream)
    assert isinstance(other, Stream)
    assert one.options != other.options


@pytest.mark.parametrize("as_stream", [False, True])
def test_a_class_that_training_did_not_have_is_refused_by_name(as_stream: bool) -> None:
    made = source([0, 2], ("cat", "gnu", "yak"))
    with pytest.raises(
        DataError, match="class 'yak' is none of the classes of the training samples; expected cat, dog"
    ):
        labels_of(by_name(stream_of(made) if as_stream else made, NAMES))
    assert labels_of(by_name(source([0, 0], ("cat", "yak")), NAMES)) == {"train": [0, 0]}  # a name without samples
    with pytest.raises(DataError, match="class '7' is none of"):
        by_name(source([0, 7], ("cat", "dog")), NAMES)


def test_numbers_count_where_one_side_has_no_names() -> None:
    assert labels_of(by_name(source([0, 3], None), NAMES)) == {"train": [0, 3]}
    assert by_name(source([0, 3], None), NAMES).warnings == ()
    for own, names in ((("0", "1"), NAMES), (NAMES[:2], ("0", "1", "2"))):
        found = by_name(source([1, 0], own), names)
        assert (labels_of(found), found.class_names) == ({"train": [1, 0]}, names)
        assert found.warnings == (
            f"made: classes are matched by number, since one side has no names: {own[0]} is {names[0]}, "
            f"{own[1]} is {names[1]}",
        )
    # numbers as names of both sides are names
    assert labels_of(by_name(source([0, 1], ("2", "10")), ("10", "2", "7"))) == {"train": [1, 0]}
