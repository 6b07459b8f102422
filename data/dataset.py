"""The interface of a data set, which all stages use and none goes around.

NumPy and PyTorch are imported where an array is needed: a stage that finds all done needs none.
"""

import os
from abc import ABC, abstractmethod
from pathlib import Path

from data.image import image_size, read_image
from data.index import Index, ends_well
from data.label_png import read_label_png, top_class
from errors import UserError


class Dataset(ABC):
    """Images with image-level labels and, where there are any, masks.

    A data set of one's own calls this constructor, sets class_names, implements ids, present and path and, if it has
    masks, mask_path; the rest follows, but for `lists`, which prepare_dataset.py asks for. It is known to the stages by
    its name in `data.datasets.DATASETS`. All methods raise UserError, which says what is missing or wrong and where.

    root: its folder. spare: a folder for the index of files where root cannot be written (`data.index`), or None.
    class_names: K names, the background's first.
    An image's ID names the files that are made of it: it holds no slash, and no two images share one.
    """

    class_names = ()
    check_command = None  # that tells a user all that is wrong with the set, if there is one

    def __init__(self, root, spare=None):
        self.root = Path(root)
        self.index = Index(self.root, spare)

    @abstractmethod
    def ids(self, list_name):
        """The IDs of a list, such as train or val, in order."""

    def has_list(self, list_name):
        """Whether there is such a list."""
        try:
            self.ids(list_name)
        except UserError:
            return False
        return True

    def lists(self):
        """The names of the lists that prepare_dataset.py reads to find out early what is wrong with their images."""
        return []

    @abstractmethod
    def present(self, image_id):
        """The image-level labels as sorted indices, 0 for class 1 and so on."""

    @abstractmethod
    def path(self, image_id):
        """The image's file."""

    def mask_path(self, image_id):
        """The file of the mask, an index PNG, whether or not it is there; None if the set has no masks at all."""
        return None

    def is_labelled(self, image_id):
        """Whether the image has labels, though they may be wrong: `present` tells."""
        return True

    def list_place(self, list_name):
        """Where a list stands, for messages."""
        return f"list {list_name} of {self.root}"

    @property
    def n_classes(self):
        """K, with the background."""
        return len(self.class_names)

    def labels(self, image_id):
        """Image-level labels: float32 [K-1] in {0,1}, classes 1..K-1."""
        import torch

        labels = torch.zeros(self.n_classes - 1)
        labels[self.present(image_id)] = 1
        return labels

    def size(self, image_id):
        """(H, W) of the image as `image` returns it, from its file's header alone."""
        return image_size(self.path(image_id))

    def image(self, image_id, at_least=None):
        """RGB image as uint8 [3,H,W], see `data.image.read_image`."""
        return read_image(self.path(image_id), at_least)

    def has_mask(self, image_id):
        path = self.mask_path(image_id)
        return path is not None and os.path.exists(path)

    def mask(self, image_id):
        """Ground truth as uint8 [H,W], IGNORE where it is not to be counted."""
        return read_label_png(self._mask_file(image_id))

    def image_facts(self, image_id):
        """The `data.index.Facts` of the image's file. Raises UserError for one that is damaged or cut short."""
        return self.index.look(self.path(image_id), _find_image_facts)

    def mask_facts(self, image_id):
        """The `data.index.Facts` of the mask's file. Raises UserError for one that is missing or damaged."""
        return self.index.look(self._mask_file(image_id), _find_mask_facts)

    def _mask_file(self, image_id):
        path = self.mask_path(image_id)
        if path is None:
            raise UserError(f"{self.root}: has no masks, so nothing can be evaluated")
        if not os.path.exists(path):
            raise UserError(f"{path}: no such label image")
        return path


def _find_image_facts(path, content):
    size = image_size(path)
    if not ends_well(content):
        read_image(path)
    return size, -1


def _find_mask_facts(path, _):
    mask = read_label_png(path)
    return mask.shape, top_class(mask)
