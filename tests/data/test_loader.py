from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from ptrain.data.gather import Gatherer
from ptrain.data.loader import EvaluationLoader, Normalization, ShardLoader
from ptrain.data.permutation import KeyedPermutation
from ptrain.data.plan import BatchPlan, owned_shards
from ptrain.data.samples import Samples, Split
from ptrain.keys import derive_key

CPU = torch.device("cpu")
DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">i2", ">f4", ">f8"]
Filled = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def samples(total: int = 50, width: int = 6, dtype: str = "u1") -> Samples:
    generator = np.random.default_rng(0)
    return Samples(generator.integers(0, 100, (total, width)).astype(dtype), generator.integers(0, 5, total))


def scaled(offset: ArrayLike, scale: ArrayLike) -> Normalization:
    return Normalization(np.asarray(offset, np.float64), np.asarray(scale, np.float64))


def empty(shards: int, rows: int, width: int, padding: int = 0) -> Filled:
    """Return tensors full of what must not be left behind; the stride between shards may be padded."""
    features = torch.full((shards, rows * width + padding), torch.nan)[:, : rows * width].view(shards, rows, width)
    return features, torch.full((shards, rows), -7), torch.full((shards, rows), torch.nan)


def take(gather: Gatherer, indices: ArrayLike, tensors: Sequence[torch.Tensor]) -> None:
    """Fill tensors with these samples, the groups in two parts where there are several."""
    groups = len(tensors[0])
    fills = [
        gather.bind(range(start, stop), *(tensor[start:stop] for tensor in tensors))
        for start, stop in ((0, groups // 2), (groups // 2, groups))
        if start < stop
    ]
    gather.select(np.asarray(indices))
    for fill in fills:
        fill()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 9), st.integers(1, 9), st.integers(0, 5), st.data())
def test_ranks_together_see_every_sample_of_an_epoch_once_and_in_the_same_shards(
    total: int, batch: int, shards: int, size: int, padding: int, data: st.DataObject
) -> None:
    source = samples(total)
    plan = BatchPlan(num_samples=total, batch_size=min(batch, total), shards=shards)
    epoch = data.draw(st.integers(0, 3))
    order = KeyedPermutation(total, derive_key(5, "order", epoch))(np.arange(total))
    for rank in range(min(size, shards)):
        owned = owned_shards(shards, min(size, shards), rank)
        loader = ShardLoader(Split(source, 0, total), plan, owned, 5, Normalization.identity(), CPU)
        features, labels, weights = empty(len(owned), plan.rows, 6, padding)
        fill = loader.bind(owned, features, labels, weights)
        for step in range(plan.steps_per_epoch):
            loader.select(epoch, step)
            fill()
            for local, shard in enumerate(owned):
                positions = plan.block(step, range(shard, shard + 1))
                count, indices = len(positions), order[positions.start : positions.stop]
                np.testing.assert_array_equal(features[local, :count].numpy(), source.features[indices])
                np.testing.assert_array_equal(labels[local, :count].numpy(), source.labels[indices])
                assert (weights[local, :count] == 1).all()
                for tensor in (features, labels, weights):
                    assert (tensor[local, count:] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("resident", [False, True])
def test_every_stored_type_is_converted_with_one_rounding_an_operation(dtype: str, resident: bool) -> None:
    source = samples(dtype=dtype)
    fitted = scaled(np.linspace(0, 3, 6), np.linspace(0.1, 0.7, 6))
    gather = Gatherer(source, 2, 4, fitted, CPU, resident)
    indices = np.array([3, 49, 0, 17, 17])
    features, labels, weights = empty(2, 4, 6, 3)
    take(gather, indices, (features, labels, weights))
    # what float32 does not hold is shifted and scaled in float64
    working = np.float32 if np.can_cast(dtype, np.float32) else np.float64
    offset, scale = fitted.offset.astype(working), fitted.scale.astype(working)
    expected = ((source.features[indices].astype(working) - offset) * scale).astype(np.float32)
    np.testing.assert_array_equal(features.reshape(8, 6)[:5].numpy(), expected)
    assert labels.flatten().tolist() == [*source.labels[indices].tolist(), 0, 0, 0]
    assert weights.flatten().tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    assert (features.reshape(8, 6)[5:] == 0).all()


@pytest.mark.parametrize("resident", [False, True])
def test_nothing_of_a_call_is_left_in_the_next(resident: bool) -> None:
    source = samples(dtype="f4")
    gather = Gatherer(source, 2, 4, scaled(1.0, 2.0), CPU, resident)
    tensors = empty(2, 4, 6)
    fill = gather.bind(range(2), *tensors)
    for count in (8, 3, 0, 5, 4, 8):
        indices = np.arange(count) + 10
        gather.select(indices)
        fill()
        features, labels, weights = (tensor.flatten(0, 1).numpy() for tensor in tensors)
        np.testing.assert_array_equal(features[:count], (source.features[indices] - 1) * 2)
        np.testing.assert_array_equal(labels[:count], source.labels[indices])
        assert weights.tolist() == [1.0] * count + [0.0] * (8 - count)
        assert not features[count:].any()
        assert not labels[count:].any()


@pytest.mark.parametrize("layout", ["mapped", "fortran", "unaligned"])
def test_layouts_that_numpy_would_copy_whole_are_read_by_row(layout: str, tmp_path: Path) -> None:
    source = samples(dtype="f8")
    stored: np.ndarray = np.asfortranarray(source.features)
    if layout != "fortran":
        offset = 8 if layout == "mapped" else 4
        (tmp_path / "x").write_bytes(bytes(offset) + source.features.tobytes())
        stored = np.memmap(tmp_path / "x", "f8", "r", offset, source.features.shape)
    features, labels, weights = empty(1, 5, 6)
    gather = Gatherer(Samples(stored, source.labels), 1, 5, Normalization.identity(), CPU)
    take(gather, np.arange(45, 50), (features, labels, weights))
    np.testing.assert_array_equal(features[0].numpy(), source.features[45:].astype(np.float32))


@given(st.integers(1, 50), st.integers(1, 60), st.booleans())
def test_evaluation_sees_every_sample_once_in_order_in_chunks_of_one_shape(
    size: int, rows: int, permuted: bool
) -> None:
    source = samples()
    split = Split(source, 50 - size, 50, KeyedPermutation(50, 1) if permuted else None)
    loader = EvaluationLoader(split, rows, Normalization.identity(), CPU)
    seen = []
    tensors = empty(1, rows, 6)
    fill = loader.bind(range(1), *tensors)
    features, labels, weights = (tensor[0] for tensor in tensors)
    for chunk in range(loader.num_chunks):
        loader.select(0, chunk)
        fill()
        valid = weights == 1
        assert (weights[~valid] == 0).all()
        assert (features[~valid] == 0).all()
        seen.append(torch.cat([features[valid], labels[valid, None]], dim=1))
    indices = split.indices(np.arange(size))
    expected = np.column_stack([source.features[indices], source.labels[indices]])
    np.testing.assert_array_equal(torch.cat(seen).numpy(), expected)


def test_a_split_of_a_permutation_feeds_the_loader() -> None:
    split = Split(samples(), 10, 40, KeyedPermutation(50, 9))
    plan = BatchPlan(num_samples=30, batch_size=30, shards=3)
    features, labels, weights = empty(3, 10, 6)
    loader = ShardLoader(split, plan, range(3), 0, Normalization.identity(), CPU)
    fill = loader.bind(range(3), features, labels, weights)
    loader.select(2, 0)
    fill()
    order = KeyedPermutation(30, derive_key(0, "order", 2))(np.arange(30))
    np.testing.assert_array_equal(features.reshape(30, 6).numpy(), split.samples.features[split.indices(order)])


def test_any_step_of_any_epoch_can_be_asked_for_in_any_order() -> None:
    plan = BatchPlan(num_samples=50, batch_size=20, shards=2)
    loader = ShardLoader(Split(samples(), 0, 50), plan, range(2), 0, Normalization.identity(), CPU)

    def at(epoch: int, step: int) -> torch.Tensor:
        tensors = empty(2, 10, 6)
        fill = loader.bind(range(2), *tensors)
        loader.select(epoch, step)
        fill()
        return tensors[0]

    first, other = at(0, 1), at(3, 1)
    assert torch.equal(at(0, 1), first)
    assert not torch.equal(first, other)


def test_a_plan_for_another_number_of_samples_is_refused() -> None:
    plan = BatchPlan(num_samples=40, batch_size=20, shards=2)
    with pytest.raises(ValueError, match="the plan is for 40 samples, the split has 50"):
        ShardLoader(Split(samples(), 0, 50), plan, range(2), 0, Normalization.identity(), CPU)


@pytest.mark.parametrize("resident", [False, True])
def test_loaders_over_one_split_run_in_several_threads(resident: bool) -> None:
    source = samples(2000, 20)
    split = Split(source, 0, 2000, KeyedPermutation(2000, 4))

    def run(thread: int) -> torch.Tensor:
        gather = Gatherer(source, 4, 8, scaled(1.0, 0.5), CPU, resident)
        total = torch.zeros(4, 8, 20)
        tensors = empty(4, 8, 20)
        fill = gather.bind(range(4), *tensors)
        for start in range(0, 2000 - 32, 32):
            gather.select(split.indices(np.arange(start, start + 32)))
            fill()
            total += tensors[0] * (1 + tensors[1][..., None])
        return total

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, range(8)))
    for result in results[1:]:
        assert torch.equal(result, results[0])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != "?"])
@pytest.mark.parametrize("resident", [False, True])
def test_a_gpu_gets_the_same_bits(dtype: str, resident: bool) -> None:
    source = samples(dtype=dtype)
    fitted = scaled(np.linspace(0, 3, 6), np.linspace(0.1, 0.7, 6))
    filled = []
    for device in (CPU, torch.device("cuda", 0)):
        tensors = [tensor.to(device) for tensor in empty(2, 4, 6)]
        take(Gatherer(source, 2, 4, fitted, device, resident), [3, 49, 0, 17, 17], tensors)
        filled.append([tensor.cpu() for tensor in tensors])
    for on_cpu, on_gpu in zip(*filled, strict=True):
        assert torch.equal(on_cpu, on_gpu)
