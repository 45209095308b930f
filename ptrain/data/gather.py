"""Rows of stored samples into float32 tensors of a fixed shape, without allocating anything large."""

import threading
import weakref
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptrain.data.normalization import Normalization
from ptrain.data.samples import Samples
from ptrain.native import calls
from ptrain.native.choice import instruction_set
from ptrain.native.upload import Upload

_UPLOAD_BYTES = 64 * 2**20
# torch has no operations on the wider unsigned types: their bits are moved as signed ones
_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}

_resident_lock = threading.Lock()
_resident: weakref.WeakKeyDictionary[Samples, dict[torch.device, tuple[Tensor, Tensor]]] = weakref.WeakKeyDictionary()


class Gatherer:
    """Fills tensors of ``groups`` x ``rows`` samples from a list of indices that may be shorter than that.

    It owns its buffers, so one Gatherer serves one thread at a time; several may read the same samples.
    """

    def __init__(
        self,
        samples: Samples,
        groups: int,
        rows: int,
        normalization: Normalization,
        device: torch.device,
        resident: bool | None = None,
    ) -> None:
        """Allocate the buffers; ``resident`` says whether the samples are copied to the device whole.

        By default they are on a GPU that has twice the room for them. Copies are shared by all Gatherers.
        """
        self._samples, self._groups, self._per_group = samples, groups, rows
        self._scaling = normalization.on(device, samples.features.dtype)
        total = groups * rows
        self._numbers = torch.arange(total, device=device).view(groups, rows)
        self._padding = torch.zeros(groups, rows, dtype=torch.bool, device=device)
        self._total, self._on_cpu, self._full = total, device.type == "cpu", False
        self._calls: list[tuple[range, calls.Call]] = []
        self._indices = np.zeros(0, np.int64)
        if resident is None:
            resident = device.type == "cuda" and _fits(samples, device)
        self._stored: _HostRows | _ResidentRows | None = None
        if resident:
            self._stored = _ResidentRows(samples, total, device)
        elif not (self._on_cpu and _is_simple(samples) and instruction_set() is not None):
            self._stored = _HostRows(samples, total, device)

    def select(self, indices: NDArray[np.int64], ahead: int = 0, address: int | None = None) -> None:
        """Choose the samples for the first rows, in order; the rest are zeros of weight 0.

        indices: (n,), n at most groups * rows, besides the last ``ahead``, which are those that are selected next.
        ``address``: where they lie, if it is known. On another device than the CPU
        all that the host has to do is done now, without waiting for the device.
        """
        self._indices = indices  # the calls know only its address
        count = len(indices) - ahead
        self._full = count == self._total
        if self._stored is not None:
            self._stored.select(indices[:count])
            return
        first = calls.address(indices) if address is None else address
        for rows, call in self._calls:
            taken = min(max(count - rows.start, 0), len(rows))
            # What lies behind a part's own indices is another part's, but for the last part.
            more = ahead if rows.stop == self._total else 0
            calls.set_indices(call, indices, taken, more, first + indices.itemsize * rows.start)

    def bind(self, groups: range, features: Tensor, labels: Tensor, weights: Tensor) -> Callable[[], object]:
        """Make the operation that fills these tensors with some of the groups of what was selected: a call if possible.

        features: (groups, rows, F) float32, the stride between groups may be padded. labels: (groups, rows) int64.
        weights: (groups, rows) float32. Not on the CPU it is work of the device alone, the same for any indices.
        """
        rows = range(groups.start * self._per_group, groups.stop * self._per_group)
        if self._stored is None:
            tensors = (self._scaling.offset, self._scaling.scale, features, labels, weights)
            call = calls.gather(self._samples.features, self._samples.labels, *tensors)
            self._calls.append((rows, call))
            return call
        part, taken, stored = slice(groups.start, groups.stop), slice(rows.start, rows.stop), self._stored
        raw = stored.features[taken].view(len(groups), self._per_group, -1)
        classes, numbers = stored.labels[taken].view(labels.shape), self._numbers[part]
        padding, convert = self._padding[part], self._scaling.bind(raw, features)

        def fill() -> None:
            stored.collect(taken)
            torch.ge(numbers, stored.count, out=padding)
            convert()
            labels.copy_(classes)
            torch.logical_not(padding, out=weights)
            # On a device the operations are the same at every step, so that a graph can hold them.
            if not (self._on_cpu and self._full):
                features.masked_fill_(padding.unsqueeze(-1), 0.0)
                labels.masked_fill_(padding, 0)

        return fill


def _is_simple(samples: Samples) -> bool:
    """Whether the compiled kernel reads these samples: dense bytes or float32 in this machine's byte order."""
    features, labels = samples.features, samples.labels
    if features.dtype not in (np.uint8, np.float32) or labels.dtype.kind not in "iu":
        return False
    return all(part.flags.c_contiguous and part.flags.aligned and part.dtype.isnative for part in (features, labels))


class _HostRows:
    """Takes rows from host memory or from a mapped file; to a GPU they are then copied in their stored type."""

    def __init__(self, samples: Samples, total: int, device: torch.device) -> None:
        self._features, self._labels = samples.features, samples.labels
        # numpy.take would first copy an array of another byte order, alignment or layout, all of it
        flags = self._features.flags
        self._plain = flags.c_contiguous and flags.aligned and self._features.dtype.isnative
        stored = _torch_type(samples.features.dtype)
        self.features = torch.zeros((total, self._features.shape[1]), dtype=stored, device=device)
        """What was taken, in its stored type: (total, F)."""
        numbers = torch.zeros(total + 1, dtype=torch.int64, device=device)
        self.labels, self.count = numbers[:total], numbers[total]
        """Its labels, (total,), and how many of the rows were selected."""
        self._upload = Upload([self.features, numbers])
        self._host = [tensor.numpy() for tensor in self._upload.fill()]
        self._indices = np.zeros(0, np.int64)

    def select(self, indices: NDArray[np.int64]) -> None:
        """Choose these samples; for a device take them now."""
        self._indices = indices
        self._host = [tensor.numpy() for tensor in self._upload.fill()]
        self._host[1][-1] = len(indices)
        if not self.features.is_cpu:
            self._take(slice(0, len(self.features)))
            self._upload.send()

    def collect(self, rows: slice) -> None:
        """Take them on the CPU: here, and not in ``select``, since several threads do it side by side."""
        if self.features.is_cpu:
            self._take(rows)

    def _take(self, rows: slice) -> None:
        raw, numbers = self._host
        indices = self._indices[rows]
        here = slice(rows.start, rows.start + len(indices))
        if self._plain:
            # any mode but "raise" writes straight into out; indices are in range by construction
            np.take(self._features, indices, 0, raw[here], "clip")
        else:
            raw[here] = self._features[indices]
        numbers[here] = self._labels[indices]


class _ResidentRows:
    """Takes rows from a copy of all samples on the device, into buffers like those of _HostRows."""

    def __init__(self, samples: Samples, total: int, device: torch.device) -> None:
        stored, self._all_labels = _copy_to(samples, device)
        numbers = torch.zeros(total + 1, dtype=torch.int64, device=device)
        self._index, self.count = numbers[:total], numbers[total]
        self._upload = Upload([numbers])
        self.labels = torch.zeros(total, dtype=torch.int64, device=device)
        self.features = torch.zeros((total, stored.shape[1]), dtype=stored.dtype, device=device)
        signed = _SIGNED.get(stored.dtype, stored.dtype)
        self._source, self._target = stored.view(signed), self.features.view(signed)

    def select(self, indices: NDArray[np.int64]) -> None:
        """Send the device these indices."""
        numbers = self._upload.fill()[0].numpy()
        numbers[: len(indices)] = indices
        numbers[-1] = len(indices)
        self._upload.send()

    def collect(self, rows: slice) -> None:
        """Take the rows; those behind the selected ones hold samples of an earlier step."""
        torch.index_select(self._source, 0, self._index[rows], out=self._target[rows])
        torch.index_select(self._all_labels, 0, self._index[rows], out=self.labels[rows])


def _torch_type(dtype: np.dtype[np.generic]) -> torch.dtype:
    """Torch's name for what numpy stores, in this machine's byte order."""
    return torch.from_numpy(np.empty(0, dtype.newbyteorder("="))).dtype


def _fits(samples: Samples, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * (samples.features.nbytes + 8 * len(samples)) <= free


def _copy_to(samples: Samples, device: torch.device) -> tuple[Tensor, Tensor]:
    """Copy stored features and int64 labels to the device, once for all who ask."""
    with _resident_lock:
        copies = _resident.setdefault(samples, {})
        if device not in copies:
            native = samples.features.dtype.newbyteorder("=")
            features = torch.empty(samples.features.shape, dtype=_torch_type(native), device=device)
            rows = max(1, _UPLOAD_BYTES // (samples.features.shape[1] * native.itemsize))
            for start in range(0, len(samples), rows):
                block = np.array(samples.features[start : start + rows], dtype=native, order="C")
                features[start : start + rows].copy_(torch.from_numpy(block))
            copies[device] = (features, torch.from_numpy(samples.labels.astype(np.int64)).to(device))
        return copies[device]
