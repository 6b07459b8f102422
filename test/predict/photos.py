"""Photographs for tests of predict.py."""

from PIL import Image
from test_own_data import save_image


def save(path, kind, height=40, width=60):
    """An image of random pixels of a kind that `save_image` knows, or "animation". Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(path, (height, width), "RGB" if kind == "animation" else kind, seed=0)
    if kind == "animation":
        with Image.open(path) as image:
            first = image.convert("RGB")
        first.save(path, save_all=True, append_images=[first.point(lambda value: 255 - value)])
    return path
