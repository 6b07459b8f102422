"""The page of app.py without a browser: what its answers hold, and what its server is told."""

import base64
import io
import shlex
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from test_own_data import save_image
from trained_run import CLASSES, make_run

from app import build, load
from tool.config import parse
from viz.palette import palette
from viz.photo import drawn
from viz.pictures import data_uri

TITLES = {"cam": "CAM", "is_cam": "IS-CAM", "ae_is_cam": "AE-IS-CAM"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("app") / "run"
    make_run(folder, folder / "gone")
    return folder


@pytest.fixture(scope="module")
def viewer(run):
    return load(parse("app", argv=["--run", str(run), "--scales", "1"]))


@pytest.fixture
def image(tmp_path):
    save_image(tmp_path / "a.png", (70, 90), "RGB", 0)
    return str(tmp_path / "a.png")


class Answer(HTMLParser):
    """The words of an answer, its pictures as (title, alternative text, array), and the roles of its parts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.sources, self.images, self.titles = [], [], [], [], []
        self.feed(text)
        self.pictures = [(title, *image) for title, image in zip(self.titles, self.images)]

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        attributes = dict(attributes)
        if tag == "div" and "role" in attributes:
            self.role = attributes["role"]
        if tag == "img":
            self.sources.append(attributes["src"])
            data = attributes["src"].removeprefix("data:image/jpeg;base64,")
            with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
                self.images.append((attributes["alt"], np.asarray(picture)))

    def handle_data(self, data):
        words = data.strip()
        if words and self.tags[-1] == "figcaption":
            self.titles.append(words)
        elif words:
            self.words.append(words)


def test_the_classes_that_are_chosen_are_shown_map_by_map_and_segmented(viewer, image):
    answer = Answer(viewer.answer(image, ["Vögel", "cat"], False))
    maps = [(title, f"{title} of {name}") for title in TITLES.values() for name in ("cat", "Vögel")]
    shown = [(title, text) for title, text, _ in answer.pictures]
    assert shown[0] == ("image", "the image that was chosen") and shown[-1][0] == "segmentation"
    assert [pair for pair in shown if pair in maps] == maps and len(shown) == 2 + len(maps) + len(TITLES)
    assert answer.role == "status" and answer.words[0] == "image: 90 x 70"
    assert "cat 0." in answer.words[2] and "my dog" not in " ".join(answer.words)


def test_the_pictures_are_those_of_predict(viewer, image):
    """Of the classes that the classifier finds, with dense CRF."""
    answer, pixels, pictures = Answer(viewer.answer(image, [], True)), np.asarray(Image.open(image)), {}
    refined = [title for title, _, _ in answer.pictures if title.endswith(" + CRF")]
    assert refined == [*(f"{title} labels + CRF" for title in TITLES.values()), "segmentation + CRF"]
    for network in viewer.networks:
        keys, outputs, found = network.ask(torch.from_numpy(pixels.copy()).permute(2, 0, 1), None, True)
        assert f"{network.name}: {found}" in answer.words
        for kind, output in outputs.items():
            labels, maps = drawn(output, pixels, keys, CLASSES, palette("voc"))
            pictures[kind] = [*maps, labels]
    in_order = [pixels, *(picture for kind in (*TITLES, "deeplab") for picture in pictures[kind])]
    assert answer.sources == [data_uri(picture) for picture in in_order]


def test_larger_images_are_shown_as_the_networks_see_them(viewer, tmp_path):
    save_image(tmp_path / "large.png", (60, 1280), "RGB", 0)
    answer = Answer(viewer.answer(str(tmp_path / "large.png"), [], False))
    assert "image: 1280 x 60, seen at 640 x 30" in answer.words and answer.pictures[0][2].shape == (30, 640, 3)


def test_what_is_no_image_is_one_line_that_names_no_folder(viewer, tmp_path, monkeypatch):
    for name, content in (("text.png", b"<b>no image</b>"), ("<i>.png", b"")):
        (tmp_path / name).write_bytes(content)
        answer = Answer(viewer.answer(str(tmp_path / name), [], False))
        assert answer.role == "alert" and answer.pictures == [] and len(answer.words) == 1
        assert answer.words[0].startswith(f"{name}: cannot be decoded") and "i" not in answer.tags
    monkeypatch.setattr("data.image.MAX_PIXELS", 90 * 70 - 1)
    save_image(tmp_path / "a.png", (70, 90), "RGB", 0)
    assert "6300 pixels, and at most 6299 are taken" in viewer.answer(str(tmp_path / "a.png"), [], False)
    assert "no image yet" in viewer.answer(None, [], False)


def test_a_machine_without_memory_says_so_and_other_faults_are_not_hidden(viewer, image):
    def fails(error):
        def ask(*_):
            raise error

        return viewer._replace(networks=[viewer.networks[0]._replace(ask=ask)])

    assert "out of memory" in fails(MemoryError()).answer(image, [], False)
    with pytest.raises(RuntimeError, match="a fault"):
        fails(RuntimeError("a fault")).answer(image, [], False)


def test_names_of_classes_are_no_markup(viewer, image):
    names = ["background", '"><script>alert(1)</script>', "b", "c"]
    answer = Answer(viewer._replace(class_names=names).answer(image, [names[1]], False))
    assert "script" not in answer.tags and any(names[1] in text for _, text, _ in answer.pictures)


def test_the_palette_is_the_one_that_is_asked_for(viewer, image):
    answers = [viewer._replace(palette=palette(name)).answer(image, ["cat"], False) for name in ("voc", "safe")]
    (_, _, voc), (_, _, safe) = (Answer(text).pictures[1] for text in answers)
    legend = [picture[voc.shape[0] - 9, 11].astype(int) for picture in (voc, safe)]
    for colour, name in zip(legend, ("voc", "safe")):
        assert np.abs(colour - palette(name).colours[1]).max() < 25


def test_the_page_keeps_what_it_is_given_to_itself(viewer):
    gradio = pytest.importorskip("gradio")
    page = build(gradio, viewer, "AE-SIPE: run")
    assert page.analytics_enabled is False and page.api_open is False and page._queue.max_size == 8
    (event,) = page.fns.values()
    assert event.api_visibility == "private" and event.concurrency_limit == 1
    parts = {type(part).__name__: part for part in event.inputs}
    assert parts["Dropdown"].choices == [(name, name) for name in CLASSES[1:]]
    assert all(part.label for part in event.inputs)


@pytest.mark.parametrize("there", [None, SimpleNamespace(__version__="5.49.1")])
def test_without_a_gradio_that_will_do_one_line_says_how_to_get_it(run, script, monkeypatch, there):
    monkeypatch.setitem(sys.modules, "gradio", there)
    done = script("app.py", "--run", run)
    assert done.status == 2 and len(done.err.splitlines()) == 1
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    newer, missing = "a newer Gradio than 5.49.1: {} --upgrade gradio", "a package that is not installed: {} gradio"
    assert done.err == f"error: app.py needs {(newer if there else missing).format(pip)}\n"


def test_a_folder_that_is_no_run_is_one_line(script, tmp_path):
    pytest.importorskip("gradio")
    (tmp_path / "classes.txt").write_text("background\ncat\n")
    done = script("app.py", "--run", tmp_path)
    assert done.status == 2 and len(done.err.splitlines()) == 1
    assert "has neither ckpt/deeplab.pt nor ckpt/aesipe.pt" in done.err
