from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptrain.data.sources.image_files import Form, common_mode, conversions, pixels, survey
from ptrain.errors import DataError
from tests.data.sources.streams import is_array, opened, train

UPRIGHT = (np.arange(24, dtype=np.uint8) * 10).reshape(6, 4)
STORED = {
    1: UPRIGHT, 2: UPRIGHT[:, ::-1], 3: np.rot90(UPRIGHT, 2), 4: UPRIGHT[::-1], 5: UPRIGHT.T,
    6: np.rot90(UPRIGHT), 7: np.rot90(UPRIGHT, 2).T, 8: np.rot90(UPRIGHT, -1),
}  # fmt: skip
"""The same picture as cameras store it, by EXIF's orientation."""


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTRAIN_CACHE", str(tmp_path / "cache"))


def save(path: Path, values: Any, orientation: int | None = None, **keywords: Any) -> Path:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(values)).save(path, exif=exif, **keywords)
    return path


@pytest.mark.parametrize(
    ("suffix", "keywords"),
    [
        ("png", {}),
        ("tif", {}),
        ("tif", {"compression": "tiff_lzw"}),
        ("webp", {"lossless": True}),
        ("jpg", {"quality": 95}),
    ],
)
def test_pixels_are_as_every_viewer_shows_them(tmp_path: Path, suffix: str, keywords: dict[str, Any]) -> None:
    paths = [save(tmp_path / f"{turn}.{suffix}", STORED[turn], turn, **keywords) for turn in STORED]
    size, kinds = survey(paths, None)
    form = Form(*size, common_mode(kinds, paths, "L"))
    assert form == (4, 6, "L")
    for path in paths:
        difference = pixels(path, form).astype(int) - UPRIGHT
        assert np.abs(difference).max() <= (8 if suffix == "jpg" else 0), path
    assert conversions(kinds, "L", "here")[0] == ["here: 7 of 8 images are turned as their EXIF orientation says"]


def test_damaged_exif_and_unknown_orientations_are_upright(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{turn}.png", UPRIGHT, turn) for turn in (0, 9)]
    paths.append(tmp_path / "damaged.png")
    Image.fromarray(UPRIGHT).save(paths[-1], exif=b"Exif\0\0MM\0*no more")
    size, kinds = survey(paths, None)
    assert (size, kinds) == ((4, 6), {"L": [3, 0]})
    for path in paths:
        is_array(pixels(path, Form(4, 6, "L")), UPRIGHT)


def folder(root: Path, **modes: str) -> Path:
    """Write one image a name, of a mode, with pixels that follow from the place of the name."""
    for number, (name, mode) in enumerate(modes.items()):
        (root / name).mkdir(parents=True)
        values = np.random.default_rng(number).integers(0, 256, (6, 4, 4), dtype=np.uint8)
        image = Image.fromarray(values if mode in ("RGBA", "LA") else values[..., :3])
        suffix = "tif" if mode == "CMYK" else "png"
        image.convert("RGBA" if mode == "RGBA" else mode).save(root / name / f"0.{suffix}")
    return root


@pytest.mark.parametrize(
    ("modes", "mode", "notes", "warnings"),
    [
        ({"a": "L", "b": "RGB"}, "RGB", ["1 of 2 images are grey and become RGB"], []),
        ({"a": "P", "b": "RGB"}, "RGB", [], []),
        ({"a": "1", "b": "L"}, "L", [], []),
        ({"a": "RGBA", "b": "RGBA"}, "RGBA", [], []),
        ({"a": "RGB", "b": "RGBA"}, "RGB", [], ["1 of 2 images have transparency, which is left out"]),
        ({"a": "L", "b": "LA"}, "L", [], ["1 of 2 images have transparency, which is left out"]),
        (
            {"a": "LA", "b": "RGB"},
            "RGB",
            ["1 of 2 images are grey and become RGB"],
            ["1 of 2 images have transparency, which is left out"],
        ),
        (
            {"a": "CMYK", "b": "RGB"},
            "RGB",
            [],
            ["1 of 2 images are CMYK or YCbCr and become RGB without a colour profile"],
        ),
    ],
)
def test_images_of_several_modes_get_one(
    tmp_path: Path, modes: dict[str, str], mode: str, notes: list[str], warnings: list[str]
) -> None:
    root = folder(tmp_path / "root", **modes)
    stream = opened(root)
    assert stream.schema == {"kind": "images", "width": 4, "height": 6, "mode": mode}
    assert stream.notes == tuple(f"{root}: {text}" for text in notes)
    assert stream.warnings == tuple(f"{root}: {text}" for text in warnings)
    expected = [np.asarray(Image.open(path).convert(mode)).reshape(-1) for path in sorted(root.rglob("0.*"))]
    is_array(train(stream)[0], expected)


@pytest.mark.parametrize("largest", [65535, 1023])
def test_colours_of_sixteen_bits_are_said_to_lose_some(tmp_path: Path, largest: int) -> None:
    for name in ("a", "b"):
        (tmp_path / "root" / name).mkdir(parents=True)
        # a PPM may have 16 bits a channel, which Pillow reads with 8
        content = f"P6 2 1 {largest}\n".encode() + np.array([0, 256, largest, 1, 2, 3], ">u2").tobytes()
        (tmp_path / "root" / name / "0.ppm").write_bytes(content)
    assert "16 bits a channel" in str(opened(tmp_path / "root").warnings)


def test_grey_of_sixteen_bits_keeps_all_of_them(tmp_path: Path) -> None:
    values = np.array([[0, 257], [513, 65535]], np.uint16)
    for name in ("a", "b"):
        (tmp_path / "root" / name).mkdir(parents=True)
        Image.fromarray(values).save(tmp_path / "root" / name / "0.png")
        (tmp_path / "root" / name / "1.pgm").write_bytes(b"P5 2 2 65535\n" + values.astype(">u2").tobytes())
    stream = opened(tmp_path / "root")
    assert stream.warnings == ()
    assert stream.dtype == np.uint16
    is_array(train(stream)[0], [values.reshape(-1)] * 4)


def test_an_animation_is_refused_and_the_first_picture_of_a_camera_read(tmp_path: Path) -> None:
    first, second = Image.fromarray(UPRIGHT).convert("RGB"), Image.fromarray(UPRIGHT[::-1].copy()).convert("RGB")
    first.save(tmp_path / "moving.webp", save_all=True, append_images=[second], lossless=True)
    with pytest.raises(DataError, match=r"moving\.webp: holds 2 images; expected one"):
        survey([tmp_path / "moving.webp"], None)
    first.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[second], quality=95)
    assert survey([tmp_path / "phone.jpg"], None) == ((4, 6), {"RGB": [1, 0]})
    assert np.abs(pixels(tmp_path / "phone.jpg", Form(4, 6, "L")).astype(int) - UPRIGHT).max() < 8


def test_what_is_known_of_images_is_remembered_by_content(tmp_path: Path) -> None:
    path = save(tmp_path / "0.png", UPRIGHT)
    assert survey([path], None) == ((4, 6), {"L": [1, 0]})
    save(path, UPRIGHT.T, 6)
    assert survey([path], None) == ((4, 6), {"L turned": [1, 0]})
    with pytest.raises(DataError, match=r"4 x 6 pixels when it is turned .*, but the training images have 6 x 4"):
        survey([path], (6, 4))
