"""ENVI files as programs and people write them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptrain.data.scenes import envi
from ptrain.data.sources.table import parse
from ptrain.errors import DataError

from .files import samples, stream

CUBE = np.random.default_rng(0).integers(1, 60_000, (8, 6, 4)).astype(np.uint16)
VALUES = (np.arange(48).reshape(8, 6) % 4).astype(np.uint8)
LISTS = (
    "wavelength units = Nanometers\nwavelength = {\n 450.0, 550.0,\n 650.0,\n 850.0}\n"
    "band names = {\n blue,\n green, red,\n nir}\n"
)
CLASSES = "classes = 4\nclass names = {\n Unclassified, Oak forest,\n Beech,\n Water}\n"


def header(bands: int, kind: int, interleave: str = "bsq", order: int = 0, more: str = LISTS) -> str:
    """Return a header with the line ends of Windows, capitals and a description over several lines."""
    text = (
        f"ENVI\ndescription = {{\n  made,\n  for a test}}\nSAMPLES = 6\nlines   = 8\nbands   = {bands}\n"
        f"data type = {kind}\ninterleave = {interleave}\nbyte order = {order}\n{more}"
    )
    return text.replace("\n", "\r\n")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    (tmp_path / "ref.dat").write_bytes(VALUES.tobytes())
    (tmp_path / "ref.hdr").write_text(header(1, 1, more="file type = ENVI Classification\n" + CLASSES))
    return tmp_path / "ref.hdr"


@pytest.mark.parametrize("interleave", ["bsq", "BIL", "bip"])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("offset", [0, 512])
def test_every_layout(tmp_path: Path, labels: Path, interleave: str, order: int, offset: int) -> None:
    axes = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}[interleave.lower()]
    stored = CUBE.transpose(axes).astype(">u2" if order else "<u2")
    (tmp_path / "s.dat").write_bytes(bytes(offset) + stored.tobytes())
    more = f"header offset = {offset}\n{LISTS}"
    (tmp_path / "s.hdr").write_text(header(4, 12, interleave, order, more))
    opened = stream(tmp_path / "s.hdr", labels)
    features, numbers, _ = samples(opened)
    assert np.array_equal(features, CUBE[VALUES > 0])
    assert np.array_equal(numbers, VALUES[VALUES > 0] - 1)
    assert opened.class_names == ("Oak forest", "Beech", "Water")
    assert opened.feature_names == ("blue", "green", "red", "nir")
    assert opened.schema is not None
    assert opened.schema["band_wavelengths"] == [450, 550, 650, 850]
    assert opened.notes == (f"{labels}: 12 pixels of value 0 (Unclassified) are taken as not labelled",)
    assert opened.warnings == ()


@pytest.mark.parametrize(
    ("pixels", "head", "given"),
    [
        ("UPPER.IMG", "UPPER.HDR", "UPPER.HDR"),
        ("UPPER.IMG", "UPPER.HDR", "UPPER.IMG"),
        ("s.bsq", "s.bsq.hdr", "s.bsq.hdr"),
        ("s.dat", "s.dat.hdr", "s.dat"),
        ("s.DAT", "s.hdr", "s.hdr"),
        ("s", "s.hdr", "s"),
        ("s", "s.hdr", "s.hdr"),
        ("a.b.img", "a.b.hdr", "a.b.hdr"),
    ],
)
def test_names_of_the_two_files(tmp_path: Path, labels: Path, pixels: str, head: str, given: str) -> None:
    (tmp_path / pixels).write_bytes(CUBE.tobytes())
    (tmp_path / head).write_text(header(4, 12, "bip"))
    path = tmp_path / given
    assert parse(str(path))[0].name == "scene"
    opened = stream(path, labels)
    assert np.array_equal(samples(opened)[0], CUBE[VALUES > 0])
    assert {one.name for one in opened.files} == {pixels, head, "ref.dat", "ref.hdr"}


def test_two_files_for_one_header_and_two_headers_for_one_file(tmp_path: Path, labels: Path) -> None:
    for name in ("s.img", "s.dat"):
        (tmp_path / name).write_bytes(CUBE.tobytes())
    (tmp_path / "s.hdr").write_text(header(4, 12, "bip"))
    with pytest.raises(DataError, match=r"s\.hdr: s\.dat and s\.img beside it; expected one file of pixels"):
        stream(tmp_path / "s.hdr", labels)
    (tmp_path / "s.dat.hdr").write_text(header(4, 12, "bsq"))
    with pytest.raises(DataError, match=r"s\.dat: s\.hdr and s\.dat\.hdr beside it differ"):
        stream(tmp_path / "s.dat", labels)
    assert np.array_equal(samples(stream(tmp_path / "s.img", labels))[0], CUBE[VALUES > 0])


def written(folder: Path, more: str, cube: Any = CUBE) -> Path:
    (folder / "s.dat").write_bytes(cube.tobytes())
    (folder / "s.hdr").write_text(header(4, 12, "bip", more=more))
    return folder / "s.dat"


def test_values_to_ignore_bad_bands_and_a_common_scale(tmp_path: Path, labels: Path) -> None:
    cube = CUBE.copy()
    cube[:2, :, 1] = 7
    opened = stream(written(tmp_path, f"{LISTS}data ignore value = 7\n", cube), labels)
    assert np.array_equal(samples(opened)[0], CUBE[2:][VALUES[2:] > 0])
    assert opened.counted is not None
    assert opened.counted() == ("9 of 36 labelled pixels are left out for lack of a value (9 nodata)",)
    # a band without values would leave out all
    opened = stream(written(tmp_path, f"{LISTS}data ignore value = 7\nbbl = {{1, 0, 1, 1}}\n", cube), labels)
    assert np.array_equal(samples(opened)[0], CUBE[VALUES > 0][:, [0, 2, 3]])
    assert opened.feature_names == ("blue", "red", "nir")
    assert opened.notes[0].endswith("s.dat: 1 of 4 bands are left out, which its header calls bad (bbl)")
    opened = stream(written(tmp_path, f"{LISTS}reflectance scale factor = 10000\n"), labels)
    assert np.array_equal(samples(opened)[0], (CUBE[VALUES > 0] * 1e-4).astype(np.float32))
    assert "scale and offset of its bands (0.0001 and 0) are applied" in opened.notes[0]
    opened = stream(
        written(tmp_path, f"{LISTS}data gain values = {{2, 2, 2, 2}}\ndata offset values = {{1, 1, 1, 1}}\n"), labels
    )
    assert np.array_equal(samples(opened)[0], CUBE[VALUES > 0] * np.float32(2) + 1)


def test_a_header_of_another_size(tmp_path: Path, labels: Path) -> None:
    path = written(tmp_path, LISTS)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"s\.dat: 382 bytes; expected 384, as its header says"):
        stream(path, labels)
    path.write_bytes(bytes(390))
    assert "has 6 bytes more than its header says" in stream(path, labels).warnings[0]


def test_names_with_commas() -> None:
    assert envi.items('{a, "b, c",\n  d e }') == ["a", "b, c", "d e"]
    assert envi.class_names({"class_names": '{none, "oak, old", beech}', "classes": "3"}) == {
        0: "none",
        1: "oak, old",
        2: "beech",
    }
    assert envi.class_names({"class_names": "{none, oak, old, beech}", "classes": "3"}) == {}
    assert envi.good_bands({"bbl": "{1,1}"}, 3) == [0, 1, 2]
    assert envi.good_bands({"bbl": "{0,0}"}, 2) == [0, 1]
    assert envi.scale({"reflectance_scale_factor": "x"}) == 1
