"""Calls of the compiled kernels, made from tensors whose shapes and types are checked, and lists of calls.

Every kernel gives the same bits on every instruction set, for any number of rows computed together (see simd.h).
"""

import ctypes
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptrain.native.structs import Call as Call
from ptrain.native.structs import address as address
from ptrain.native.structs import call_of, kernels

BARRIER_WORDS = 32
"""uint32 words of a barrier: its two counters on cache lines of their own."""
GivenUpError: type[RuntimeError] = RuntimeError if kernels is None else kernels.GivenUpError
"""What a barrier raises that another thread of this process will not come to."""


class CallList:
    """Several calls, carried out one after the other without a return to the interpreter."""

    def __init__(self, calls: Sequence[Call]):
        self._calls = list(calls)
        pairs = [(call.operation, ctypes.addressof(call)) for call in calls]
        self._list = np.array(pairs, dtype=np.int64)
        self._address, self._count = address(self._list), len(pairs)

    def __call__(self) -> None:
        """Run the kernels; raises MemoryError where their scratch memory cannot be had."""
        kernels.run(self._address, self._count)

    def serve(self, stop: NDArray[np.int32]) -> None:
        """Run the kernels again and again, until ``stop`` is not 0 after the first of them, a barrier.

        Raises MemoryError as a single run does.
        """
        kernels.serve(self._address, self._count, address(stop))


def fuse(operations: Sequence[Callable[[], object]]) -> list[Callable[[], object]]:
    """Make neighbouring calls of kernels one program; other operations stay as they are."""
    fused: list[Callable[[], object]] = []
    for compiled, group in itertools.groupby(operations, lambda operation: isinstance(operation, Call)):
        members = list(group)
        fused += [CallList(members)] if compiled else members  # type: ignore[arg-type]
    return fused


def _stride(tensor: torch.Tensor) -> int:
    """Check that a (shards, rows, width) tensor is float32 with dense rows, and give the stride between its shards."""
    assert tensor.dtype == torch.float32
    assert tensor.dim() == 3
    assert tensor.stride(2) == 1 or tensor.shape[2] == 1
    assert tensor.stride(1) == tensor.shape[2] or tensor.shape[1] == 1
    return tensor.stride(0)


def linear(
    a: torch.Tensor,
    b: torch.Tensor,
    out: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    relu: bool = False,
    transposed: bool = False,
    gate: torch.Tensor | None = None,
) -> Call:
    """Make the call that fills out = a @ b + bias, or a @ b.T with ``transposed``.

    a: (shards, rows, depth); b: (depth, n), transposed (n, depth), dense; out: (shards, rows, n); bias: (n,). ``relu``
    takes the maximum with 0. ``gate``, laid out like ``out``: the result is 0 where the gate is not above 0.
    """
    shards, rows, depth = a.shape
    n = b.shape[0 if transposed else 1]
    assert b.is_contiguous()
    assert tuple(b.shape) == ((n, depth) if transposed else (depth, n))
    assert tuple(out.shape) == (shards, rows, n)
    assert gate is None or (gate.shape == out.shape and gate.stride() == out.stride() and bias is None)
    size = {"shards": shards, "rows": rows, "depth": depth, "n": n}
    flags = {"transposed": transposed, "relu": relu}
    strides = {"a_stride": _stride(a), "out_stride": _stride(out)}
    return call_of("linear", a=a, b=b, bias=bias, gate=gate, out=out, **size, **flags, **strides)


def weight_gradient(
    source: torch.Tensor,
    grad: torch.Tensor,
    merges: Sequence[int],
    out: torch.Tensor,
    *,
    inputs: range | None = None,
    finite: NDArray[np.int32] | None = None,
) -> Call:
    """Make the call that fills out[node] = sum over the node's shards of source.T @ grad, in the order of ``merges``.

    source: (shards, rows, width); grad: (shards, rows, outputs); out: (nodes, inputs, outputs), dense within a node.
    merges[s]: how many additions follow on shard s, each of the last sum to the one before it. ``inputs``: the
    columns of source, by default all. ``finite``: one int32; with it the sum of all shards is divided by what
    ``set_divisor`` says, and it receives whether all of the result is finite.
    """
    shards, rows, width = source.shape
    inputs, outputs = inputs or range(width), grad.shape[2]
    assert tuple(out.shape) == (shards - sum(merges), len(inputs), outputs)
    assert finite is None or len(out) == 1
    size = {"shards": shards, "rows": rows, "width": width, "inputs": len(inputs), "outputs": outputs}
    strides = {"input_stride": _stride(source), "grad_stride": _stride(grad), "node_stride": out.stride(0)}
    division = {"divisor": 0.0 if finite is None else 1.0, "by_inverse": 1, "finite": finite}
    columns, order = source[:, :, inputs.start :], np.array(merges, dtype=np.int64)
    return call_of("gradient", input=columns, grad=grad, merges=order, out=out, **size, **strides, **division)


def column_sums(values: torch.Tensor, merges: Sequence[int], out: torch.Tensor) -> Call:
    """Make the call that fills out[node] with sums over rows and the node's shards; see ``weight_gradient``.

    values: (shards, rows, n); out: (nodes, n).
    """
    shards, rows, n = values.shape
    assert tuple(out.shape) == (shards - sum(merges), n)
    order, strides = np.array(merges, dtype=np.int64), {"stride": _stride(values), "node_stride": out.stride(0)}
    return call_of("column_sums", values=values, shards=shards, rows=rows, n=n, merges=order, out=out, **strides)


def cross_entropy(
    outputs: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    class_weights: torch.Tensor | None,
    row_losses: torch.Tensor,
    grad: torch.Tensor,
    epoch: tuple[torch.Tensor, torch.Tensor],
) -> Call:
    """Make the call for w (log Σ exp(z) - z_label) and its derivative w (softmax - one-hot), in double inside.

    outputs, grad: (shards, rows, classes); labels: int64, weights and row_losses: float32, (shards, rows), dense;
    class_weights: (classes,). epoch: losses (float64) and hits (int64), (shards, rows), which are added to. The
    derivative: Bishop, Pattern Recognition and Machine Learning, eq. 4.109.
    """
    shards, rows, n = outputs.shape
    for tensor in (labels, weights, row_losses, *epoch):
        assert tensor.is_contiguous()
        assert tuple(tensor.shape) == (shards, rows)
    assert (labels.dtype, epoch[0].dtype, epoch[1].dtype) == (torch.int64, torch.float64, torch.int64)
    inputs = {"outputs": outputs, "labels": labels, "weights": weights, "class_weights": class_weights}
    results = {"row_losses": row_losses, "grad": grad, "epoch_losses": epoch[0], "epoch_hits": epoch[1]}
    strides = {"outputs_stride": _stride(outputs), "grad_stride": _stride(grad)}
    return call_of("cross_entropy", shards=shards, rows=rows, n=n, **inputs, **results, **strides)


def reduce(
    pieces: Sequence[torch.Tensor],
    additions: Sequence[tuple[int, int]],
    part: range,
    out: torch.Tensor,
    finite: torch.Tensor | NDArray[np.int32],
) -> Call:
    """Make the call that fills out[part] = (sum of pieces) / divisor, where sum[i] += sum[j] for each (i, j).

    pieces and out: float32 vectors; the whole sum is that of piece 0. ``set_divisor`` comes before the call. finite:
    one int32, receives whether all of the slice is finite. The pieces are not changed.
    """
    table = np.array([address(piece) for piece in pieces], dtype=np.int64)
    order = np.array(additions, dtype=np.int64).reshape(-1, 2)
    size = {"num_pieces": len(pieces), "num_additions": len(order), "start": part.start, "stop": part.stop}
    division = {"divisor": 1.0, "by_inverse": 1, "finite": finite}
    call = call_of("reduce", pieces=table, additions=order, out=out, **size, **division)
    call.kept += pieces
    return call


def set_divisor(call: Call, divisor: int) -> None:
    """Let a call of ``reduce``, or of ``weight_gradient`` with a flag, divide by this number of rows."""
    call.divisor = divisor
    # Multiplying by the inverse of a power of two rounds in the same way.
    call.by_inverse = divisor & (divisor - 1) == 0


def update(
    optimizer: str,
    parameters: torch.Tensor,
    gradient: torch.Tensor,
    decay: torch.Tensor | None,
    moments: Sequence[torch.Tensor],
    numbers: Mapping[str, float],
    flags: NDArray[np.int32] | None = None,
) -> Call:
    """Make the call that changes ``parameters`` by one update of ``optimizer``; all tensors are float32 vectors.

    moments: the optimizer's own vectors, at most two. numbers: momentum, beta1, beta2 and epsilon. What multiplies the
    gradient, both rates and adam's second correction are set before each call. Nothing is done where a flag is 0.
    """
    first, second = [*moments, None, None][:2]
    # 1 - beta in double, rounded to float once in the kernel
    rest = {f"one_minus_{name}": 1.0 - numbers[name] for name in ("beta1", "beta2")}
    each_step = {"factor": 1.0, "rate": 0.0, "decay_rate": 0.0, "second_scale": 1.0}
    vectors = {"parameters": parameters, "gradient": gradient, "decay": decay, "first": first, "second": second}
    size = {"count": parameters.numel(), "num_flags": 0 if flags is None else flags.size}
    kind = kernels.OPTIMIZERS.index(optimizer)
    return call_of("update", kind=kind, flags=flags, **size, **vectors, **numbers, **rest, **each_step)


def gather(
    features: NDArray[Any],
    labels: NDArray[Any],
    offset: torch.Tensor | None,
    scale: torch.Tensor | None,
    out: torch.Tensor,
    labels_out: torch.Tensor,
    weights_out: torch.Tensor,
) -> Call:
    """Make the call that takes rows of ``features`` as float32, (x - offset) * scale, with their labels and weight 1.

    features: (N, F) uint8 or float32, dense; labels: (N,) integers from 0 on; offset and scale: () or (F,) or None;
    out: (shards, rows, F); labels_out int64 and weights_out float32: (shards, rows). ``set_indices`` comes before the
    call; rows beyond the indices are zeros of weight 0.
    """
    shards, rows, width = out.shape
    assert features.flags.c_contiguous
    assert features.dtype in (np.uint8, np.float32)
    assert labels.dtype.kind in "iu"
    assert labels.flags.c_contiguous
    offset, scale = (None if one is None else one.expand(width).contiguous() for one in (offset, scale))
    size = {"shards": shards, "rows": rows, "width": width, "item": features.itemsize, "label_item": labels.itemsize}
    each_step = {"indices": None, "count": 0, "ahead": 0}
    stored = {"features": features, "labels": labels, "offset": offset, "scale": scale}
    results = {"out": out, "out_stride": _stride(out), "labels_out": labels_out, "weights_out": weights_out}
    return call_of("gather", **size, **stored, **each_step, **results)


def set_indices(call: Call, indices: NDArray[np.int64], count: int, ahead: int = 0, start: int | None = None) -> None:
    """Let a call of ``gather`` take the rows indices[:count]; the array must live until after the call.

    ``ahead`` more indices behind them are of rows that are taken soon. ``start``: their address, where it is known.
    """
    assert indices.dtype == np.int64
    assert indices.flags.c_contiguous
    call.indices = address(indices) if start is None else start
    call.count, call.ahead = count, ahead


def barrier(words: torch.Tensor, size: int, spins: int, given_up: NDArray[np.int32] | None = None) -> Call:
    """Make the call that waits until ``size`` processes or threads have made it on the same memory.

    words: BARRIER_WORDS of 4 bytes, zeros at first. ``spins``: how many looks before it sleeps. The call raises
    GivenUpError once ``given_up``, one int32, is not 0.
    """
    return call_of("barrier", words=words, size=size, spins=spins, given_up=given_up)
