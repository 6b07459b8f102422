"""The data sets that the stages know, by name."""

from data.layout import Layout
from errors import UserError, nearest

DATASETS = {"voc": Layout}


def open_dataset(settings):
    """The `data.dataset.Dataset` that a script's settings name.

    settings: with dataset_format, a name in DATASETS; dataset_root, its folder; run, a folder for the index of its
    files where the data set's own cannot be written. Raises UserError for a name that is not known.
    """
    name = settings.dataset_format
    if name not in DATASETS:
        raise UserError(f"{name!r} is no kind of data set{nearest(name, DATASETS)}: there are {', '.join(DATASETS)}")
    return DATASETS[name](settings.dataset_root, settings.run)
