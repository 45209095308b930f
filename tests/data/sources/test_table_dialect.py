"""Tables of text as people have them: each layout is read rightly and what was guessed said, or refused in a line."""

import bz2
import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ptrain.data.sources.table_files import MISSING, Table
from ptrain.data.sources.table_text import open_text
from ptrain.data.sources.tables import open_table
from ptrain.errors import DataError

PLAIN = "x,y\n1.5,a\n2,b\n"
ROWS = [{"x": "1.5", "y": "a"}, {"x": "2", "y": "b"}]


def rows_of(table: Table) -> list[dict[str, Any]]:
    return [row for batch in table.read(table.columns, ()) for row in batch.to_pylist()]


def table(tmp_path: Path, content: str | bytes, kind: str = "csv", **keywords: Any) -> Table:
    path = tmp_path / f"t.{kind}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_table(kind, str(path), **keywords)


LAYOUTS: dict[str, tuple[str | bytes, str]] = {
    "plain": (PLAIN, ""),
    "mark in front": (PLAIN.encode("utf-8-sig"), ""),
    "utf-16": (PLAIN.encode("utf-16"), ""),
    "utf-16, high byte first": (b"\xfe\xff" + PLAIN.encode("utf-16-be"), ""),
    "lines end with CR": (PLAIN.replace("\n", "\r"), ""),
    "lines end with CRLF": (PLAIN.replace("\n", "\r\n"), ""),
    "no end of the last line": (PLAIN.rstrip(), ""),
    "empty lines": ("\n\n" + PLAIN.replace("\n", "\n\n") + "\n", ""),
    "gzip": (gzip.compress(PLAIN.encode()), ""),
    "gzip of two members": (gzip.compress(PLAIN[:8].encode()) + gzip.compress(PLAIN[8:].encode()), ""),
    "bz2": (bz2.compress(PLAIN.encode()), ""),
    "zstd": (pa.Codec("zstd").compress(PLAIN.encode(), asbytes=True), ""),
    "gzip of utf-16": (gzip.compress(PLAIN.encode("utf-16")), ""),
    "semicolons": (PLAIN.replace(",", ";"), "columns are separated by semicolons"),
    "tabs": (PLAIN.replace(",", "\t"), "columns are separated by tabs"),
    "bars": (PLAIN.replace(",", "|"), "columns are separated by vertical bars"),
    "quoted, with semicolons": ('"x";"y"\n"1.5";"a"\n2;b\n', "columns are separated by semicolons"),
    "separator named by Excel": ("sep=;\nx;y\n1.5;a\n2;b\n", ""),
    "commas named by Excel": ("sep=,\r\n" + PLAIN, ""),
    "comment": ("# exported today\n# by me, from there\n" + PLAIN, "lines of comment (#) before the heading"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_table_is_the_same_in_every_layout(tmp_path: Path, name: str) -> None:
    content, note = LAYOUTS[name]
    found = table(tmp_path, content)
    assert rows_of(found) == ROWS
    assert len(found.notes) == bool(note)
    assert all(note in text for text in found.notes)
    assert found.index == {}
    line = found.position(1)
    text = (gzip.decompress(content) if name == "gzip" else content) if isinstance(content, bytes) else content.encode()
    if "zstd" not in name and "bz2" not in name and "gzip of" not in name:
        decoded = text.decode("utf-16" if "utf-16" in name else "utf-8-sig")
        assert decoded.splitlines()[int(line.split()[1]) - 1][:1] == "2"


def test_columns_with_commas_and_decimal_commas_are_read_as_written(tmp_path: Path) -> None:
    found = table(tmp_path, "Fläche, ha;Höhe;y\n1,5;2;0\n-2,25e1;1;1\n")
    assert (found.columns, found.decimal) == (("Fläche, ha", "Höhe", "y"), ",")
    assert found.notes == ("t.csv: columns are separated by semicolons", "t.csv: numbers have a decimal comma")
    batch = next(found.read(["Fläche, ha"], ["Fläche, ha"]))
    assert batch.to_pylist() == [{"Fläche, ha": 1.5}, {"Fläche, ha": -22.5}]


@pytest.mark.parametrize("values", [("1,234", "5,678"), ("1,5", "2.5")])
def test_a_comma_that_may_be_that_of_thousands_is_no_decimal_comma(tmp_path: Path, values: tuple[str, str]) -> None:
    assert table(tmp_path, f"x;y\n{values[0]};0\n{values[1]};1\n").decimal == "."


def test_a_tsv_has_tabs_and_may_have_others(tmp_path: Path) -> None:
    assert rows_of(table(tmp_path, PLAIN.replace(",", "\t"), "tsv")) == ROWS
    assert table(tmp_path, PLAIN.replace(",", "\t"), "tsv").notes == ()
    found = table(tmp_path, PLAIN, "tsv")
    assert rows_of(found) == ROWS
    assert found.notes == ("t.tsv: columns are separated by commas",)


def test_an_empty_line_of_a_single_column_is_a_row(tmp_path: Path) -> None:
    found = table(tmp_path, "x\n0\n\n4\r\n\r\n5\n")
    assert [row["x"] for row in rows_of(found)] == ["0", "", "4", "", "5"]
    assert [found.position(row) for row in range(5)] == [f"line {number}" for number in range(2, 7)]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_quoted_line_breaks_and_ends_of_lines_may_lie_anywhere_in_a_block(
    tmp_path: Path, end: str, encoding: str
) -> None:
    more = "." * 100  # a block is one MiB
    lines = [f'"one{end}two, {number}{more}",{number}' for number in range(12_000)]
    found = table(tmp_path, ("note,x" + end + end.join(lines) + end).encode(encoding))
    number = 0
    for batch in found.read(("note", "x"), ()):
        assert batch.column("x").to_pylist() == list(map(str, range(number, number + batch.num_rows)))
        assert batch.column("note")[0].as_py() == f"one{end}two, {number}{more}"
        number += batch.num_rows
    assert number == 12_000


HEADINGS: list[tuple[str, tuple[str, ...], dict[str, str]]] = [
    (",x,y\n0,1,a\n", ("column 1", "x", "y"), {"column 1": "has no heading"}),
    ('"","x","y"\n"Mazda RX4",1,a\n', ("column 1", "x", "y"), {"column 1": "has no heading"}),
    ("x,y,\n1,a,\n", ("x", "y", "column 3"), {"column 3": "has no heading"}),
    ("Unnamed: 0,x,y\n0,1,a\n", ("Unnamed: 0", "x", "y"), {"Unnamed: 0": "has the heading that pandas gives"}),
    ("# x,y\n1.5,2\n", ("x", "y"), {}),
    ("#,Name,t\n1,Bulbasaur,grass\n2,Ivysaur,grass\n", ("#", "Name", "t"), {}),
    ("443,490,label\n0.1,0.2,oak\n0.3,0.1,oak\n", ("443", "490", "label"), {}),
    ("0,1,2\n0.5,0.25,a\n", ("0", "1", "2"), {}),
    (",0,1\n0,0.5,a\n", ("column 1", "0", "1"), {"column 1": "has no heading"}),
    ("p,x\ne,b\ne,f\n", ("p", "x"), {}),
    ("ho\u0308he,y\n1,a\n", ("h\u00f6he", "y"), {}),
]


@pytest.mark.parametrize(("text", "names", "index"), HEADINGS)
def test_headings(tmp_path: Path, text: str, names: tuple[str, ...], index: dict[str, str]) -> None:
    found = table(tmp_path, text)
    assert found.columns == names
    assert found.index.keys() == index.keys()
    assert all(found.index[name].startswith(why) for name, why in index.items())


def test_numbers_are_a_heading_where_they_are_known_names(tmp_path: Path) -> None:
    text = "443,490\n0.1,0.2\n"
    with pytest.raises(DataError, match="line 1: holds values, such as '443'"):
        table(tmp_path, text)
    assert table(tmp_path, text, known=("490", "443")).columns == ("443", "490")


def test_a_known_name_is_a_single_column_whatever_is_in_it(tmp_path: Path) -> None:
    assert table(tmp_path, "full name\nJane Roe\nJohn Doe\n", known=("full name",)).columns == ("full name",)


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "no heading": (
        "5.1,3.5,setosa\n4.9,3,setosa\n",
        "line 1: holds values, such as '5.1'; expected the columns' names",
    ),
    "no heading, letters": ("p,x,s\np,b,s\ne,x,s\n", "line 1: holds values, such as 'p'"),
    "no heading, comment": ("# x and y\n1.5,2\n3,4\n", "line 2: holds values"),
    "blanks": ('"x" "y"\n"0" 1.5 a\n"1" 2 b\n', "line 1: columns are separated by blanks"),
    "zip": (b"PK\x03\x04rest", "is a zip archive or an Excel workbook"),
    "xz": (b"\xfd7zXZ\x00rest", "packed by xz"),
    "cut gzip": (gzip.compress(PLAIN.encode())[:-9], "damaged"),
    "a line of MiBs": (gzip.compress(b"x,y\n" + b"0" * 3 * 2**20), "a line or quoted value of more than"),
    "utf-16 without a mark": (PLAIN.encode("utf-16-le"), "holds zero bytes"),
    "half of utf-16": (PLAIN.encode("utf-16")[:-1] + b"\xd8", "is no proper UTF-16"),
    "no name between others": ("x,,y\n1,2,a\n", "line 1: column 2 has no name"),
    "row names without a heading": ("x,y\nr1,1,a\nr2,2,b\n", "line 2: 3 values; expected 2"),
    "blanks before quotes": (
        'x, "y, z"\n1, "a, b"\n',
        "a blank before a quote, as in ' \"y'; expected quotes right behind commas",
    ),
    "comments only": ("# x\n# y\n", "no line of text"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_read_in_more_than_one_way_is_refused_in_a_line(tmp_path: Path, name: str) -> None:
    content, expected = REFUSED[name]
    with pytest.raises(DataError) as caught:
        rows_of(table(tmp_path, content))
    assert expected in str(caught.value)
    assert str(caught.value).isprintable()
    assert "expected" in str(caught.value)


def test_a_packed_file_unpacks_to_what_it_can_honestly_hold(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(pa.Codec("zstd").compress(b"x,y\n" + (b"0" * 1020 + b",0\n") * (70 * 2**10), asbytes=True))
    with pytest.raises(DataError, match="declares"):
        list(open_text(path, "csv", MISSING).read(("y",), ("y",)))
