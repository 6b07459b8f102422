"""What all packages agree on about labels, images and the version; nothing that must be imported for it."""

VERSION = "0.3.0"  # pyproject.toml and CITATION.cff say the same, a test compares
BACKGROUND = 0  # its class number, and its place in every map of classes
IGNORE = 255  # the label of a pixel that is not to be counted, or not sure
MAX_CLASSES = IGNORE  # with the background: class numbers are 0..254


def unit_range(image):
    """An image as it is stored, a uint8 tensor of RGB, as networks and PAMR take it: float32 in [0,1]."""
    return image.float() / 255
