"""The compiled kernels: one set of bits on every instruction set, and the right numbers."""

import multiprocessing
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ptrain.native import calls, choice, structs
from ptrain.native.choice import instruction_set
from ptrain.sums.ordered import plan_additions
from ptrain.sums.tree import merges_of

HERE = structs.kernels.instruction_sets()


@pytest.fixture(autouse=True)
def _best_again() -> Iterator[None]:
    """Put the best instruction set back after each test."""
    yield
    choice.choose(HERE[0])


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return float32 values of very different sizes, some of them 0."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal(shape) * 10.0 ** generator.integers(-3, 4, shape)
    return torch.from_numpy(np.where(generator.random(shape) < 0.1, 0.0, values).astype(np.float32))


sizes = st.integers(1, 70)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), sizes, sizes, st.booleans(), st.booleans())
def test_products_have_one_set_of_bits_and_are_right(
    shards: int, rows: int, depth: int, n: int, with_bias: bool, relu: bool
) -> None:
    a, b, bias = random(shards, rows, depth), random(depth, n, seed=1), random(n, seed=2) if with_bias else None
    exact = a.double() @ b.double() + (0.0 if bias is None else bias.double())
    scale = (a.double().abs() @ b.double().abs()) + 1e4
    found = []
    for name in HERE:
        choice.choose(name)
        out = torch.full((shards, rows, n), 7.0)
        calls.linear(a, b, out, bias=bias, relu=relu)()
        assert ((out - (exact.clamp_min(0) if relu else exact)).abs() <= 1e-5 * scale).all()
        turned = torch.full((shards, rows, n), 7.0)
        calls.linear(a, b.t().contiguous(), turned, transposed=True)()
        if bias is None and not relu:
            assert torch.equal(out, turned)
        found.append(torch.cat([out, turned]))
    assert all(torch.equal(found[0], other) for other in found)


def test_a_row_does_not_depend_on_the_others_and_the_depth_may_be_long() -> None:
    a, b = random(1, 13, 9001), random(9001, 35, seed=1)
    whole = torch.zeros(1, 13, 35)
    calls.linear(a, b, whole)()
    for row in range(13):
        alone = torch.zeros(1, 1, 35)
        calls.linear(a[:, row : row + 1].contiguous(), b, alone)()
        assert torch.equal(alone[0, 0], whole[0, row])
    choice.choose("plain")
    plain = torch.zeros(1, 13, 35)
    calls.linear(a, b, plain)()
    assert torch.equal(plain, whole)


def test_relu_and_its_gate_keep_what_is_not_a_number() -> None:
    a = torch.tensor([[[1.0, float("nan")]]])
    out, gate = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    calls.linear(a, torch.ones(2, 1), out, relu=True)()
    assert out.isnan().all()
    calls.linear(a, torch.ones(2, 1), out, gate=gate)()
    assert out.isnan().all()
    calls.linear(a, torch.ones(2, 1), out, gate=0 * gate)()
    assert out.item() == 0.0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 11), st.integers(1, 9), sizes, sizes, st.data())
def test_gradients_are_added_in_the_order_of_the_tree(
    num_shards: int, rows: int, inputs: int, outputs: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, num_shards - 1))
    shards = range(start, data.draw(st.integers(start + 1, num_shards)))
    source, grad = random(len(shards), rows, inputs), random(len(shards), rows, outputs, seed=1)
    merges = merges_of(shards, num_shards)
    num_nodes = len(shards) - sum(merges)
    found = []
    for name in HERE:
        choice.choose(name)
        singles = torch.zeros(len(shards), inputs + 1, outputs)
        calls.weight_gradient(source, grad, [0] * len(shards), singles[:, :inputs])()
        calls.column_sums(grad, [0] * len(shards), singles[:, inputs])()
        torch.testing.assert_close(
            singles[:, :inputs].double(), source.double().mT @ grad.double(), rtol=1e-4, atol=10 * rows
        )
        merged = torch.full((num_nodes, inputs + 1, outputs), 7.0)
        calls.weight_gradient(source, grad, merges, merged[:, :inputs])()
        calls.column_sums(grad, merges, merged[:, inputs])()
        additions, rest = plan_additions([(shard, 1) for shard in shards], num_shards)
        for left, right in additions:
            singles[left] += singles[right]
        assert torch.equal(merged, torch.stack([singles[index] for _, index in rest]))
        found.append(merged)
    assert all(torch.equal(found[0], other) for other in found)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(2, 300), st.booleans())
def test_cross_entropy_is_right_to_the_last_float(shards: int, rows: int, classes: int, weighted: bool) -> None:
    outputs = random(shards, rows, classes) * 0.1
    labels = torch.from_numpy(np.random.default_rng(1).integers(0, classes, (shards, rows)))
    weights = torch.ones(shards, rows)
    weights[-1, -1] = 0.0
    of_class = random(classes, seed=3).abs() if weighted else None
    row_losses, grad = torch.zeros(shards, rows), torch.zeros(shards, rows, classes)
    losses, hits = torch.ones(shards, rows, dtype=torch.float64), torch.ones(shards, rows, dtype=torch.int64)
    calls.cross_entropy(outputs, labels, weights, of_class, row_losses, grad, (losses, hits))()
    exact = outputs.double().requires_grad_()
    factor = (weights if of_class is None else weights * of_class[labels]).double()
    expected = torch.nn.functional.cross_entropy(exact.movedim(-1, 1), labels, reduction="none") * factor
    expected.sum().backward()  # type: ignore[no-untyped-call]
    assert exact.grad is not None
    torch.testing.assert_close(row_losses.double(), expected.detach(), rtol=2e-7, atol=1e-12)
    torch.testing.assert_close(grad.double(), exact.grad, rtol=2e-7, atol=1e-12)
    assert torch.equal(losses, 1.0 + row_losses.double())
    assert torch.equal(hits, 1 + ((outputs.argmax(-1) == labels) & (weights > 0)).long())


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_seen(wrong: float) -> None:
    outputs = torch.tensor([[[0.0, wrong, 1.0]]])
    row_losses, grad = torch.zeros(1, 1), torch.zeros(1, 1, 3)
    epoch = (torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.int64))
    calls.cross_entropy(
        outputs, torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1), None, row_losses, grad, epoch
    )()
    assert not row_losses.isfinite().any()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 3000), st.integers(1, 200), st.data())
def test_reduce_adds_a_slice_and_divides(num_pieces: int, length: int, divisor: int, data: st.DataObject) -> None:
    pieces = [random(length, seed=seed) for seed in range(num_pieces)]
    nodes = [(index, 1) for index in range(num_pieces)]
    additions, rest = plan_additions(nodes, num_pieces)
    start = data.draw(st.integers(0, length - 1))
    part = range(start, data.draw(st.integers(start, length)))
    expected = [piece.clone() for piece in pieces]
    for left, right in additions:
        expected[left] += expected[right]
    for name in HERE:
        choice.choose(name)
        out = torch.full((length,), 7.0)
        finite = torch.zeros(1, dtype=torch.int32)
        call = calls.reduce(pieces, additions, part, out, finite)
        calls.set_divisor(call, divisor)
        call()
        assert finite.item() == 1
        assert torch.equal(out[part.start : part.stop], (expected[rest[0][1]] / divisor)[part.start : part.stop])
        assert (out[: part.start] == 7.0).all()
        assert (out[part.stop :] == 7.0).all()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_reduce_sees_what_is_not_finite(wrong: float) -> None:
    left, right, out = torch.ones(5000), torch.ones(5000), torch.zeros(5000)
    right[4321] = wrong
    finite = torch.full((2,), 7, dtype=torch.int32)
    calls.reduce([left, right], [(0, 1)], range(5000), out, finite[:1])()
    calls.reduce([left, right], [(0, 1)], range(4321), out, finite[1:])()
    assert finite.tolist() == [0, 1]


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("label_kind", [np.uint8, np.int16, np.int32, np.int64])
def test_gather_takes_rows_and_fills_up(kind: type[np.generic], label_kind: type[np.generic]) -> None:
    features = np.random.default_rng(0).integers(0, 255, (50, 37)).astype(kind)
    labels = np.random.default_rng(1).integers(0, 100, 50).astype(label_kind)
    offset, scale = torch.tensor(3.0), random(37, seed=4)
    out, classes, weights = torch.full((2, 5, 37), 7.0), torch.full((2, 5), 7), torch.full((2, 5), 7.0)
    call = calls.gather(features, labels, offset, scale, out, classes, weights)
    indices = np.array([3, 49, 0, 3, 17, 20, 21], dtype=np.int64)
    calls.set_indices(call, indices, 7)
    call()
    expected = (torch.from_numpy(features[indices].astype(np.float32)) - offset) * scale
    assert torch.equal(out.view(10, 37)[:7], expected)
    assert not out.view(10, 37)[7:].any()
    assert classes.view(-1).tolist() == [*labels[indices].tolist(), 0, 0, 0]
    assert weights.view(-1).tolist() == [1.0] * 7 + [0.0] * 3


def _count(words: torch.Tensor, counts: torch.Tensor, rank: int, size: int, spins: int) -> None:
    wait = calls.barrier(words, size, spins)
    for turn in range(1, 201):
        counts[rank] = turn
        wait()
        assert (counts[:size] == turn).all()
        wait()


@pytest.mark.parametrize("spins", [0, 5000])
def test_the_barrier_holds_processes_together(spins: int) -> None:
    words = torch.zeros(calls.BARRIER_WORDS, dtype=torch.int32).share_memory_()  # type: ignore[no-untyped-call]
    counts = torch.zeros(3, dtype=torch.int32).share_memory_()  # type: ignore[no-untyped-call]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_count, args=(words, counts, rank, 3, spins)) for rank in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        if process.exitcode is None:
            process.kill()
    assert [process.exitcode for process in processes] == [0, 0, 0]


def test_an_instruction_set_may_be_named_and_a_wrong_one_is_an_error() -> None:
    assert instruction_set() in HERE
    program = "from ptrain.native.choice import instruction_set; print(instruction_set())"
    for name in HERE:
        environment = {choice.VARIABLE: name, "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.stdout.strip() == name, done.stderr
    with pytest.raises(ValueError, match="not one of this"):
        choice.choose("abacus")


def test_kernels_compiled_from_other_sources_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fields: list[tuple[str, str, int, int]] = structs.kernels.STRUCTS["barrier"]
    others: list[dict[str, list[tuple[str, str, int, int]]]] = [
        {},
        {"barrier": [*fields, ("more", "l", 32, 8)]},
        {"barrier": fields[:-1]},
        {"barrier": [(field[0].replace("size", "count"), *field[1:]) for field in fields]},
    ]
    for other in others:
        monkeypatch.setattr(structs, "STRUCTS", structs.structs_of(other))
        with pytest.raises(RuntimeError, match="compiled from other sources"):
            calls.barrier(torch.zeros(calls.BARRIER_WORDS, dtype=torch.int32), 1, 0)
    with pytest.raises(AssertionError, match="lies otherwise in C"):
        structs.structs_of({"barrier": [(name, kind, offset + 8, size) for name, kind, offset, size in fields]})


def test_a_field_that_a_kernel_does_not_have_cannot_be_set() -> None:
    wait = calls.barrier(torch.zeros(calls.BARRIER_WORDS, dtype=torch.int32), 1, 0)
    wait.spins = 7
    with pytest.raises(AttributeError):
        wait.spin = 7
    with pytest.raises(TypeError):
        wait.spins = 7.0
