"""YAML as a person reads it: the values of config files and of a run's records. Needs no torch.

YAML 1.1, which PyYAML speaks, has surprises. Here

- a number is decimal: 12, -0.5, 1e-4 (text to PyYAML), .inf, .nan. What one reader of YAML takes for this number and
  the next for that one, 010, 0x10, 0o17, 0b1 and 1:30, is refused: write it in decimal, or in quotes if it is text;
- a boolean is true or false. yes, no, on, off, dates and 2007_000032 (an image of VOC; to PyYAML 2007000032) are
  text, which settings of another kind refuse;
- a key that is given twice in one mapping is refused, where PyYAML lets the later one win;
- tags (!!set), anchors, aliases (*x) and so merge keys (<<) are refused: what stands there is all that is meant, and
  no short file stands for billions of values.
"""

import re
import reprlib

import yaml

from errors import UserError
from files import check_file

MAX_BYTES = 256 << 10  # PyYAML takes seconds for as much; the project's longest config has 2 KiB

TAG = "tag:yaml.org,2002:"
DOUBTFUL = "!doubtful"
WORDS = {
    f"{TAG}bool": r"true|True|TRUE|false|False|FALSE",
    f"{TAG}null": r"~|null|Null|NULL|",
    f"{TAG}int": r"[-+]?(?:0|[1-9][0-9]*)",
    f"{TAG}float": r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    DOUBTFUL: r"[-+]?(?:0[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+"
    r"|[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?)",
}


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with these words alone."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  PyYAML's own form

    def compose_node(self, parent, index):
        event = self.peek_event()
        if getattr(event, "anchor", None) or getattr(event, "tag", None):
            _refuse(event, "tags (!), anchors (&) and aliases (*) are not read: write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        keys = set()
        for key_node, _ in node.value:
            if key_node.id != "scalar":
                _refuse(key_node, "a key must be a word, not a list or mapping")
            key = self.construct_object(key_node)
            if key in keys:
                _refuse(key_node, f"{reprlib.repr(key)} is given twice: leave one out")
            keys.add(key)
        return super().construct_mapping(node, deep)

    def refuse_doubtful(self, node):
        _refuse(
            node,
            f"{reprlib.repr(node.value)} is one number to some readers and another one, or text, to others: write it "
            "in decimal and without zeros in front, or in quotes if it is text",
        )


def _refuse(what, problem):
    """what: a node or event, whose line is named."""
    raise yaml.constructor.ConstructorError(None, None, problem, what.start_mark)


class Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which puts into quotes what either kind of reader would not take for text."""

    def ignore_aliases(self, data):
        return True


Loader.add_constructor(DOUBTFUL, Loader.refuse_doubtful)
for _class in (Loader, Dumper):
    for _tag, _pattern in WORDS.items():
        _class.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), None)


def read_yaml(path):
    """The value of a YAML file, see `parse_yaml`. Raises UserError."""
    try:
        check_file(path)
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UserError(f"{path}: is longer than {MAX_BYTES >> 10} KiB: it is no settings file")
        return parse_yaml(data.decode("utf-8-sig"))  # Windows' editors put a byte order mark first
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}: line {line}: is no text in UTF-8") from error
    except ValueError as error:
        raise UserError(f"{path}: is not valid YAML: {error}") from error


def parse_yaml(text):
    """The value of a YAML text: None, bool, int, float, str, or lists and dicts of them. Raises ValueError, of one
    line, with the line of the text."""
    try:
        return Loader(text).get_single_data()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"line {line}: holds the character U+{error.character:04X}, as no text does") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ": ".join(filter(None, (error.context, error.problem)))
        raise ValueError(f"line {mark.line + 1}, column {mark.column + 1}: {problem}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except Exception as error:  # PyYAML lets through what Python's types say, of escapes such as \\UFFFFFFFF
        raise ValueError(" ".join(str(error).split())) from error


def dump_yaml(value):
    """The text that `parse_yaml` reads as this value again, keys in their order."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False)
