"""Types of settings with their ranges, and reading a value as one of them; the checks are msgspec's.

msgspec starts in a hundredth of a second, where jsonargparse and pydantic with tyro take 0.1 and 0.2: the driver starts
a process a stage.
"""

import math
import re
import types
from dataclasses import dataclass
from typing import Annotated, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from errors import nearest

MAX_INT = 2**32 - 1  # the largest seed that every generator takes

Natural = Annotated[int, Meta(ge=0, le=MAX_INT)]
Positive = Annotated[int, Meta(ge=1, le=MAX_INT)]
Pixels = Annotated[int, Meta(ge=1, le=16384)]
Side = Annotated[int, Meta(ge=32, le=8192)]  # of a crop: two cells of the networks' grid at least
Batch = Annotated[int, Meta(ge=1, le=65536)]
Radius = Annotated[int, Meta(ge=2, le=256)]  # below 2 there is no pair
Rate = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Scale = Annotated[float, Meta(gt=0, le=8)]  # factor of an image's size
Text = Annotated[str, Meta(pattern=r"^[^\0]*[^\s\0][^\0]*$")]


@dataclass(frozen=True)
class Names:
    """Of a text by Annotated: it is a known name, or LIBRARY:NAME, which the library checks when it builds it."""

    known: tuple
    libraries: tuple = ()

    @property
    def shown(self):
        return *self.known, *(f"{library}:NAME" for library in self.libraries)

    def has(self, text):
        library, _, name = text.partition(":")
        return text in self.known or bool(name and library in self.libraries)


def read(kind, value):
    """The value of a type of settings, from a word of the command line or a plain value of a file or record.

    A single value stands for a tuple of one, a whole number for its text. Raises ValueError: it says what is allowed.
    """
    if value is None and type(None) in get_args(kind):
        return None
    number, inner = words(kind)
    listed = []
    if number is not None and not isinstance(value, (list, tuple)):
        listed, value = parts(value), [value]
    elif number is None and isinstance(value, int) and not isinstance(value, bool) and base(inner) is str:
        value = str(value)
    elif number is None and isinstance(value, float) and base(inner) is str:
        raise ValueError(f"must be text: {value} was read as a number: put quotes around it")
    try:
        found = msgspec.convert(value, without_none(kind), strict=base(inner) is bool)
        if all(_is_sound(each, inner) for each in ([found] if number is None else found)):
            return found
    except msgspec.ValidationError:
        pass
    known = choices(inner)
    wrong = next((word for word in ([value] if number is None else value) if word not in known), value)
    if "cuda" in known and str(wrong).casefold() == "gpu":  # more like cpu
        wrong = "cuda"
    hint = f": write [{', '.join(listed)}]" if listed else nearest(wrong, known)
    raise ValueError(f"must be {describe(kind)}: {brief(value)}{hint}")


def parts(value):
    """The values of a list that is written as one text, `1.0, 0.5`; [] of anything else."""
    found = re.split(r"[\s,]+", value.strip(" []()")) if isinstance(value, str) else []
    return found if len(found) > 1 else []


def _names(kind):
    """The Names of a type, None if it has none."""
    return next((each for each in getattr(kind, "__metadata__", ()) if isinstance(each, Names)), None)


def choices(kind):
    """What a type that lists its values takes; empty for another one."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    names = _names(kind)
    return names.shown if names else ()


def _is_sound(value, kind):
    """Finite, text that can be written, and a name that is there: what msgspec does not look at."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        names = _names(kind)
        return value == value.encode(errors="ignore").decode() and (names is None or names.has(value))
    return True


def describe(kind):
    """The values that a type takes, in words: `a whole number from 1 to 65536`."""
    number, kind = words(kind)
    if number is not None:
        return f"{'a list' if number in ('+', '*') else f'{number} values'}, each {describe(kind)}"
    if known := choices(kind):
        return f"one of {', '.join(map(str, known))}"
    if base(kind) is bool:
        return "true or false"
    if base(kind) is str:
        return "a text that is not empty"
    what = "a whole number" if base(kind) is int else "a number"
    if get_origin(kind) is not Annotated:
        return what
    meta = kind.__metadata__[0]
    low, to = (f"from {meta.ge}", " to") if meta.gt is None else (f"above {meta.gt}", ", at most")
    return f"{what} {low}{' up' if meta.le is None else f'{to} {meta.le}'}"


def words(kind):
    """(argparse's nargs, the type of a single word) of a type; nargs is None where it is no tuple."""
    kind, least = without_none(kind), None
    if base(kind) is not tuple:
        return None, kind
    if get_origin(kind) is Annotated:
        kind, least = get_args(kind)[0], kind.__metadata__[0].min_length
    inner, *more = get_args(kind)
    return ("+" if least else "*") if more == [...] else 1 + len(more), inner


def without_none(kind):
    """TYPE of TYPE | None, another type as it is."""
    return get_args(kind)[0] if get_origin(kind) in (Union, types.UnionType) else kind


def base(kind):
    """The Python type below an annotation; of Literal that of its values."""
    if get_origin(kind) is Annotated:
        return base(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return type(get_args(kind)[0])
    return get_origin(kind) or kind


def brief(value):
    """A value in at most 60 characters, for messages."""
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
