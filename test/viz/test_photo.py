import numpy as np

from viz.photo import with_legend


def test_legends_hold_any_names_on_any_picture():
    for size in ((1, 1), (50, 400)):
        picture = with_legend(np.zeros((*size, 3), np.uint8), ["n" * 99, "二 Ω"], [(255, 0, 0), (0, 0, 255)])
        assert picture.shape[0] > size[0] and picture.shape[1] >= size[1]
        assert (picture == [255, 0, 0]).all(axis=2).any() and (picture == [0, 0, 255]).all(axis=2).any()
