"""Small data sets in torchvision's own formats, behind a server on this machine; run as a program, it fetches them.

The classes of torchvision are used as they are, except for the addresses and sums of the files, which are those of the
small ones.
"""

import bz2
import functools
import gzip
import hashlib
import http.server
import io
import pickle
import struct
import sys
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

from ptrain.cli import main
from ptrain.data.sources.torchvision_sets import SETS, import_datasets

COUNTS = {"train": 20, "test": 10}


def images(split: str, *shape: int) -> np.ndarray[Any, Any]:
    """Return images that differ between splits and pixels: (n, *shape)."""
    generator = np.random.default_rng([COUNTS[split], *shape])
    return generator.integers(0, 256, (COUNTS[split], *shape), dtype=np.uint8)


def labels(split: str) -> np.ndarray[Any, Any]:
    return np.arange(COUNTS[split]) % 10


def idx(array: np.ndarray[Any, Any], code: int = 0x08) -> bytes:
    kind = {0x08: ">u1", 0x0C: ">i4"}[code]
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(kind).tobytes()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Site:
    """Files that torchvision's classes find under the address of a server."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.datasets = import_datasets()
        assert all(hasattr(self.datasets, name) for name in SETS)

    def put(self, name: str, content: bytes) -> str:
        """Store a file and return its sum."""
        (self.folder / name).write_bytes(content)
        return md5(content)

    def cifar(self, name: str, batches: tuple[str, ...], key: str, names: str) -> None:
        made = getattr(self.datasets, name)
        members = {}
        per_batch = COUNTS["train"] // len(batches)
        for number, batch in enumerate(batches):
            part = slice(number * per_batch, (number + 1) * per_batch)
            content = {"data": images("train", 3072)[part], key: labels("train")[part].tolist()}
            members[batch] = pickle.dumps(content)
        test = made.test_list[0][0]
        members[test] = pickle.dumps({"data": images("test", 3072), key: labels("test").tolist()})
        members[made.meta["filename"]] = pickle.dumps({names: [f"class {number}" for number in range(10)]})
        made.train_list = [[batch, md5(members[batch])] for batch in batches]
        made.test_list = [[test, md5(members[test])]]
        made.meta = {**made.meta, "md5": md5(members[made.meta["filename"]])}
        archive = tar({f"{made.base_folder}/{member}": content for member, content in members.items()})
        made.tgz_md5, made.url = self.put(made.filename, archive), self.url + made.filename

    def mnist(self, name: str) -> None:
        made = getattr(self.datasets, name)
        files = {
            f"{mark}-{what}-ubyte.gz": gzip.compress(idx(array))
            for split, mark in (("train", "train"), ("test", "t10k"))
            for what, array in (("images-idx3", images(split, 28, 28)), ("labels-idx1", labels(split)))
        }
        made.mirrors = [self.url]
        made.resources = [(file, self.put(file, content)) for file, content in files.items()]

    def qmnist(self) -> None:
        made = self.datasets.QMNIST
        made.resources = {}
        for split in ("train", "test"):
            more = np.concatenate([labels(split)[:, None], np.zeros((COUNTS[split], 7), int)], axis=1)
            files = {
                f"qmnist-{split}-images-idx3-ubyte.gz": gzip.compress(idx(images(split, 28, 28))),
                f"qmnist-{split}-labels-idx2-int.gz": gzip.compress(idx(more, 0x0C)),
            }
            made.resources[split] = [(self.url + file, self.put(file, content)) for file, content in files.items()]

    def emnist(self) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for split in ("train", "test"):
                for what, array in (("images-idx3", images(split, 28, 28)), ("labels-idx1", labels(split) + 1)):
                    archive.writestr(f"gzip/emnist-letters-{split}-{what}-ubyte.gz", gzip.compress(idx(array)))
        made = self.datasets.EMNIST
        made.url, made.md5 = self.url + "gzip.zip", self.put("gzip.zip", buffer.getvalue())

    def svhn(self) -> None:
        made = self.datasets.SVHN
        for split in ("train", "test"):
            buffer = io.BytesIO()
            numbers = labels(split).astype(np.uint8)[:, None]
            numbers[numbers == 0] = 10
            scipy.io.savemat(buffer, {"X": np.moveaxis(images(split, 32, 32, 3), 0, -1), "y": numbers})
            file = f"{split}_32x32.mat"
            made.split_list[split] = [self.url + file, file, self.put(file, buffer.getvalue())]

    def stl10(self) -> None:
        made = self.datasets.STL10
        members = {"class_names.txt": "\n".join(f"class {number}" for number in range(10)).encode()}
        for split in ("train", "test"):
            members[f"{split}_X.bin"] = images(split, 3, 96, 96).tobytes()
            members[f"{split}_y.bin"] = (labels(split) + 1).astype(np.uint8).tobytes()
        made.train_list = [[name, md5(members[name])] for name in ("train_X.bin", "train_y.bin")]
        made.test_list = [[name, md5(members[name])] for name in ("test_X.bin", "test_y.bin")]
        archive = tar({f"{made.base_folder}/{member}": content for member, content in members.items()})
        made.tgz_md5, made.url = self.put(made.filename, archive), self.url + made.filename

    def usps(self) -> None:
        made = self.datasets.USPS
        for split, file in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
            rows = images(split, 256) / 127.5 - 1
            text = "\n".join(
                f"{label + 1} " + " ".join(f"{column + 1}:{value:.4f}" for column, value in enumerate(row))
                for label, row in zip(labels(split), rows, strict=True)
            )
            made.split_list[split] = [self.url + file, file, self.put(file, bz2.compress(text.encode()))]

    def semeion(self) -> None:
        made = self.datasets.SEMEION
        rows = np.concatenate([images("train", 256) > 127, np.eye(10)[labels("train")]], axis=1)
        content = "\n".join(" ".join(f"{value:.4f}" for value in row) for row in rows).encode()
        made.url, made.md5_checksum = self.url + made.filename, self.put(made.filename, content)


def eurosat(raw: Path) -> None:
    """Put unpacked files where torchvision looks: the address of EuroSAT is not an attribute of its class."""
    for number, image in zip(labels("train").tolist(), images("train", 64, 64, 3), strict=True):
        folder = raw / "eurosat" / "2750" / f"class {number}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{len(list(folder.iterdir()))}.png")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def serve(folder: Path, root: Path, names: list[str]) -> int:
    """Serve small data sets, and run ``ptrain data fetch`` for each name; return the sum of the exit codes."""
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site = Site(folder, f"http://127.0.0.1:{server.server_address[1]}/")
        site.cifar("CIFAR10", tuple(f"data_batch_{number}" for number in range(1, 6)), "labels", "label_names")
        site.cifar("CIFAR100", ("train",), "fine_labels", "fine_label_names")
        for made in (site.qmnist, site.emnist, site.svhn, site.stl10, site.usps, site.semeion):
            made()
        site.mnist("MNIST")
        eurosat(root / "torchvision" / "EuroSAT")
        codes = [main(["data", "fetch", name]) for name in names]
        server.shutdown()
    return sum(codes)


if __name__ == "__main__":
    sys.exit(serve(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
