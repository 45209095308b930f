"""Rows of stored samples into float32 tensors of a fixed shape, without allocating anything large."""

import threading
import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptrain import native
from ptrain.data.normalization import Normalization, normalize_
from ptrain.data.samples import Samples

_UPLOAD_BYTES = 64 * 2**20
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
        self._shape = (groups, rows)
        self._offset, self._scale = normalization.on(device)
        total = groups * rows
        self._weights = torch.zeros(self._shape, dtype=torch.float32, device=device)
        self._weighted = 0
        if resident is None:
            resident = device.type == "cuda" and _fits(samples, device)
        self._rows = _ResidentRows(samples, total, device) if resident else _HostRows(samples, total, device)
        self._stored = self._rows.features.view(groups, rows, -1)
        self._classes = self._rows.labels.view(groups, rows)
        self._samples = samples
        self._compiled = device.type == "cpu" and _is_simple(samples) and native.instruction_set() is not None
        self._call: native.Call | None = None

    def bind(self, features: Tensor, labels: Tensor, weights: Tensor) -> native.Call | None:
        """Return the compiled call that fills these tensors once it has its indices; None where there is none."""
        if not self._compiled:
            return None
        if self._call is None or self._call.words[-4] != native.address(features):
            tensors = (self._offset, self._scale, features, labels, weights)
            self._call = native.gather(self._samples.features, self._samples.labels, *tensors)
        return self._call

    def __call__(
        self, indices: NDArray[np.int64], features: Tensor, labels: Tensor, weights: Tensor, *, ahead: int = 0
    ) -> None:
        """Fill the first rows with these samples, in order, and the rest with zeros of weight 0.

        The last ``ahead`` indices are not of this call: they are samples that are asked for next.

        indices: (n,), n at most groups * rows. features: (groups, rows, F) float32, the stride between groups may be
        padded. labels: (groups, rows) int64. weights: (groups, rows) float32.
        """
        call = self.bind(features, labels, weights)
        if call is not None:
            native.set_indices(call, indices, len(indices) - ahead, ahead)
            call()
            return
        indices = indices[: len(indices) - ahead]
        groups, rows = self._shape
        count = len(indices)
        if count:
            self._rows.take(indices)
            normalize_(features.copy_(self._stored), self._offset, self._scale)
            labels.copy_(self._classes)
        if count != self._weighted:
            flat = self._weights.view(-1)
            flat[:count] = 1
            flat[count:] = 0
            self._weighted = count
        weights.copy_(self._weights)
        if count < groups * rows:
            full, rest = divmod(count, rows)
            features[full, rest:] = 0
            features[full + 1 :] = 0
            labels[full, rest:] = 0
            labels[full + 1 :] = 0


def _is_simple(samples: Samples) -> bool:
    """Whether the compiled kernel reads these samples: dense bytes or float32 in this machine's byte order."""
    features, labels = samples.features, samples.labels
    if features.dtype not in (np.uint8, np.float32) or labels.dtype.kind not in "iu":
        return False
    return all(part.flags.c_contiguous and part.flags.aligned and part.dtype.isnative for part in (features, labels))


class _HostRows:
    """Takes rows from host memory or from a mapped file; on a GPU they are then copied in their stored type."""

    def __init__(self, samples: Samples, total: int, device: torch.device) -> None:
        self._features, self._labels = samples.features, samples.labels
        # numpy.take would first copy an array of another byte order, alignment or layout, all of it
        flags = self._features.flags
        self._plain = flags.c_contiguous and flags.aligned and self._features.dtype.isnative
        self._raw = np.zeros((total, self._features.shape[1]), self._features.dtype.newbyteorder("="))
        self._classes = np.zeros(total, dtype=np.int64)
        self._host = (torch.from_numpy(self._raw), torch.from_numpy(self._classes))
        self._moves = device.type != "cpu"
        self.features, self.labels = self._host
        """Stored features (total, F) and labels (total,) on the device; the first rows are what was taken last."""
        if self._moves:
            self.features, self.labels = (torch.empty_like(part, device=device) for part in self._host)

    def take(self, indices: NDArray[np.int64]) -> None:
        """Take these samples into the first rows of ``features`` and ``labels``."""
        count = len(indices)
        if self._plain:
            # any mode but "raise" writes straight into out; indices are in range by construction
            np.take(self._features, indices, 0, self._raw[:count], "clip")
        else:
            self._raw[:count] = self._features[indices]
        self._classes[:count] = self._labels[indices]
        if self._moves:
            self.features.copy_(self._host[0])
            self.labels.copy_(self._host[1])


class _ResidentRows:
    """Takes rows from a copy of all samples on the device."""

    def __init__(self, samples: Samples, total: int, device: torch.device) -> None:
        stored, self._all_labels = _copy_to(samples, device)
        self._index = torch.zeros(total, dtype=torch.int64, device=device)
        self.labels = torch.zeros(total, dtype=torch.int64, device=device)
        self.features = torch.zeros((total, stored.shape[1]), dtype=stored.dtype, device=device)
        """As in _HostRows."""
        # index_select does not know the wider unsigned types: it moves their bits as signed ones
        signed = _SIGNED.get(stored.dtype, stored.dtype)
        self._source, self._target = stored.view(signed), self.features.view(signed)

    def take(self, indices: NDArray[np.int64]) -> None:
        """Take these samples into the first rows of ``features`` and ``labels``."""
        # pageable memory is staged before this returns, so the host does not wait for the GPU
        self._index[: len(indices)].copy_(torch.from_numpy(indices), non_blocking=True)
        torch.index_select(self._source, 0, self._index, out=self._target)
        torch.index_select(self._all_labels, 0, self._index, out=self.labels)


def _fits(samples: Samples, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * (samples.features.nbytes + 8 * len(samples)) <= free


def _copy_to(samples: Samples, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return stored features and int64 labels on the device; made once for all who ask."""
    with _resident_lock:
        copies = _resident.setdefault(samples, {})
        if device not in copies:
            native = samples.features.dtype.newbyteorder("=")
            sample_type = torch.from_numpy(np.empty(0, native)).dtype
            features = torch.empty(samples.features.shape, dtype=sample_type, device=device)
            rows = max(1, _UPLOAD_BYTES // (samples.features.shape[1] * native.itemsize))
            for start in range(0, len(samples), rows):
                block = np.array(samples.features[start : start + rows], dtype=native, order="C")
                features[start : start + rows].copy_(torch.from_numpy(block))
            copies[device] = (features, torch.from_numpy(samples.labels.astype(np.int64)).to(device))
        return copies[device]
