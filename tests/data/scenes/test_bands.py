"""Which band is which: names in every spelling, wavelengths, colours; what cannot be told apart is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptrain.config import DataConfig
from ptrain.data.scenes.bands import Bands, described, match
from ptrain.data.scenes.scene import open_scene
from ptrain.data.sources.load import read
from ptrain.data.store.convert import convert
from ptrain.data.store.stream import Request, Stream
from ptrain.errors import DataError

from .files import UTM, samples, stream, write

SENTINEL = ("B02", "B03", "B04", "B08")


def matched(trained: Bands, found: Bands, counts: tuple[int, int] = (4, 4)) -> tuple[Any, list[str], list[str]]:
    return match(trained, found, counts, "new.tif")


def named(*names: str) -> Bands:
    return Bands(names=names)


@given(st.permutations(range(6)), st.integers(1, 6), st.data())
def test_names_decide_whatever_the_order(order: list[int], used: int, data: st.DataObject) -> None:
    known = ("B1", "B2", "B8A", "nir", "red edge", "swir")
    spelled = data.draw(st.sampled_from([str.upper, str.lower, lambda name: f" {name}", lambda name: name]))
    found, _, warnings = matched(named(*known[:used]), named(*(spelled(known[band]) for band in order)), (used, 6))
    assert [order[position] for position in found] == list(range(used))
    assert warnings == []


@given(st.permutations(range(5)), st.floats(-0.5, 0.5))
def test_wavelengths_decide_where_there_are_no_names(order: list[int], shift: float) -> None:
    waves = (443.0, 560.0, 665.0, 705.0, 1610.0)
    found = Bands(wavelengths=tuple(waves[band] + shift for band in order))
    assert [order[position] for position in matched(Bands(wavelengths=waves), found, (5, 5))[0]] == [*range(5)]


def test_what_is_reordered_and_left_out_is_said() -> None:
    assert matched(named(*SENTINEL), named("B4", "B3", "B2", "B8", "B11"), (4, 5)) == (
        (2, 1, 0, 3),
        [
            "new.tif: its bands are in another order, and are read in that of the training: B02, B03, B04, B08",
            "new.tif: bands that the training scene does not have are left out: B11",
        ],
        [],
    )
    assert matched(named(*SENTINEL), named(*SENTINEL)) == ((0, 1, 2, 3), [], [])


@pytest.mark.parametrize(
    ("trained", "found", "warns"),
    [
        (Bands(), Bands(), False),
        (named("Band 1", "Band 2"), Bands(), False),
        (named("Band 1", "Band 2"), named("Band 1", "Band 2"), False),
        (named("red", "nir"), Bands(), True),
        (named("red", "nir"), named("Band 1", "Band 2"), True),
        (Bands(), named("red", "nir"), True),
        (Bands(wavelengths=(650, 850)), Bands(), True),
        (named("red", "nir"), Bands(wavelengths=(650, 850)), True),
        (named("red", "nir"), Bands(colors=("red", "nir")), False),
        (named("NDVI", "NDVI"), named("NDVI", "NDVI"), False),
        (named("reflectance", "reflectance"), Bands(), False),
        (named("reflectance", "reflectance"), named("red", "nir"), True),
    ],
)
def test_order_counts_where_a_file_names_nothing(trained: Bands, found: Bands, warns: bool) -> None:
    order, notes, warnings = matched(trained, found, (2, 2))
    assert (order, notes, len(warnings)) == ((0, 1), [], warns)


@pytest.mark.parametrize(
    ("trained", "found", "counts", "message"),
    [
        (
            named(*SENTINEL),
            named("B02", "B03", "B04"),
            (4, 3),
            "has no band B08, only B02, B03, B04; expected B02, B03",
        ),
        (named(*SENTINEL), named("a", "b", "c", "d"), (4, 4), "has no band B02, B03, B04, B08, only a, b, c, d"),
        (named(*SENTINEL), named("B02", "B02", "B03", "B08"), (4, 4), "band name B02 occurs twice"),
        (named(*SENTINEL), Bands(), (4, 5), r"5 bands; expected 4, those of the training scene \(B02, B03, B04, B08\)"),
        (Bands(), Bands(), (2, 3), "3 bands; expected 2, those of the training scene: give the same bands"),
        (
            Bands(wavelengths=(650, 850)),
            Bands(wavelengths=(650, 900)),
            (2, 2),
            "has no band 850 nm, only 650 nm, 900 nm",
        ),
        (
            Bands(names=("B3", "B4"), wavelengths=(660, 835)),
            Bands(names=("B3", "B4"), wavelengths=(560, 655)),
            (2, 2),
            "band B3 is at 560 nm, that of the training scene at 660 nm",
        ),
    ],
)
def test_what_cannot_be_matched_is_refused(trained: Bands, found: Bands, counts: tuple[int, int], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        matched(trained, found, counts)
    assert "\n" not in str(error.value)


def test_what_a_file_says_of_its_bands() -> None:
    nm = {"wavelength": "450", "wavelength_units": "Nanometers"}
    assert described(["blue (450 Nanometers)"], [nm], None) == Bands(names=("blue",), wavelengths=(450,))
    um = [
        {"WAVELENGTH": value, "WAVELENGTH_UNIT": "um", "BANDNAME": name}
        for value, name in (("0.443", "B1"), ("0.49", "B2"))
    ]
    assert described([None, None], um, None) == Bands(names=("B1", "B2"), wavelengths=(443, 490))
    assert described([None], [{"CENTRAL_WAVELENGTH_UM": "0.45"}], None) == Bands(wavelengths=(450,))
    assert described(["450 nm", "0.6 µm"], [{}, {}], None).wavelengths == (450, 600)
    assert described(["450", "600"], [{"wavelength": "0.45"}, {"wavelength": "0.6"}], None).wavelengths == (450, 600)
    assert described(["a", None], [nm, {}], None) == Bands()
    assert described([None] * 2, [nm, nm], None) == Bands()
    assert described(["VH 20 m"], [{}], None).wavelengths is None
    assert described([None] * 3, [{}] * 3, ["red", "green", "blue"]) == Bands(colors=("red", "green", "blue"))
    assert described([None] * 2, [{}] * 2, ["gray", "undefined"]) == Bands()
    some = Bands(names=("a", "b"), wavelengths=(450, 600))
    assert Bands.from_schema(some.to_schema()) == some
    assert Bands.from_schema({"band_names": None}) == Bands()


CUBE = np.random.default_rng(0).integers(1, 1000, (12, 10, 4)).astype(np.uint16)
ORDER = [2, 1, 0, 3]


def _again(scene: Path, labels: Path, schema: Any) -> Stream:
    config = DataConfig(data=str(scene), labels=str(labels))
    return open_scene(str(scene), Request(config=config, schema=schema))


@pytest.mark.parametrize("neighborhood", [1, 3])
def test_another_order_gives_the_same_features(tmp_path: Path, neighborhood: int) -> None:
    labels = write(tmp_path / "r.tif", np.tile([1, 2], (12, 5)).astype(np.uint8), **UTM)
    scene = write(tmp_path / "s.tif", CUBE, names=SENTINEL, nodata=CUBE[3, 3, 0], **UTM)
    first = stream(scene, labels, neighborhood=neighborhood)
    # the nodata value is a number of band B02 alone in one file, and of another band in the other
    mixed = np.concatenate([CUBE[:, :, ORDER], CUBE[:, :, :1]], axis=2)
    names = (*(SENTINEL[band] for band in ORDER), "B11")
    swapped = write(tmp_path / "w.tif", mixed, names=names, nodata=CUBE[3, 3, 0], **UTM)
    second = _again(swapped, labels, first.schema)
    for one, other in zip(samples(first), samples(second), strict=True):
        assert np.array_equal(one, other)
    assert second.notes == (
        f"{swapped}: its bands are in another order, and are read in that of the training: B02, B03, B04, B08",
        f"{swapped}: bands that the training scene does not have are left out: B11",
    )
    unnamed = _again(write(tmp_path / "u.tif", CUBE[:, :, ORDER], **UTM), labels, first.schema)
    assert unnamed.warnings == (
        f"{tmp_path}/u.tif: its bands have no names; their order is taken to be B02, B03, B04, B08",
    )
    assert not np.array_equal(samples(unnamed)[0], samples(first)[0])


def test_wavelengths_of_an_envi_header_and_of_tags_of_a_tiff_are_the_same(tmp_path: Path) -> None:
    labels = write(tmp_path / "r.tif", np.tile([1, 2], (12, 5)).astype(np.uint8), **UTM)
    scene = write(tmp_path / "s.img", CUBE, driver="ENVI")
    with (tmp_path / "s.hdr").open("a") as header:
        header.write("wavelength units = Micrometers\nwavelength = {0.45, 0.55,\n0.65, 0.85}\n")
    first = stream(scene, labels)
    assert first.feature_names == ("0.45 Micrometers", "0.55 Micrometers", "0.65 Micrometers", "0.85 Micrometers")
    waves = [{"wavelength": str((450, 550, 650, 850)[band]), "wavelength_units": "nm"} for band in ORDER]
    second = _again(write(tmp_path / "w.tif", CUBE[:, :, ORDER], tags=waves, **UTM), labels, first.schema)
    assert np.array_equal(samples(first)[0], samples(second)[0])


def test_colours_are_names(tmp_path: Path) -> None:
    labels = write(tmp_path / "r.tif", np.tile([1, 2], (12, 5)).astype(np.uint8), **UTM)
    image = (CUBE[:, :, :3] % 250).astype(np.uint8)
    first = stream(write(tmp_path / "s.tif", image, photometric="RGB", **UTM), labels)
    swapped = write(tmp_path / "w.tif", image[:, :, ::-1], colorinterp=("blue", "green", "red"), **UTM)
    second = _again(swapped, labels, first.schema)
    assert np.array_equal(samples(first)[0], samples(second)[0])
    assert "in another order" in second.notes[0]


def test_converted_samples_have_the_order_of_their_scene(tmp_path: Path) -> None:
    labels = write(tmp_path / "r.tif", np.tile([1, 2], (12, 5)).astype(np.uint8), **UTM)
    schema = stream(write(tmp_path / "s.tif", CUBE, names=SENTINEL, **UTM), labels).schema
    for name, order in (("same", [0, 1, 2, 3]), ("other", ORDER)):
        scene = write(tmp_path / f"{name}.tif", CUBE[:, :, order], names=[SENTINEL[band] for band in order], **UTM)
        convert(stream(scene, labels), tmp_path / name)
    found = read(DataConfig(data=f"{tmp_path}/same"), schema=schema)
    assert np.array_equal(found.train.features, CUBE.reshape(-1, 4))
    with pytest.raises(DataError, match=r"its band names, their order or categories are not those of training"):
        read(DataConfig(data=f"{tmp_path}/other"), schema=schema)
