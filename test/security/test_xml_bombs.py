"""Annotations that grow or read other files: refused at once, in one line that names them."""

import pytest
from bombs import refusal
from PIL import Image

from data.collect import collect
from data.xml_tree import parse_xml
from voc12.annotations import read_annotation

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BOMBS = {
    "billion laughs": f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]>'
    "<annotation><object><name>&l9;</name></object></annotation>",
    "quadratic": f'<!DOCTYPE a [<!ENTITY x "{"x" * 50_000}">]><annotation><object><name>{"&x;" * 50_000}</name>'
    "</object></annotation>",
    "a file": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object><name>&x;</name></object>'
    "</annotation>",
    "an address": '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd"><annotation/>',
    "a parameter": '<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]><annotation/>',
    "depth": "<annotation>" + "<part>" * 200_000,
    "size": "<annotation>" + " " * (4 << 20) + "</annotation>",
    "an encoding that is none": '<?xml version="1.0" encoding="rot13"?><annotation/>',
    "control characters": "<annotation><object><name>\0</name></object></annotation>",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_xml_that_grows_or_reads_other_files(tmp_path, kind):
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "Annotations").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "JPEGImages/a.jpg")
    path = tmp_path / "Annotations/a.xml"
    path.write_text(BOMBS[kind])
    lines = {refusal(read_annotation, path), refusal(collect, tmp_path, "xml")}
    assert len(lines) == 1 and lines.pop().startswith(f"{path}: cannot be read as an annotation: ")
    assert not (tmp_path / "image_labels.txt").exists()
    if "DOCTYPE" in BOMBS[kind]:
        assert "DTDForbidden" in refusal(parse_xml, path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1", "cp1252"])
def test_annotations_in_usual_encodings_are_read(tmp_path, encoding):
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?>\n'
        "<a><!-- c --><object><name> Vögel &amp; &#233;</name></object></a>"
    )
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    assert parse_xml(tmp_path / "a.xml").findtext("object/name") == " Vögel & é"
