"""The compiled kernels of a training step on a CPU: calls whose arguments are laid down once.

Every kernel gives the same bits on every instruction set, for any number of rows computed together (see simd.h).
"""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

VARIABLE = "PTRAIN_INSTRUCTION_SET"
"""Environment variable that names the instruction set to use: avx512, avx2, neon or plain."""
LAYOUT = 4
"""Layout of the kernels' structs, as in kernels.c."""
NAMES = ("linear", "gradient", "column_sums", "cross_entropy", "reduce", "update", "gather", "barrier")
"""The kernels, in the order of their numbers."""
KINDS = {"sgd": 0, "momentum": 1, "nesterov": 2, "adam": 3, "adamw": 4}
DIVISORS = {"reduce": 6, "gradient": 12}
"""Where a struct holds its divisor and, behind it, whether to multiply by the inverse."""
BARRIER_WORDS = 32
"""uint32 words of a barrier: its two counters on cache lines of their own."""

try:
    from ptrain.native import _kernels as _compiled
except ImportError:
    _compiled = None
_kernels: Any = _compiled
_chosen: str | None = None
GivenUpError: type[RuntimeError] = RuntimeError if _kernels is None else _kernels.GivenUpError
"""What a barrier raises that another thread of this process will not come to."""


def instruction_set(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the name of the instruction set that the kernels use, None where they were not compiled.

    Raises:
        ValueError: PTRAIN_INSTRUCTION_SET names one that this processor does not have.
        RuntimeError: the kernels' bits are not those of the plain ones, or they were compiled from other sources.
    """
    global _chosen
    if _kernels is None:
        return None
    if _chosen is None:
        if _kernels.LAYOUT != LAYOUT:
            raise RuntimeError("ptrain.native was compiled from other sources than these: install ptrain again")
        here = _kernels.instruction_sets()
        wanted = environ.get(VARIABLE) or here[0]
        if wanted not in here:
            raise ValueError(f"{VARIABLE}={wanted}: expected one of this processor's: {', '.join(here)}")
        _check(wanted)
        _kernels.choose(wanted)
        _chosen = wanted
    return _chosen


def choose(name: str) -> None:
    """Use the kernels of this instruction set from now on. Raises ValueError where the processor has none such."""
    global _chosen
    _kernels.choose(name)
    _chosen = name


def _check(name: str) -> None:
    """Compare a small product of every sort with the plain kernels': a compiler's fault must not pass unseen."""
    random = np.random.Generator(np.random.Philox(key=1))
    x, w = (torch.from_numpy(random.standard_normal(shape, dtype=np.float32)) for shape in ((2, 7, 19), (19, 83)))
    results = []
    for kernels in ("plain", name):
        _kernels.choose(kernels)
        forward, gradient, back = torch.zeros(2, 7, 83), torch.zeros(1, 19, 83), torch.zeros(2, 7, 19)
        linear(x, w, forward, relu=True)()
        weight_gradient(x, forward, [0, 1], gradient)()
        linear(forward, w, back, transposed=True, gate=x)()
        results.append((forward, gradient, back))
    if not all(torch.equal(plain, other) for plain, other in zip(*results, strict=True)):
        raise RuntimeError(
            f"the {name} kernels do not give the bits of the plain ones: set {VARIABLE}=plain and report it"
        )


class Call:
    """One kernel with its arguments: 64-bit words in the order of its struct. Holds what the addresses point to."""

    def __init__(self, name: str, words: Sequence[Any]):
        self.operation = NAMES.index(name)
        self.words: NDArray[np.int64] = np.zeros(len(words), dtype=np.int64)
        self.reals: NDArray[np.float64] = self.words.view(np.float64)
        self.kept = [word for word in words if isinstance(word, torch.Tensor | np.ndarray)]
        for index, word in enumerate(words):
            if isinstance(word, float):
                self.reals[index] = word
            else:
                self.words[index] = word if isinstance(word, int) else address(word)
        self._alone = Program([self])

    def __call__(self) -> None:
        """Run the kernel; raises MemoryError where its scratch memory cannot be had."""
        self._alone()


class Program:
    """Several calls, carried out one after the other without a return to the interpreter."""

    def __init__(self, calls: Sequence[Call]):
        self._calls = list(calls)
        pairs = [(call.operation, address(call.words)) for call in calls]
        self._list = np.array(pairs, dtype=np.int64)
        self._address, self._count = address(self._list), len(pairs)

    def __call__(self) -> None:
        """Run the kernels; raises MemoryError where their scratch memory cannot be had."""
        _kernels.run(self._address, self._count)

    def serve(self, stop: NDArray[np.int32]) -> None:
        """Run the kernels again and again, until ``stop`` is not 0 after the first of them, a barrier.

        Raises MemoryError as a single run does.
        """
        _kernels.serve(self._address, self._count, address(stop))


def fuse(operations: Sequence[Callable[[], object]]) -> list[Callable[[], object]]:
    """Return the operations with neighbouring calls of kernels made into one program."""
    fused: list[Callable[[], object]] = []
    for compiled, group in itertools.groupby(operations, lambda operation: isinstance(operation, Call)):
        members = list(group)
        fused += [Program(members)] if compiled else members  # type: ignore[arg-type]
    return fused


def address(array: torch.Tensor | NDArray[Any] | None) -> int:
    """Return the address of the first element, 0 for None."""
    if array is None:
        return 0
    return array.data_ptr() if isinstance(array, torch.Tensor) else array.ctypes.data


def _shards(tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Return a float32 (shards, rows, width) tensor whose rows are dense, and the stride between its shards."""
    assert tensor.dtype == torch.float32
    assert tensor.dim() == 3
    assert tensor.stride(2) == 1 or tensor.shape[2] == 1
    assert tensor.stride(1) == tensor.shape[2] or tensor.shape[1] == 1
    return tensor, tensor.stride(0)


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
    """Return the call that fills out = a @ b + bias, or a @ b.T with ``transposed``.

    a: (shards, rows, depth); b: (depth, n), transposed (n, depth), dense; out: (shards, rows, n); bias: (n,). ``relu``
    takes the maximum with 0. ``gate``, laid out like ``out``: the result is 0 where the gate is not above 0.
    """
    shards, rows, depth = a.shape
    n = b.shape[0 if transposed else 1]
    assert b.is_contiguous()
    assert tuple(b.shape) == ((n, depth) if transposed else (depth, n))
    assert tuple(out.shape) == (shards, rows, n)
    assert gate is None or (gate.shape == out.shape and gate.stride() == out.stride() and bias is None)
    words = [*_shards(a), shards, rows, depth, b, int(transposed), n, bias, int(relu), gate, *_shards(out)]
    return Call("linear", words)


def weight_gradient(
    source: torch.Tensor,
    grad: torch.Tensor,
    merges: Sequence[int],
    out: torch.Tensor,
    *,
    inputs: range | None = None,
    finite: NDArray[np.int32] | None = None,
) -> Call:
    """Return the call that fills out[node] = sum over the node's shards of source.T @ grad, in the order of ``merges``.

    source: (shards, rows, width); grad: (shards, rows, outputs); out: (nodes, inputs, outputs), dense within a node.
    merges[s]: how many additions follow on shard s, each of the last sum to the one before it. ``inputs``: the
    columns of source, by default all. ``finite``: one int32; with it the sum of all shards is divided by what
    ``set_divisor`` says, and it receives whether all of the result is finite.
    """
    shards, rows, width = source.shape
    inputs, outputs = inputs or range(width), grad.shape[2]
    assert tuple(out.shape) == (shards - sum(merges), len(inputs), outputs)
    assert finite is None or len(out) == 1
    schedule = np.array(merges, dtype=np.int64)
    _, stride = _shards(source)
    words = [source[:, :, inputs.start :], stride, width, *_shards(grad), shards, rows, len(inputs), outputs]
    return Call("gradient", [*words, schedule, out, out.stride(0), 0.0 if finite is None else 1.0, 1, finite])


def column_sums(values: torch.Tensor, merges: Sequence[int], out: torch.Tensor) -> Call:
    """Return the call that fills out[node] with sums over rows and the node's shards; see ``weight_gradient``.

    values: (shards, rows, n); out: (nodes, n).
    """
    shards, rows, n = values.shape
    assert tuple(out.shape) == (shards - sum(merges), n)
    words = [*_shards(values), shards, rows, n, np.array(merges, dtype=np.int64), out, out.stride(0)]
    return Call("column_sums", words)


def cross_entropy(
    outputs: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    class_weights: torch.Tensor | None,
    row_losses: torch.Tensor,
    grad: torch.Tensor,
    epoch_losses: torch.Tensor,
    epoch_hits: torch.Tensor,
) -> Call:
    """Return the call for w (log Σ exp(z) - z_label) and its derivative w (softmax - one-hot), in double inside.

    outputs, grad: (shards, rows, classes); labels: int64, weights and row_losses: float32, (shards, rows), dense;
    class_weights: (classes,). epoch_losses (float64) and epoch_hits (int64), (shards, rows), are added to. The
    derivative: Bishop, Pattern Recognition and Machine Learning, eq. 4.109.
    """
    shards, rows, n = outputs.shape
    for tensor in (labels, weights, row_losses, epoch_losses, epoch_hits):
        assert tensor.is_contiguous()
        assert tuple(tensor.shape) == (shards, rows)
    assert (labels.dtype, epoch_losses.dtype, epoch_hits.dtype) == (torch.int64, torch.float64, torch.int64)
    words = [*_shards(outputs), labels, weights, class_weights, shards, rows, n]
    return Call("cross_entropy", [*words, row_losses, *_shards(grad), epoch_losses, epoch_hits])


def reduce(
    pieces: Sequence[torch.Tensor],
    additions: Sequence[tuple[int, int]],
    part: range,
    out: torch.Tensor,
    finite: torch.Tensor | NDArray[np.int32],
) -> Call:
    """Return the call that fills out[part] = (sum of pieces) / divisor, where sum[i] += sum[j] for each (i, j).

    pieces and out: float32 vectors; the sum ends up in piece 0's place. ``set_divisor`` comes before the call.
    finite: one int32, receives whether all of the slice is finite. The pieces are not changed.
    """
    table = np.array([address(piece) for piece in pieces], dtype=np.int64)
    order = np.array(additions, dtype=np.int64).reshape(-1, 2)
    call = Call("reduce", [table, len(pieces), order, len(order), part.start, part.stop, 1.0, 1, out, finite])
    call.kept += pieces
    return call


def set_divisor(call: Call, divisor: int) -> None:
    """Let a call of ``reduce``, or of ``weight_gradient`` with a flag, divide by this number of rows."""
    place = DIVISORS[NAMES[call.operation]]
    call.reals[place] = divisor
    # Multiplying by the inverse of a power of two rounds in the same way.
    call.words[place + 1] = int(divisor & (divisor - 1) == 0)


def update(
    optimizer: str,
    parameters: torch.Tensor,
    gradient: torch.Tensor,
    decay: torch.Tensor | None,
    first: torch.Tensor | None,
    second: torch.Tensor | None,
    numbers: Mapping[str, float],
    flags: NDArray[np.int32] | None = None,
) -> Call:
    """Return the call that changes ``parameters`` by one update of ``optimizer``; all tensors are float32 vectors.

    numbers: momentum, beta1, beta2 and epsilon. ``set_update`` comes before the call. Nothing is done where one of the
    ``flags`` is 0.
    """
    beta1, beta2 = numbers["beta1"], numbers["beta2"]
    words: list[Any] = [flags, 0 if flags is None else flags.size, KINDS[optimizer], parameters.numel()]
    words += [parameters, gradient, decay, first, second]
    words += [1.0, 0.0, 0.0, numbers["momentum"], beta1, 1.0 - beta1, beta2, 1.0 - beta2, 1.0, numbers["epsilon"]]
    return Call("update", words)


def set_update(call: Call, factor: float, rate: float, decay_rate: float, second_scale: float) -> None:
    """Let a call of ``update`` multiply the gradient by ``factor`` and use these rates and adam's second correction."""
    call.reals[9:12] = factor, rate, decay_rate
    call.reals[17] = second_scale


def gather(
    features: NDArray[Any],
    labels: NDArray[Any],
    offset: torch.Tensor | None,
    scale: torch.Tensor | None,
    out: torch.Tensor,
    labels_out: torch.Tensor,
    weights_out: torch.Tensor,
) -> Call:
    """Return the call that takes rows of ``features`` as float32, (x - offset) * scale, with their labels and weight 1.

    features: (N, F) uint8 or float32, dense; labels: (N,) integers from 0 on; offset and scale: () or (F,) or None;
    out: (shards, rows, F); labels_out int64 and weights_out float32: (shards, rows). ``set_indices`` comes before the
    call; rows beyond the indices are zeros of weight 0.
    """
    shards, rows, width = out.shape
    assert features.flags.c_contiguous
    assert features.dtype in (np.uint8, np.float32)
    assert labels.dtype.kind in "iu"
    assert labels.flags.c_contiguous
    vector = any(tensor is not None and tensor.dim() == 1 for tensor in (offset, scale))
    spread = [
        None if tensor is None else tensor.expand(width).contiguous() if vector else tensor
        for tensor in (offset, scale)
    ]
    words = [features, features.itemsize, width, labels, labels.itemsize, 0, 0, 0, shards, rows, *spread, int(vector)]
    return Call("gather", [*words, *_shards(out), labels_out, weights_out])


def set_indices(call: Call, indices: NDArray[np.int64], count: int, ahead: int = 0, place: int | None = None) -> None:
    """Let a call of ``gather`` take the rows indices[:count]; the array must live until after the call.

    ``ahead`` more indices behind them are of rows that are taken soon. ``place``: their address, where it is known.
    """
    assert indices.dtype == np.int64
    assert indices.flags.c_contiguous
    call.words[5:8] = address(indices) if place is None else place, count, ahead


def barrier(words: torch.Tensor, size: int, spins: int, given_up: NDArray[np.int32] | None = None) -> Call:
    """Return the call that waits until ``size`` processes or threads have made it on the same memory.

    words: BARRIER_WORDS of 4 bytes, zeros at first. ``spins``: how often to look before sleeping. The call raises
    GivenUpError once ``given_up``, one int32, is not 0.
    """
    return Call("barrier", [words, size, spins, given_up])
