"""Damaged bytes, nasty texts, and how a reader has to take them: a right result or a UserError of one line."""

from hypothesis import strategies as st

from errors import UserError

TRICKY = [
    "\0",
    "\ufeff",
    "\u2028",
    "\x85",
    "\x0b",
    "\u202e",
    "\U0001f408",
    "e\u0301",
    "\udcff",
    "\r",
    "\t",
    "\xa0",
    "\x1b[2J",
]
TEXTS = st.lists(st.characters() | st.sampled_from(TRICKY), max_size=30).map("".join)


def read_or_refuse(read, path, *args):
    """read(path, *args), or None where that is refused as it has to be."""
    try:
        return read(path, *args)
    except UserError as error:
        assert str(error).startswith(str(path)) and len(str(error).splitlines()) == 1
        assert str(error).partition(str(path))[2].strip(": ")  # it says what is wrong, too
        return None


@st.composite
def damaged(draw, files):
    """Bytes of one of the files, cut off, with bytes changed, left out or put in; rarely just any bytes."""
    whole = draw(st.sampled_from(files))
    how = draw(st.sampled_from(["change", "cut", "insert", "leave out", "any"]))
    if how == "any":
        return draw(st.binary(max_size=300))
    place, length = draw(st.integers(0, len(whole) - 1)), draw(st.integers(1, 8))
    if how == "cut":
        return whole[:place]
    if how == "leave out":
        return whole[:place] + whole[place + length :]
    data = bytearray(whole)
    for _ in range(length):  # most damage is in the middle of a file, but its head is where all is decided
        data[draw(st.integers(0, len(whole) - 1) | st.integers(0, min(60, len(whole) - 1)))] = draw(st.integers(0, 255))
    return bytes(data) if how == "change" else whole[:place] + bytes(data[place : place + length]) + whole[place:]


NASTY = [
    "2020-13-45",
    "!!int x",
    '!!int ""',
    "!!float x",
    "!!bool x",
    "!!timestamp 1",
    "!!binary x",
    "!!set {a, b}",
    "0x_",
    "=",
    "<<: 1",
    "&a [*a]",
    "&a {x: *a}",
    "? [a]\n: 1",
    "[" * 700,
    "{a: " * 700,
    "9" * 5000,
    "1e999",
    ".nan",
    "-.inf",
    '"\\ud800"',
    '"\\0"',
    '"a\\u2028b"',
    "!!python/object:os.system {}",
    "%YAML 9.9",
    "--- 1\n--- 2",
    "2020-01-01T00:00:00+99:99",
    "\t",
    "@",
    "`",
    "*a",
    "&a",
    "!!omap [a]",
    "!!merge x",
    "~",
    "0",
    "false",
    "''",
]


def write_dataset(root, classes="background\ncat\n", labels="a\tcat\n", ids="a\n"):
    (root / "lists").mkdir(exist_ok=True)
    for name, text in (("classes.txt", classes), ("image_labels.txt", labels), ("lists/train.txt", ids)):
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        (root / name).write_bytes(data)
