"""YAML as a person reads it: the values of config files and of a run's records. Needs no torch.

YAML 1.1, which PyYAML speaks, has surprises. Here

- a number is decimal: 12, -0.5, 1e-4 (text to PyYAML), .inf, .nan. What one reader of YAML takes for this number and
  the next for that one, 010, 0x10, 0o17, 0b1 and 1:30, is refused: write it in decimal, or in quotes if it is text;
- a boolean is true or false. yes, no, on, off, dates and 2007_000032 (an image of VOC; to PyYAML 2007000032) are
  text, which settings of another kind refuse;
- a key that is given twice in one mapping is refused, where PyYAML lets the later one win;
- tags (!!set) are refused, but for those of null, booleans, numbers, text, lists and mappings.

Aliases and merge keys (<<) are read as long as they stand for no more than MAX_NODES values.
"""

import re

import yaml

from errors import UserError
from files import check_file

MAX_BYTES = 256 << 10  # PyYAML takes seconds for as much; the project's longest config has 2 KiB
MAX_NODES = 100_000
MAX_DIGITS = 4000  # Python itself reads no more than 4300

TAG = "tag:yaml.org,2002:"
WORDS = {
    f"{TAG}{name}": re.compile(rf"(?:{pattern})\Z")
    for name, pattern in {
        "bool": r"true|True|TRUE|false|False|FALSE",
        "null": r"~|null|Null|NULL|",
        "merge": r"<<",
        "int": r"[-+]?(?:0|[1-9][0-9]*)",
        "float": r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)"
        r"|\.(?:nan|NaN|NAN)",
    }.items()
}
TAGS = {*WORDS, f"{TAG}str", f"{TAG}seq", f"{TAG}map"}
DOUBTFUL = "!doubtful"
DOUBTFUL_WORD = re.compile(
    r"[-+]?(?:0[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+"
    r"|[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?)\Z"
)


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with these words alone."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  PyYAML's own form

    def flatten_mapping(self, node):
        """Puts what is merged (<<) into a mapping: its own keys count first, then those of the earlier merged mapping,
        as YAML says. Not PyYAML's own method, whose releases differ: 6.0.4 lets the later one win."""
        own = {(key.tag, key.value): (key, value) for key, value in node.value if key.tag != f"{TAG}merge"}
        merged = {}
        for key, value in node.value:
            if key.tag == f"{TAG}merge":
                for each in value.value if value.id == "sequence" else [value]:
                    if each.id != "mapping":
                        raise yaml.constructor.ConstructorError(
                            None, None, "only mappings can be merged", each.start_mark
                        )
                    self.flatten_mapping(each)
                    merged = {(inner.tag, inner.value): (inner, part) for inner, part in each.value} | merged
        node.value = list(({**merged, **own} if merged else own).values())


class Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which puts into quotes what either kind of reader would not take for text."""


for _class in (Loader, Dumper):
    for _tag, _word in {**WORDS, DOUBTFUL: DOUBTFUL_WORD}.items():
        _class.add_implicit_resolver(_tag, _word, None)


def read_yaml(path):
    """The value of a YAML file, see `parse_yaml`. Raises UserError."""
    try:
        data = _read_bytes(path)
        return parse_yaml(data.decode("utf-8-sig"))  # Windows' editors put a byte order mark first
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}: is not valid YAML: line {line}: is no text in UTF-8") from error
    except ValueError as error:
        raise UserError(f"{path}: is not valid YAML: {error}") from error


def parse_yaml(text):
    """The plain value of a YAML document. Raises ValueError, with the line and the key, if it is none, or one of more
    than MAX_NODES values once its aliases are expanded, as merging and printing do: a few lines can stand for
    billions."""
    loader = None
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _checked_nodes(node, "", loader, {}) > MAX_NODES:
            raise ValueError(f"it stands for more than {MAX_NODES:,} values")
        return loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"line {line}: holds the character U+{error.character:04X}, as no text does") from error
    except yaml.MarkedYAMLError as error:
        raise ValueError(_explain(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except Exception as error:  # PyYAML lets through what Python's types say, of escapes such as \\UFFFFFFFF
        raise ValueError(" ".join(str(error).split())) from error
    finally:
        if loader is not None:
            loader.dispose()


def dump_yaml(value):
    """The text that `parse_yaml` reads as this value again, keys in their order."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False)


def _read_bytes(path):
    """At most MAX_BYTES of a file."""
    check_file(path)
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UserError(f"{path}: is longer than {MAX_BYTES >> 10} KiB: it is no settings file")
    return data


def _checked_nodes(node, name, loader, known):
    """How many nodes a YAML node stands for with its aliases expanded, infinity if it contains itself; a long text
    counts as several. Raises ValueError for what this module refuses. name: `section.key` of the node, or "".
    known: {id of a node: its number}."""
    if id(node) not in known:
        _check(node, name)
        known[id(node)] = float("inf")  # until all that it holds is counted
        parts = {"scalar": _no_parts, "sequence": _parts_of_list, "mapping": _parts_of_mapping}[node.id]
        known[id(node)] = (
            1
            + len(node.value) // 100 * (node.id == "scalar")
            + sum(_checked_nodes(part, key, loader, known) for key, part in parts(node, name, loader))
        )
    return known[id(node)]


def _no_parts(node, name, loader):
    return ()


def _parts_of_list(node, name, loader):
    return ((name, part) for part in node.value)


def _parts_of_mapping(node, name, loader):
    """The keys and values, each key once."""
    lines = {}
    for key_node, value in node.value:
        where = f"line {key_node.start_mark.line + 1}: "
        if key_node.id != "scalar":
            raise ValueError(f"{where}a key must be a word, not a list or mapping")
        inner = f"{name}.{key_node.value}".removeprefix(".")
        _check(key_node, inner)
        key = "<<" if key_node.tag == f"{TAG}merge" else loader.construct_object(key_node)
        if key in lines:
            raise ValueError(f"{where}{_short(inner)} is given twice, first in line {lines[key]}: leave one out")
        lines[key] = key_node.start_mark.line + 1
        yield inner, value
        yield inner, key_node


def _check(node, name):
    """Raises ValueError for a node of an unknown tag, or one that does not say which number it is."""
    where = f"line {node.start_mark.line + 1}: " + f"{_short(name)}: " * bool(name)
    if node.tag == DOUBTFUL and node.id == "scalar":
        word = node.value
        plain = re.sub(r"^([-+]?)0+(?=[0-9])", r"\1", word)
        number = "a decimal number" if ":" in word else plain if plain != word else int(word, 0)
        raise ValueError(
            f"{where}{_short(word)} is one number to some readers and another one, or text, to others: "
            f"write {_short(number)} or '{_short(word)}'"
        )
    if node.tag not in TAGS:
        raise ValueError(f"{where}the tag {_short(node.tag.replace(TAG, '!!'))} is not read here: leave it out")
    if node.tag in WORDS and (node.id != "scalar" or not WORDS[node.tag].match(node.value)):
        raise ValueError(f"{where}{_short(node.value)} is no {node.tag.removeprefix(TAG)}: leave the tag out")
    if node.id == "scalar" and node.tag == f"{TAG}int" and len(node.value) > MAX_DIGITS:
        raise ValueError(f"{where}a number of {len(node.value)} digits is too long")


def _explain(error):
    """PyYAML's message in one line, without its quotation of the text."""
    mark = error.problem_mark or error.context_mark
    hint = ": indent with spaces" if "'\\t'" in str(error.problem) else ""
    context = f"{error.context}: " if error.context and "block" not in error.context else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {context}{error.problem}{hint}"


def _short(value):
    """A value in at most 60 characters, none of which moves a terminal's cursor."""
    text = str(value)
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= 60 else text[:57] + "..."
