import base64
import io

import numpy as np
from PIL import Image

from data.label_png import voc_palette
from viz.encode import jpeg_uri, label_uri, thumbnail


def opened(uri, kind):
    start, data = uri.split(",")
    assert start == f"data:image/{kind};base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_labels_keep_their_values_at_a_smaller_size():
    labels = np.zeros((300, 400), np.int64)
    labels[:150], labels[:, 200:] = 15, 255
    image = opened(label_uri(labels, voc_palette()), "png")
    values = np.array(image)
    assert image.mode == "P" and values.shape == (150, 200) and set(np.unique(values)) == {0, 15, 255}
    assert values[10, 10] == 15 and values[100, 10] == 0 and values[10, 150] == 255
    assert opened(label_uri(labels[:3, :2], voc_palette()), "png").size == (2, 3)  # never larger


def test_pictures_are_thumbnails():
    picture = np.full((500, 250, 3), 100, np.uint8)
    assert thumbnail(picture).shape == (200, 100, 3) and thumbnail(picture[:9, :9]).shape == (9, 9, 3)
    assert np.abs(np.asarray(opened(jpeg_uri(thumbnail(picture)), "jpeg"), int) - 100).max() <= 2
