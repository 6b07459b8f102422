"""What a run's networks say of an uploaded image, as a piece of HTML: for app.py."""

from pathlib import Path
from typing import Any, NamedTuple

from errors import UserError
from infer.photo import read_for_network
from tool.failure import explain
from viz.page import environment
from viz.palette import Palette
from viz.photo import drawn

TITLES = {"cam": "CAM", "is_cam": "IS-CAM", "ae_is_cam": "AE-IS-CAM", "deeplab": "segmentation"}  # in this order


class Viewer(NamedTuple):
    """networks: `infer.photo.Network`s on the device. max_side: of an image as they see it, pixels."""

    networks: list
    class_names: list
    max_side: int
    device: Any
    palette: Palette

    def answer(self, path, chosen, crf):
        """HTML with the image and all that the networks say of it, or with one line that says what is wrong with it.

        path: of the image, None for none. chosen: names of the classes to look for; none: those that are found.
        crf: whether dense CRF refines the labels.
        """
        try:
            if path is None:
                raise UserError("no image yet: choose one")
            said, pictures = self.ask(path, chosen, crf)
        except (UserError, RuntimeError, MemoryError) as error:
            explained = explain(error)
            if explained is None:
                raise
            said, pictures = [str(explained).replace(str(path), Path(str(path)).name)], []
        return environment().get_template("answer.html").render(said=said, pictures=pictures)

    def ask(self, path, chosen, crf):
        """(lines that say what was found, [(title, alternative text, picture)]); arguments: see `answer`."""
        image, size = read_for_network(path, self.max_side, {scale for each in self.networks for scale in each.scales})
        classes = sorted(self.class_names.index(name) for name in chosen) or None
        pixels = image.permute(1, 2, 0).numpy()
        seen = "" if image.shape[1:] == size else f", seen at {image.shape[2]} x {image.shape[1]}"
        said, answers = [f"image: {size[1]} x {size[0]}{seen}"], {}
        for network in self.networks:
            keys, outputs, found = network.ask(image.to(self.device), classes, crf)
            said.append(f"{network.name}: {found}")
            answers |= {kind: (keys, output, found) for kind, output in outputs.items()}
        pictures = [("image", "the image that was chosen", pixels)]
        for kind, title in TITLES.items():
            if kind in answers:
                keys, output, found = answers[kind]
                shown, maps = drawn(output, pixels, keys, self.class_names, self.palette)
                for k, picture in zip(keys[1:], maps):
                    pictures.append((title, f"{title} of {self.class_names[k]}", picture))
                title += " labels" * bool(maps) + " + CRF" * crf
                pictures.append((title, f"{title}: {found}", shown))
        return said, pictures
