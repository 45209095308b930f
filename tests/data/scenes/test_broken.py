"""Broken and hostile files: one line that says what is wrong, and never a hang."""

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from ptrain.data.scenes import gdal
from ptrain.errors import DataError

from .files import UTM, numbered, samples, stream, write


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    values = np.ones((40, 30), np.uint8)
    values[:, 15:] = 2
    return write(tmp_path / "r.tif", values, **UTM)


def refused(scene: Path | str, labels: Path) -> str:
    """Return the message of the error, which must be one line."""
    with pytest.raises(DataError) as error:
        samples(stream(scene, labels))
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "options", [{}, {"compress": "deflate"}, {"compress": "lzw", "tiled": True, "blockxsize": 16, "blockysize": 16}]
)
def test_a_truncated_tiff(tmp_path: Path, labels: Path, options: dict[str, Any]) -> None:
    whole = write(tmp_path / "s.tif", numbered(40, 30, 3), **UTM, **options).read_bytes()
    for size in sorted({0, 1, 4, 8, 9, 100, 200, 400, len(whole) // 2, len(whole) - 100, len(whole) - 1}):
        (tmp_path / "cut.tif").write_bytes(whole[:size])
        message = refused(tmp_path / "cut.tif", labels)
        assert message.startswith(f"{tmp_path}/cut.tif: ")


def test_a_truncated_reference(tmp_path: Path, labels: Path) -> None:
    scene = write(tmp_path / "s.tif", numbered(40, 30, 3), **UTM)
    labels.write_bytes(labels.read_bytes()[:-50])
    assert "r.tif: rows 0 to 39 cannot be read" in refused(scene, labels)


def test_damaged_bytes_never_pass_for_an_error_of_ours(tmp_path: Path, labels: Path) -> None:
    whole = write(tmp_path / "s.tif", numbered(40, 30, 3), compress="deflate", **UTM).read_bytes()
    chance, messages = np.random.default_rng(0), set()
    for _ in range(100):
        damaged = bytearray(whole)
        for _ in range(chance.integers(1, 6)):
            damaged[chance.integers(len(whole))] = chance.integers(256)
        (tmp_path / "d.tif").write_bytes(damaged)
        try:
            samples(stream(tmp_path / "d.tif", labels))
        except DataError as error:
            messages.add(str(error))
    assert messages
    assert not any("\n" in message for message in messages)


def test_types_that_are_no_real_numbers(tmp_path: Path, labels: Path) -> None:
    scene = write(tmp_path / "s.tif", np.ones((40, 30), np.complex64), **UTM)
    assert "bands of type complex64; expected integers or floats" in refused(scene, labels)


def test_formats_that_can_name_other_files(tmp_path: Path, labels: Path) -> None:
    inner = write(tmp_path / "s.tif", numbered(40, 30, 3), **UTM)
    vrt = (
        f'<VRTDataset rasterXSize="30" rasterYSize="40"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{inner}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    for name in ("v.vrt", "v.tif"):
        (tmp_path / name).write_text(vrt)
        assert "no TIFF, and no ENVI header" in refused(tmp_path / name, labels)
    # with a header beside it the same file is an image of its own bytes
    header = "ENVI\nsamples = 30\nlines = 40\nbands = 1\ndata type = 1\ninterleave = bsq\nbyte order = 0\n"
    (tmp_path / "v.hdr").write_text(header)
    (tmp_path / "v.vrt").write_text(vrt.ljust(1200))
    features, _, _ = samples(stream(tmp_path / "v.vrt", labels))
    assert bytes(features[:, 0]).decode() == vrt.ljust(1200)
    for address in ("/vsicurl/http://localhost/s.tif", "http://localhost/s.tif", f"/vsizip/{inner}", f"zip://{inner}"):
        assert "no such file" in refused(address, labels)


def test_pages_are_not_bands(tmp_path: Path, labels: Path) -> None:
    pages = [Image.fromarray(np.full((40, 30), page, np.uint8)) for page in range(3)]
    pages[0].save(tmp_path / "p.tif", save_all=True, append_images=pages[1:])
    message = refused(tmp_path / "p.tif", labels)
    assert "p.tif: holds 3 images one after the other (pages); expected one image with all bands" in message


def test_what_is_no_regular_file(tmp_path: Path, labels: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    assert "is a FIFO" in refused(tmp_path / "pipe.tif", labels)
    (tmp_path / "folder.tif").mkdir()
    assert "is a folder" in refused(tmp_path / "folder.tif", labels)
    assert "no such file" in refused(tmp_path / "missing.tif", labels)
    assert "no such file" in refused("null\0.tif", labels)
    (tmp_path / "alone.hdr").write_text("ENVI\n")
    assert "an ENVI header without its data" in refused(tmp_path / "alone.hdr", labels)


def test_odd_names_are_read(tmp_path: Path, labels: Path) -> None:
    for name in ("with space.tif", "new\nline.tif", "ünïcode.tif", "GTIFF_DIR:1:x.tif", "a%20b?.tif"):
        scene = write(tmp_path / "s.tif", numbered(40, 30, 3), **UTM).rename(tmp_path / name)
        assert len(samples(stream(scene, labels))[0]) == 1200


def test_an_absurd_size(tmp_path: Path, labels: Path) -> None:
    """A TIFF of 200 bytes that declares 4 * 10^12 pixels in strips that are not there."""
    entries = [
        (256, 4, 2_000_000), (257, 4, 2_000_000), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
        (278, 4, 1), (279, 4, 100),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    content = b"II*\x00" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + directory + bytes(104)
    (tmp_path / "s.tif").write_bytes(content)
    assert "s.tif: " in refused(tmp_path / "s.tif", labels)
    (tmp_path / "s.img").write_bytes(bytes(1000))
    for width, bands in ((2_000_000_000, 1), (30, 2_000_000_000), (30, 0), (-30, 1)):
        header = (
            f"ENVI\nsamples = {width}\nlines = 40\nbands = {bands}\ndata type = 4\ninterleave = bsq\nbyte order = 0\n"
        )
        (tmp_path / "s.hdr").write_text(header)
        assert "s.img: cannot be opened" in refused(tmp_path / "s.img", labels)


def test_a_compressed_bomb_and_blocks_that_are_too_large(
    tmp_path: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"count": 1, "driver": "GTiff", "dtype": "uint8", "compress": "zstd", "sparse_ok": True}
    with rasterio.open(
        tmp_path / "s.tif",
        "w",
        height=200_000,
        width=200_000,
        blockxsize=4096,
        blockysize=4096,
        tiled=True,
        **options,
        **UTM,
    ):
        pass  # no tile is written: 40 GB of nothing
    assert "declares 200000 x 200000 pixels of 1 bands, 40000000000 bytes" in refused(tmp_path / "s.tif", labels)
    monkeypatch.setattr(gdal, "BLOCK_LIMIT", 3000)
    write(tmp_path / "t.tif", numbered(40, 30), compress="deflate", blockysize=40, **UTM)
    assert "blocks of 30 x 40 pixels take 4800 bytes each; expected at most 3000" in refused(tmp_path / "t.tif", labels)
