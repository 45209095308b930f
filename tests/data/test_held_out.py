"""Splits that look at classes or groups: every sample is in one split, and only in one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptrain.data.samples import DataSet, Samples, Source, Split
from ptrain.data.splits import cut
from ptrain.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def source(labels: Any, groups: Any = None) -> Source:
    numbers = np.array(labels, dtype=np.int64)
    features = np.arange(2 * len(numbers), dtype=np.float32).reshape(-1, 2)
    given = None if groups is None else np.array(groups, dtype=np.int64)
    return Source(name="made", description="made", train=Samples(features, numbers, groups=given))


def members(split: Split | None) -> list[int]:
    return [] if split is None else split.indices(np.arange(split.size)).tolist()


def parts(dataset: DataSet) -> list[list[int]]:
    return [members(split) for split in (dataset.train, dataset.validation, dataset.test)]


SHARES = st.sampled_from([0.0, 0.1, 0.25, 0.5])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    split=st.sampled_from(["random", "stratified", "groups", "blocks"]),
    labels=st.lists(st.integers(0, 4), min_size=10, max_size=120),
    num_groups=st.integers(3, 12),
    test_fraction=SHARES,
    validation=SHARES,
    seed=st.integers(0, 3),
)
def test_splits_never_overlap_and_lose_nothing(
    split: str, labels: list[int], num_groups: int, test_fraction: float, validation: float, seed: int
) -> None:
    groups = [(7 * i + i // 3) % num_groups if i >= num_groups else i for i in range(len(labels))]
    if len(labels) < num_groups:
        groups = list(range(len(labels)))
    data = cut(source(labels, groups), test_fraction=test_fraction, validation=validation, seed=seed, split=split)
    found = parts(data)
    assert sorted(index for part in found for index in part) == list(range(len(labels)))
    assert len(found[0]) > 0
    if split in ("groups", "blocks"):
        of_part = [{groups[index] for index in part} for part in found]
        assert not of_part[0] & of_part[1]
        assert not (of_part[0] | of_part[1]) & of_part[2]
        assert bool(found[1]) == (validation > 0)
        assert bool(found[2]) == (test_fraction > 0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), SHARES, SHARES, st.integers(0, 3))
def test_every_class_is_held_out_in_its_share(
    counts: list[int], test_fraction: float, validation: float, seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(seed).shuffle(labels)
    data = cut(source(labels), test_fraction=test_fraction, validation=validation, seed=seed, split="stratified")
    train, held, test = ([int(labels[index]) for index in part] for part in parts(data))
    for number, count in enumerate(counts):
        assert train.count(number) >= 1
        wanted = max(1, int(test_fraction * count + 0.5)) if test_fraction > 0 else 0
        assert test.count(number) == min(wanted, count - 1)
        left = count - test.count(number)
        wanted = max(1, int(validation * left + 0.5)) if validation > 0 else 0
        assert held.count(number) == min(wanted, left - 1)


@pytest.mark.parametrize("split", ["stratified", "groups"])
def test_a_split_depends_on_the_seed_and_on_nothing_else(split: str) -> None:
    labels, groups = np.arange(300) % 3, np.arange(300) % 20

    def made(seed: int, groups: Any = groups) -> DataSet:
        return cut(source(labels, groups), test_fraction=0.3, validation=0.2, seed=seed, split=split)

    assert parts(made(0)) == parts(made(0))
    assert made(0).split_sha256 == made(0).split_sha256
    assert parts(made(0)) != parts(made(1))
    assert made(0).split_sha256 != made(1).split_sha256
    if split == "groups":
        assert made(0, groups // 2).split_sha256 != made(0).split_sha256
        # the names of groups do not matter, only which samples share one
        assert parts(made(0, 1000 - groups[::-1])) is not None


def test_groups_come_near_to_the_share_that_is_asked_for() -> None:
    groups = np.repeat(np.arange(50), np.arange(1, 51))
    data = cut(source(groups % 3, groups), test_fraction=0.2, validation=0.1, seed=0, split="groups")
    assert data.test is not None
    assert data.validation is not None
    total = len(groups)
    assert abs(data.test.size - 0.2 * total) <= 25
    assert abs(data.validation.size - 0.1 * 0.8 * total) <= 25


def test_the_order_within_a_stratified_split_is_shuffled() -> None:
    data = cut(source(np.arange(200) % 2), test_fraction=0.5, validation=0.0, seed=0, split="stratified")
    assert members(data.test) != sorted(members(data.test))


def test_an_order_is_kept_in_the_cache_and_memory_mapped(cache: Path) -> None:
    def made(seed: int) -> DataSet:
        return cut(source(np.arange(300) % 3), test_fraction=0.3, validation=0.0, seed=seed, split="stratified")

    first = made(0)
    assert isinstance(first.train.index, np.memmap)
    assert parts(made(0)) == parts(first)
    made(1)
    assert len(list((cache / "splits").glob("[!.]*.npy"))) == 2


def test_what_cannot_be_cut_is_refused() -> None:
    for split, fix in (("groups", "a table with --group COLUMN"), ("blocks", "a scene")):
        with pytest.raises(DataError, match=f"--split {split}: made has no {split}; expected {fix}"):
            cut(source([0, 1, 0]), test_fraction=0.2, validation=0.0, seed=0, split=split)
    with pytest.raises(DataError, match="2 groups; expected at least 3, one for each split"):
        cut(source([0, 1, 0], [0, 0, 1]), test_fraction=0.2, validation=0.1, seed=0, split="groups")


def test_without_held_out_samples_every_split_keeps_the_natural_order() -> None:
    data = cut(source([0, 1, 0], [5, 5, 5]), test_fraction=0.0, validation=0.0, seed=0, split="groups")
    assert data.train.in_order
    assert members(data.train) == [0, 1, 2]
