"""Small valid files of every format for the fuzzer and the suite of the table of sources, read to their end."""

import gzip
import io
import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptrain.config import DataConfig
from ptrain.data.samples import DataSet, Source
from ptrain.data.sources.load import open_source
from ptrain.data.sources.table import SOURCES
from ptrain.data.store.stream import Stream

Pack = Callable[[bytes], bytes]

X = (np.arange(60) * 7 % 50).astype(np.float32).reshape(20, 3)
IMAGES = (np.arange(20 * 12) * 5 % 250).astype(np.uint8).reshape(20, 4, 3)
Y = np.arange(20) % 4


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A valid file or folder, and the places in it that are changed."""

    spec: str
    """What is given to the reader, below the folder of the fuzzer."""
    files: dict[str, bytes]
    """Path below that folder and content."""
    labels: str | None = None
    inside: Mapping[str, tuple[bytes, Pack]] | None = None
    """Content that is packed, such as a member of an archive, by path: changed before it is packed."""


def drain(stream: Stream) -> None:
    """Read a stream to its end and see that it keeps its word."""
    for make in (stream.train, *stream.held_out.values()):
        for features, labels, groups in make():
            assert features.shape == (len(labels), stream.num_features), (features.shape, labels.shape)
            assert features.dtype == stream.dtype, (features.dtype, stream.dtype)
            assert labels.ndim == 1
            assert labels.dtype.kind in "iuU", labels.dtype
            assert groups is None or len(groups) == len(labels)


def drain_source(source: Source) -> None:
    """Touch every value of a source, as the check of a run does."""
    from ptrain.data.checks import check
    from ptrain.data.splits import cut

    dataset: DataSet = cut(source, test_fraction=0.2, validation=0.0, seed=0)
    check(dataset)


def read(kind: str, spec: str, labels: str | None) -> None:
    """Read a spec and labels to the end, as the table of sources says; raises DataError or nothing."""
    target = "t" if SOURCES[kind].columns else None
    opened = open_source(DataConfig(data=f"{kind}:{spec}", labels=labels, target=target))
    drain(opened) if isinstance(opened, Stream) else drain_source(opened)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _npy_seeds(_: Path) -> list[Seed]:
    pairs: list[tuple[Any, Any]] = [
        (X, Y),
        (X.astype(">f8"), Y + 1),
        (np.asfortranarray(X), Y.astype("f4")),
        (IMAGES, Y),
    ]
    pairs += [(np.asfortranarray(IMAGES), Y[:, None]), (X, np.eye(4)[Y]), (X, np.array(["a", "b", "c", "d"])[Y])]
    return [Seed(spec="x.npy", labels="y.npy", files={"x.npy": npy(x), "y.npy": npy(y)}) for x, y in pairs]


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def _npz_seeds(_: Path) -> list[Seed]:
    seeds = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        members = {"x.npy": npy(X), "y.npy": npy(Y)}
        inside = (
            members["x.npy"],
            lambda changed, method=method, members=members: zipped({**members, "x.npy": changed}, method),
        )
        seeds.append(Seed(spec="a.npz", files={"a.npz": zipped(members, method)}, inside={"a.npz": inside}))
    splits = {
        f"{split}_{name}.npy": npy(IMAGES if name == "images" else Y[:, None] + 1)
        for split in ("train", "val", "test")
        for name in ("images", "labels")
    }  # as of MedMNIST
    masked = {"data.npy": npy(X), "mask.npy": npy(X > 100), "target.npy": npy(Y)}
    lone = {"arr_0.npy": npy(X), "arr_1.npy": npy(Y)}
    named = Seed(spec="a.npz:arr_0", labels="a.npz:arr_1", files={"a.npz": zipped(lone)})
    return [*seeds, *(Seed(spec="a.npz", files={"a.npz": zipped(members)}) for members in (splits, masked)), named]


def idx(array: np.ndarray[Any, Any]) -> bytes:
    code = {"u1": 0x08, "i4": 0x0C, "f4": 0x0D}[array.dtype.str[1:]]
    return (
        bytes([0, 0, code, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


def _idx_seeds(_: Path) -> list[Seed]:
    images, labels = idx(IMAGES), idx(Y.astype(np.uint8))
    packed = {"train-images-idx3-ubyte.gz": gzip.compress(images), "train-labels-idx1-ubyte.gz": gzip.compress(labels)}
    inside = {
        "train-images-idx3-ubyte.gz": (images, gzip.compress),
        "train-labels-idx1-ubyte.gz": (labels, gzip.compress),
    }
    plain = {"train-images-idx3-ubyte": images, "train-labels-idx1-ubyte": labels}
    held_out = {name.replace("train", split): content for split in ("val", "test") for name, content in plain.items()}
    return [
        Seed(spec=".", files=plain),
        Seed(spec=".", files=plain | held_out),
        Seed(spec=".", files=packed, inside=inside),
    ]


def _hdf5_seeds(folder: Path) -> list[Seed]:
    import h5py

    path = folder / "a.h5"
    options: list[dict[str, Any]] = [
        {}, {"chunks": (7, 2)}, {"chunks": (5, 3), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (20, 3), "compression": "lzf"}, {"chunks": (5, 3), "scaleoffset": 2},
    ]  # fmt: skip
    seeds = []
    for number, keywords in enumerate(options):
        for version in ("earliest", "latest"):
            with h5py.File(path, "w", libver=version) as file:
                group = file.create_group("data") if number % 2 else file
                group.create_dataset("x", data=X, **keywords)
                group.create_dataset("y", data=np.array([b"a", b"b", b"c", b"d"])[Y] if number == 1 else Y)
                group["alias"] = h5py.SoftLink("x")
                group.attrs["note"] = "of the fuzzer"
            spec = "a.h5:/data" if number % 2 else "a.h5"
            seeds.append(Seed(spec=spec, files={"a.h5": path.read_bytes()}))
    with h5py.File(path, "w") as file:  # as NetCDF-4 has them
        for split in ("train", "val"):
            file[f"{split}/x"], file[f"{split}/y"] = X.astype("i2"), Y + 1
            attributes = file[f"{split}/x"].attrs
            attributes["_FillValue"], attributes["valid_range"] = np.int16(49), np.array([0, 45], "i2")
            attributes["scale_factor"], attributes["add_offset"] = 0.5, np.array([273.15])
    attributed = Seed(spec="a.h5", files={"a.h5": path.read_bytes()})
    return [*seeds, Seed(spec="a.h5:/alias", labels="a.h5:/y", files=seeds[0].files), attributed]


def _mat_seeds(folder: Path) -> list[Seed]:
    import h5py
    import scipy.io

    path, seeds = folder / "a.mat", []
    more = {"s": {"a": 1, "b": "text"}, "c": np.array(["ab", "c"], object)}
    for keywords in ({}, {"do_compression": True}):
        scipy.io.savemat(path, {**more, "X": X.astype(float), "y": Y[:, None].astype(float)}, **keywords)
        content = path.read_bytes()
        inside = None
        if "do_compression" in keywords:
            inside = {"a.mat": _compressed_mat(content)}
        seeds.append(Seed(spec="a.mat", files={"a.mat": content}, inside=inside))
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in (("X", X.astype(float)), ("y", Y[:, None].astype(float))):
            file.create_dataset(name, data=array.T, chunks=True, compression="gzip")
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
    seeds.append(Seed(spec="a.mat", files={"a.mat": path.read_bytes()}))
    scipy.io.savemat(path, {"inputs": X.T, "targets": np.eye(4)[Y].T})  # a column a sample
    return [*seeds, Seed(spec="a.mat", files={"a.mat": path.read_bytes()})]


def _compressed_mat(content: bytes) -> tuple[bytes, Pack]:
    """Return the unpacked elements of a compressed file of version 5, and what packs them again."""
    place, elements = 128, []
    while place + 8 <= len(content):
        kind, size = struct.unpack_from("<II", content, place)
        assert kind == 15
        elements.append(zlib.decompress(content[place + 8 : place + 8 + size]))
        place += 8 + size
    head = content[:128]

    def pack(changed: bytes) -> bytes:
        parts, place = [], 0
        for element in elements:
            piece = zlib.compress(changed[place : place + len(element)])
            parts.append(struct.pack("<II", 15, len(piece)) + piece)
            place += len(element)
        return head + b"".join(parts)

    return b"".join(elements), pack


def _zarr_seeds(folder: Path) -> list[Seed]:
    import zarr
    import zarr.codecs as zarr_codecs

    seeds = []
    plain: dict[str, Any] = {"compressors": None}
    kinds: list[tuple[Any, dict[str, Any]]] = [(2, {}), (3, {}), (3, {"shards": (14, 3)}), (2, plain), (3, plain)]
    blosc = {"compressors": zarr_codecs.BloscCodec(cname="lz4", typesize=4)}
    kinds += [(3, blosc), (3, {**blosc, "shards": (14, 3)})]
    for version, keywords in kinds:
        shutil.rmtree(folder / "a.zarr", ignore_errors=True)
        group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=version)
        group.create_array("x", data=X, chunks=(7, 3), **keywords)
        group.create_array("y", data=Y)
        if not keywords:
            group["x"].attrs.update(
                {"_FillValue": 49, "valid_min": 1, "scale_factor": 0.5, "_ARRAY_DIMENSIONS": ["a", "b"]}
            )
        files = {f"a.zarr/{name}": content for name, content in files_of(folder / "a.zarr").items()}
        seeds.append(Seed(spec="a.zarr", files=files))
    return seeds


def _image_seeds(folder: Path) -> list[Seed]:
    from PIL import Image

    seeds = []
    for suffix, mode, keywords in (
        ("png", "RGB", {}), ("png", "L", {}), ("png", "P", {}), ("jpg", "RGB", {}), ("jpg", "L", {"progressive": True}),
        ("tif", "RGB", {}), ("tif", "L", {"compression": "tiff_lzw"}), ("tif", "I;16", {}), ("bmp", "RGB", {}),
        ("tif", "RGB", {"compression": "tiff_adobe_deflate"}), ("ppm", "RGB", {}), ("pgm", "L", {}),
        ("webp", "RGB", {}), ("png", "1", {}),
    ):  # fmt: skip
        image = Image.fromarray((np.arange(9 * 7 * 3) % 256).astype(np.uint8).reshape(9, 7, 3))
        image = (
            Image.fromarray(np.arange(63, dtype=np.uint16).reshape(9, 7) * 900)
            if mode == "I;16"
            else image.convert(mode)
        )
        image.save(folder / f"0.{suffix}", **keywords)
        content = (folder / f"0.{suffix}").read_bytes()
        files = {f"images/{name}/{number}.{suffix}": content for name in ("cat", "dog") for number in range(2)}
        inside = {f"images/cat/0.{suffix}": (content, _png_sums)} if suffix == "png" else None
        seeds.append(Seed(spec="images", files=files, inside=inside))
    return [*seeds, *_turned_seeds(folder)]


def _turned_seeds(folder: Path) -> list[Seed]:
    """Splits by folder, turned by EXIF, beside what systems leave and files of other kinds."""
    from PIL import Image

    seeds = []
    for suffix in ("jpg", "png", "tif"):
        for number, mode in enumerate(("RGB", "L")):
            exif = Image.Exif()
            exif[0x0112] = (1, 6)[number]
            values = (np.arange(9 * 7) % 256).astype(np.uint8).reshape((7, 9) if number else (9, 7))
            Image.fromarray(values).convert(mode).save(folder / f"{number}.{suffix}", exif=exif)
        contents = [(folder / f"{number}.{suffix}").read_bytes() for number in range(2)]
        files = {
            f"images/{split}/{name}/{number}.{suffix.upper()}": contents[number]
            for split in ("Train", "valid", "TEST")
            for name in ("cat", "dog")
            for number in range(2)
        }
        left = ("images/.DS_Store", f"images/Train/cat/._0.{suffix}", "images/__MACOSX/0.png", "images/notes.txt")
        seeds.append(Seed(spec="images", files={**files, **dict.fromkeys(left, b"left behind")}))
    return seeds


def _png_sums(content: bytes) -> bytes:
    """Return a PNG with the sums of its chunks made right, so that the decoder behind them is reached."""
    place, changed = 8, bytearray(content)
    while place + 12 <= len(changed):
        size = int.from_bytes(changed[place : place + 4], "big")
        end = place + 8 + size
        if end + 4 > len(changed):
            break
        changed[end : end + 4] = zlib.crc32(changed[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(changed)


def _converted_seeds(_: Path) -> list[Seed]:
    described = {
        "version": 1, "name": "n", "description": "d", "key": "k", "num_samples": 20, "num_test": None,
        "image_shape": [4, 3], "feature_range": [0, 255], "class_names": ["a", "b", "c", "d"], "feature_names": None,
        "schema": None, "sha256": {},
    }  # fmt: skip
    files = {
        "c/data.json": json.dumps(described).encode(),
        "c/features.npy": npy(IMAGES.reshape(20, 12)),
        "c/labels.npy": npy(Y),
    }
    return [Seed(spec="c", files=files), Seed(spec="c", files={**files, "c/groups.npy": npy(Y)})]


def _text_seeds(delimiter: str, name: str) -> Callable[[Path], list[Seed]]:
    rows = [f"{row},{row * 0.5},{'ab'[row % 2]},{'xyz'[row % 3]}" for row in range(20)]
    texts = [
        "\n".join(["a,b,c,t", *rows]) + "\n",
        "\r\n".join(["\ufeffa,b,c,t", *rows]),
        "\n".join(['"a","b b","c",t', *(f'{row},{-row}e-3,"q""{row % 2}, é",{row % 3}' for row in range(20))]),
    ]
    contents = [text.replace(",", delimiter).encode() for text in texts]
    plain = texts[0].replace(",", delimiter)
    codes = [f"{row:03d},{row % 4},{2**53 + row % 3}" for row in range(20)]
    comma = [f"{row};{row},5;{'xyz'[row % 3]}" for row in range(20)]
    contents += [
        plain.encode("utf-16"),
        plain.replace("\n", "\r").encode(),
        ("# a comment\n\n" + plain).encode(),
        "\n".join(["id,a,t", *codes]).replace(",", delimiter).encode(),
        "\n".join(["sep=;", "a;b;t", *comma]).encode(),
        "\n".join(["a;b;t", *comma]).encode(),
        "\n".join(["", *texts[0].splitlines()]).replace("\n", "\n" + delimiter).removeprefix("\n").encode(),
    ]
    packed = Seed(
        spec=name,
        files={name: gzip.compress(contents[0])},
        inside={name: (contents[0], gzip.compress)},
    )
    return lambda _: [*(Seed(spec=name, files={name: content}) for content in contents), packed]


def _parquet_seeds(folder: Path) -> list[Seed]:
    import pyarrow
    import pyarrow.parquet

    columns = {"a": X[:, 0], "b": np.arange(20), "c": ["ab"[row % 2] for row in range(20)], "t": Y}
    table = pyarrow.table(
        {**columns, "v": pyarrow.array(["u", "v"] * 10, pyarrow.string_view()), "__index_level_0__": Y}
    )
    seeds = []
    options: list[dict[str, Any]] = [
        {"compression": "none"}, {"compression": "snappy"}, {"compression": "zstd", "row_group_size": 7},
        {"compression": "gzip", "use_dictionary": False}, {"compression": "none", "data_page_version": "2.0"},
    ]  # fmt: skip
    for keywords in options:
        written = table if "data_page_version" in keywords else pyarrow.table(columns)
        pyarrow.parquet.write_table(written, folder / "a.parquet", **keywords)
        seeds.append(Seed(spec="a.parquet", files={"a.parquet": (folder / "a.parquet").read_bytes()}))
    return seeds


def _scene_seeds(folder: Path) -> list[Seed]:
    from tests.data.scenes.seeds import scene_seeds

    return scene_seeds(folder)


SEEDS: dict[str, Callable[[Path], list[Seed]]] = {
    "npy": _npy_seeds,
    "npz": _npz_seeds,
    "idx": _idx_seeds,
    "hdf5": _hdf5_seeds,
    "mat": _mat_seeds,
    "zarr": _zarr_seeds,
    "images": _image_seeds,
    "converted": _converted_seeds,
    "csv": _text_seeds(",", "a.csv"),
    "tsv": _text_seeds("\t", "a.tsv"),
    "parquet": _parquet_seeds,
    "scene": _scene_seeds,
}
"""Small valid files of every file and folder of the table of sources, made in an empty folder."""
