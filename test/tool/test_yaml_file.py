"""What a person writes in YAML is what is read, or one line says why not."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from errors import UserError
from tool.yaml_file import MAX_BYTES, dump_yaml, parse_yaml, read_yaml

REPOSITORY = Path(__file__).resolve().parents[2]


def said_by_chr(number):
    """What Python says of a number that is no character: another text in 3.13 than before."""
    with pytest.raises((ValueError, OverflowError)) as caught:
        chr(number)
    return str(caught.value)


def refused(text):
    with pytest.raises(ValueError) as error:
        parse_yaml(text)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize(
    "text, value",
    [
        ("12", 12),
        ("+1", 1),
        ("-3", -3),
        ("0", 0),
        ("0.5", 0.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e-4", 1e-4),
        ("1e5", 1e5),
        ("-1.5E+3", -1500.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("False", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("2007_000032", "2007_000032"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("'010'", "010"),
        ('"0x10"', "0x10"),
        ("inf", "inf"),
        ("1e", "1e"),
        ("1.2.3", "1.2.3"),
        ("=", "="),
        ("node:29500", "node:29500"),
        ("12-24", "12-24"),
    ],
)
def test_plain_words_are_read_as_a_person_means_them(text, value):
    (read,) = parse_yaml(f"[{text}]") or (None,)
    assert (type(read), read) == (type(value), value)


def test_nan_is_a_float():
    assert math.isnan(parse_yaml(".nan"))


@pytest.mark.parametrize(
    "word", ["010", "-007", "08", "00.5", "01e3", "0x1F", "0o17", "0b11", "1:30", "12:30:45", "1:30.5"]
)
def test_numbers_that_readers_disagree_about_are_refused_with_what_to_write(word):
    said = refused(f"common:\n  seed: {word}\n")
    assert (
        said.startswith(f"line 2, column 9: '{word}' is one number to some readers") and "write it in decimal" in said
    )
    assert refused(f"a:\n- 1\n- [{word}]").startswith(f"line 3, column 4: '{word}' is")
    assert refused(f"{word}: 1").startswith(f"line 1, column 1: '{word}' is")


UNREAD = "tags (!), anchors (&) and aliases (*) are not read"


@pytest.mark.parametrize(
    "text, message",
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1: 'a' is given twice: leave one out"),
        ("x:\n  lr: 1\n  'lr': 1", "line 3, column 3: 'lr' is given twice"),
        ("{x: {a: 1, a: 1}}", "line 1, column 12: 'a' is given twice"),
        ("- {a: 1, a: 2}", "line 1, column 10: 'a' is given twice"),
        ("1: a\n1.0: b", "line 2, column 1: 1.0 is given twice"),
        ("? [a]\n: 1", "line 1, column 3: a key must be a word"),
        ("? {a: 1}\n: 1", "line 1, column 3: a key must be a word"),
        ("a: 1\n\tb: 2", "line 2, column 1: while scanning for the next token: found character '\\t'"),
        ("a: 1\nb: 2: 3", "line 2, column 5: mapping values are not allowed here"),
        ("a: !!set {b}", f"line 1, column 4: {UNREAD}"),
        ("a: !!timestamp 1", UNREAD),
        ("a: !!str 010", UNREAD),
        ("a: !!python/none", UNREAD),
        ("a: ! b", UNREAD),
        ("a: &b 1", UNREAD),
        ("a: *b", UNREAD),
        ("b: &b {c: 1}\nx: {<<: *b}", f"line 1, column 4: {UNREAD}"),
        ("a: " + "9" * 5000, "5000 digits"),
        ("a: 1\n\nb: \0", "line 3: holds the character U+0000"),
        ("a: 1\n---\nb: 1", "line 2, column 1: expected a single document"),
        ("[" * 5000, "nested too deeply"),
        ('a: "\\UFFFFFFFF"', said_by_chr(0xFFFFFFFF)),
        ('"\\e[2J": 1\n"\\e[2J": 1', r"\x1b[2J' is given twice"),
        ("\n" + "a" * 999 + ": 1\n" + "a" * 999 + ": 1", "aaa...aaaaaaaaaaaaa' is given twice"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text, message):
    assert message in refused(text)


@pytest.mark.parametrize(
    "data, message",
    [
        ("a: é".encode("latin-1"), "line 1: is no text in UTF-8"),
        ("a: 1\n".encode("utf-16"), "line 1: is no text in UTF-8"),
        ("a: 1\n".encode("utf-16-le"), "line 1: holds the character U+0000"),
        (bytes(range(256)), "line 2: is no text"),
        (b"\x1f\x8b\x08\x00", "line 1: is no text"),
        (b"a: 1 #" + b"x" * MAX_BYTES, "is longer than 256 KiB"),
    ],
)
def test_files_that_are_no_text_are_refused_with_their_name(tmp_path, data, message):
    path = tmp_path / "a.yaml"
    path.write_bytes(data)
    with pytest.raises(UserError) as error:
        read_yaml(path)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: x\r\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": 1, "b": "x"}


def test_what_is_no_file_or_has_no_end_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with open(tmp_path / "big", "wb") as file:
        file.truncate(100 << 30)  # a hole: takes no room
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "fifo", tmp_path, "/dev/zero", tmp_path / "big", tmp_path / "none", tmp_path / "loop", ""):
        began = time.monotonic()
        with pytest.raises(UserError, match="cannot be read: |is longer than"):
            read_yaml(path)
        assert time.monotonic() - began < 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
@example(["1e-4", "010", "0o17", "1:30", "yes", "2007_000032", "<<", "=", "2024-01-01", "", "null", ".inf", "-.nan"])
@example({"1e5": 1e-5, "on": 1e300, "0x1": ["\ufeff", "\x85", "\x1b"]})
def test_what_is_written_is_read_again(value):
    assert parse_yaml(dump_yaml(value)) == value


@pytest.mark.parametrize("word", ["yes", "010", "1e-4", "0o17", "2024-01-01", "1_000", "1:30"])
def test_text_is_written_so_that_every_reader_takes_it_for_text(word):
    assert yaml.safe_load(dump_yaml([word])) == parse_yaml(dump_yaml([word])) == [word]


def test_reading_yaml_needs_neither_torch_nor_numpy():
    code = "import sys, tool.yaml_file; sys.exit(any(name in sys.modules for name in ('torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def test_what_is_met_twice_is_written_out():
    scales = [1, 2]
    assert parse_yaml(dump_yaml({"a": scales, "b": scales})) == {"a": [1, 2], "b": [1, 2]}
