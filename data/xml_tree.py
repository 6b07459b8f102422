"""XML of whom nobody knows: a tree of elements, or a UserError."""

import xml.etree.ElementTree as ElementTree
from xml.parsers import expat

from errors import UserError
from files import check_file

LARGEST = 4 << 20  # bytes; an annotation with a thousand objects has a tenth of it
DEEPEST = 100  # elements inside each other


def parse_xml(path):
    """The root element of an XML file. Raises UserError if it is missing, large, damaged or declares anything.

    Entities, which can grow to gigabytes or read other files, exist only in a document type declaration, which an
    annotation does not need.
    """
    check_file(path)
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST} bytes")
        return _parse(content)
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing: is the tree complete?") from error
    except (OSError, expat.ExpatError, ValueError, LookupError) as error:
        raise UserError(f"{path}: cannot be read as an annotation: {error}: replace it") from error


def _parse(content):
    builder, depth = ElementTree.TreeBuilder(), 0

    def start(name, attributes):
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"its elements are nested more than {DEEPEST} times")
        builder.start(name, attributes)

    def end(name):
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(name, *_):
        raise ValueError(f"it has a document type declaration (<!DOCTYPE {name}), which no annotation needs")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, refuse
    parser.Parse(content, True)
    return builder.close()
