"""XML of whom nobody knows: a tree of elements, or a UserError."""

from errors import UserError
from files import check_file

LARGEST = 4 << 20  # bytes; an annotation with a thousand objects has a tenth of it


def parse_xml(path):
    """The root element of an XML file. Raises UserError if it is missing, large, damaged or declares anything.

    Entities, which can grow to gigabytes or read other files, exist only in a document type declaration, which an
    annotation does not need.
    """
    from defusedxml.ElementTree import ParseError, fromstring  # here: few stages read XML

    check_file(path)
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST} bytes")
        return fromstring(content, forbid_dtd=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing: is the tree complete?") from error
    except (OSError, ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path}: cannot be read as an annotation: {error}: replace it") from error
