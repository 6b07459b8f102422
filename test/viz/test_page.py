"""The page of runs made by hand: no network, few stages, names that are markup elsewhere."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from pages import Parser
from PIL import Image
from scripts import REPOSITORY

from conventions import VERSION
from data.label_png import save_label_png
from data.layout import Layout
from module.crf import dense_crf_labels
from module.labels import weighted_argmax
from tool.cam_file import load_cam, save_cam
from tool.json_file import save_json
from tool.metric import scores
from viz.artist import Artist
from viz.page import duration, percent, plain, signed, write_page
from viz.palette import palette
from viz.pictures import PALETTE, colour_scores, data_uri, thumbnail
from viz.runs import read_runs
from viz.sweep import score_maps

EVIL = '<script>alert("1")</script>'
NAMES = ("background", EVIL, "a & b's $x^2$", "猫 <!--")
IDS = ('i"><img src=x onerror=alert(2)>', "b$1", "c")


@pytest.fixture
def layout(tmp_path):
    root, rng = tmp_path / "set", np.random.default_rng(0)
    for folder in ("JPEGImages", "SegmentationClassAug", "lists"):
        (root / folder).mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(NAMES), encoding="utf-8")
    (root / "lists/train.txt").write_text("\n".join(IDS))
    (root / "image_labels.txt").write_text("".join(f"{i}\t{EVIL}\t{NAMES[3]}\n" for i in IDS), encoding="utf-8")
    for image_id in IDS:
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(root / "JPEGImages" / f"{image_id}.png")
        save_label_png(root / "SegmentationClassAug" / f"{image_id}.png", rng.choice([0, 1, 3, 255], (20, 30)))
    return Layout(root)


def write_run(folder, seed, maps=("cam",)):
    rng = np.random.default_rng(seed)
    for name in maps:
        for image_id in IDS:
            save_cam(folder / name / f"{image_id}.npz", [0, 1, 3], rng.random((3, 20, 30)))
    return folder


def render(layout, folders, tmp_path, colours=PALETTE):
    runs = read_runs(folders)
    args = SimpleNamespace(
        list="train", images=2, background_weight=1.0, scales=(1.0,), per_class=True, dataset_root=str(layout.root)
    )
    swept = score_maps(layout, runs, IDS, 1.0, 1)
    artist = Artist(layout, runs, [None] * len(runs), None, 1.0, colours)
    write_page(tmp_path / "index.html", artist, swept, list(IDS), [], [], args)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    return text, Parser(text)


def test_names_are_escaped_and_nothing_outside_the_page_is_asked_for(layout, tmp_path):
    folder = write_run(tmp_path / "run<i>", 0, maps=("cam", "is_cam"))
    matrix = np.arange(20).reshape(4, 5)
    row = {"background_weight": 1.0, "crf": False, **scores(matrix, NAMES)}
    save_json(folder / "eval/cam.json", {"list": EVIL, "maps": {"ae_is_cam": [row]}})
    (folder / "config.yaml").write_text("make_cam: {scales: '</td><script>'}\n")
    (folder / "log.jsonl").write_text('{"stage": "aesipe", "step": 1, "loss": 2, "lr": 1, "<script>": 3}\n')
    text, page = render(layout, [folder, write_run(tmp_path / "$other$", 1)], tmp_path)
    tags = {tag for tag, _ in page.tags}
    assert "script" not in tags and "i" not in tags and not re.search(r"https?:|//\w", re.sub(r"base64,\S+", "", text))
    assert all(attributes.get("src", "data:").startswith("data:") for _, attributes in page.tags)
    assert all(attributes.get("href", "#").startswith("#") for _, attributes in page.tags)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    for name in (*NAMES, *IDS, "run<i>", "$other$", "</td><script>"):
        assert name in page.text, name


def test_links_of_the_contents_lead_somewhere(layout, tmp_path):
    _, page = render(layout, [write_run(tmp_path / "run", 0)], tmp_path)
    targets = {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"}
    named = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {"sweeps", "gallery"} <= targets <= named and "scores" not in targets


def test_each_region_that_scrolls_can_be_reached_by_the_keyboard_and_has_a_name():
    pages = (REPOSITORY / "viz").glob("*.html")
    regions = [tag for path in pages for tag in re.findall(r'<[^<>]*class="[^"]*\bscroll\b[^>]*>', path.read_text())]
    assert len(regions) >= 9
    for tag in regions:
        assert 'tabindex="0" role="region" aria-label="' in tag, tag


def channels(text):
    """A colour of the style sheet, `#rrggbb` or `r g b`, as three numbers."""
    return [int(text[i : i + 2], 16) for i in (1, 3, 5)] if text.startswith("#") else [*map(int, text.split())]


def contrast(one, other):
    """Of two colours, by the Web Content Accessibility Guidelines 2.1."""
    shares = np.array([one, other]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ (0.2126, 0.7152, 0.0722) + 0.05)
    return light / dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast_however_much_its_cell_is_shaded(scheme):
    style = (REPOSITORY / "viz/style.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.S)
    assert len(blocks) == 2
    colours = dict(re.findall(r"--(\w+): ([^;]+);", blocks[scheme == "dark"]))
    paper, tone, ink = (np.array(channels(colours[name])) for name in ("paper", "tone", "ink"))
    for name in ("ink", "soft", "up", "down", "link"):
        for ground in ("paper", "panel"):
            assert contrast(channels(colours[name]), channels(colours[ground])) >= 4.5, (name, ground)
    # What stands in these cells has the page's own colour: see the rules.
    assert ".shaded small { color: inherit; }" in style and not re.search(r"differs[^{]*\{[^}]*[^-]color:", style)
    strength = float(re.search(r"\.shaded \{ background: rgb\(var\(--tone\) / calc\((.\d+) \*", style)[1])
    differs = float(re.search(r"tr\.differs td \{ background: rgb\(var\(--tone\) / (.\d+)\)", style)[1])
    for alpha in (differs, *(strength * np.linspace(0, 1, 101))):
        assert contrast(ink, (1 - alpha) * paper + alpha * tone) >= 4.5, alpha


def test_shaded_cells_take_the_rule_of_the_style_sheet(layout, tmp_path):
    folders = [tmp_path / "run", tmp_path / "base"]
    for folder, matrix in zip(folders, (np.eye(4, 5, dtype=int), np.arange(20).reshape(4, 5))):
        row = {"background_weight": 1.0, "crf": False, **scores(matrix, NAMES)}
        save_json(folder / "eval/cam.json", {"list": "train", "maps": {"ae_is_cam": [row]}})
    text, _ = render(layout, folders, tmp_path)
    cells = re.findall(r"<td [^>]*--share: ([\d.]+)\"", text)
    assert cells == re.findall(r'<td class="shaded(?: own)?" style="--share: ([\d.]+)"', text)
    assert {float(share) for share in cells} == {0, 1} and "rgb(var(--tone) / 0" not in text
    assert re.search(r'<td class="shaded" style="--share: 1.00">100.0<small class="up">', text)
    assert 'class="shaded own" style="--share: 1.00">100<' in text


def test_an_empty_run_has_a_page(layout, tmp_path):
    (tmp_path / "run").mkdir()
    _text, page = render(layout, [tmp_path / "run"], tmp_path)
    assert f"Written by report.py of AE-SIPE {VERSION};" in page.text
    assert "Nothing was evaluated" in page.text and "no lines of finished stages" in page.text
    titles = [attributes.get("alt", "").split(" of ")[0] for tag, attributes in page.tags if tag == "img"]
    assert set(titles) == {"image", "truth"}  # columns that the run lacks are left out


def test_the_gallery_is_sorted_against_the_baseline(layout, tmp_path):
    """The judged run's map is the truth for one image, the baseline's for another."""
    run, baseline = write_run(tmp_path / "run", 0), write_run(tmp_path / "base", 1)
    for folder, image_id in ((run, IDS[1]), (baseline, IDS[2])):
        truth = layout.mask(image_id)
        save_cam(folder / "cam" / f"{image_id}.npz", [0, 1, 3], np.stack([truth == k for k in (0, 1, 3)]))
    _, page = render(layout, [run, baseline], tmp_path)
    gained, lost = page.text.index("Gained most"), page.text.index("Lost most")
    assert gained < page.text.index("b$1", gained) < lost < page.text.index("c mIoU", lost)
    assert "mIoU 100.0 (+" in page.text[gained:lost]


def test_the_labels_after_crf_are_of_the_weight_that_is_given(layout, tmp_path):
    folder, differing = write_run(tmp_path / "run", 0, maps=("ae_is_cam",)), 0
    artist = Artist(layout, read_runs([folder]), [None], None, 0.3)
    for image_id in IDS:
        keys, cam = load_cam(folder / f"ae_is_cam/{image_id}.npz")
        image = layout.image(image_id).permute(1, 2, 0).numpy()
        expected, other = (keys[dense_crf_labels(image, weighted_argmax(cam, weight), 3)] for weight in (0.3, 1.0))
        assert np.array_equal(artist.pictures(image_id)["AE-IS-CAM + CRF"], expected)
        differing += (expected != other).any()
    assert differing


def test_the_panels_show_the_method_at_a_glance(layout, tmp_path):
    """What the gallery shows beside it, the map after CRF and another run's, stays there."""
    folders = [write_run(tmp_path / name, 0, maps=("cam", "is_cam", "ae_is_cam")) for name in ("run", "other")]
    artist = Artist(layout, read_runs(folders), [None, None], None, 1.0)
    pictures, panels = artist.pictures(IDS[0]), artist.panels(IDS[0])
    assert list(panels) == ["image", "CAM", "IS-CAM", "AE-IS-CAM", "truth"]
    assert {"AE-IS-CAM + CRF", "other: last map"} <= pictures.keys() - panels.keys()
    assert all(panels[title] is pictures[title] for title in panels)


def test_chips_maps_and_labels_take_the_palette(layout, tmp_path):
    colours, folder = palette("safe").colours, write_run(tmp_path / "run", 0)
    text, page = render(layout, [folder], tmp_path, colours)
    chips = {attributes["style"] for tag, attributes in page.tags if attributes.get("class") == "chip"}
    assert chips == {f"--chip: {' '.join(map(str, colours[k]))}" for k in (1, 3)}
    image = layout.image(IDS[1]).permute(1, 2, 0).numpy()
    keys, cam = load_cam(folder / "cam" / f"{IDS[1]}.npz", 4, image.shape[:2])
    assert data_uri(thumbnail(colour_scores(image, keys, cam, 1.0, colours))) in text
    assert data_uri(layout.mask(IDS[1]), colours) in text and data_uri(layout.mask(IDS[1])) not in text


def test_formats():
    assert [percent(0.1234), percent(None), percent(1, 2)] == ["12.3", "–", "100.00"]
    assert [signed(0.05), signed(-0.05), signed(None)] == ["+5.0", "−5.0", ""]
    assert [duration(s) for s in (1.25, 59.9, 61, 3600, 7325)] == [
        "1.2 s",
        "59.9 s",
        "1 min 1 s",
        "1 h 0 min",
        "2 h 2 min",
    ]
    assert [plain(v) for v in (None, True, [1.0, 2], "x")] == ["–", "true", "1.0, 2", "x"]
