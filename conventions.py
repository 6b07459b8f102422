"""What all packages agree on about labels; no more, and nothing that must be imported for it."""

BACKGROUND = 0  # its class number, and its place in every map of classes
IGNORE = 255  # the label of a pixel that is not to be counted, or not sure
MAX_CLASSES = IGNORE  # with the background: class numbers are 0..254
