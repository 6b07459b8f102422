"""The data sets that the stages know, by name."""

from data.layout import Layout
from errors import UserError, nearest

DATASETS = {"voc": Layout}


def open_dataset(name, root, spare=None):
    """A `data.dataset.Dataset` by its name in DATASETS. root, spare: as it takes them."""
    if name not in DATASETS:
        raise UserError(f"{name!r} is no kind of data set{nearest(name, DATASETS)}: there are {', '.join(DATASETS)}")
    return DATASETS[name](root, spare)
