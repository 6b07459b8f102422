"""The index page that predict.py writes of folders, and pages in the browser."""

import os
import re
import webbrowser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from pages import Parser
from photos import save
from PIL import Image

from errors import UserError
from tool.config import parse
from tool.settings import plain
from viz.browser import open_page
from viz.index import PER_PAGE, Index

NAMES = ("a b#1.jpg", "100%25.png", "sub/é?&=+.png", "q'\"<i>.png", "x:y.png")


@pytest.fixture
def opened(monkeypatch):
    """What is asked of the browser, which opens nothing."""
    pages = []
    monkeypatch.setattr(webbrowser, "open", lambda url: pages.append(url) or True)
    return pages


def images(page):
    return [attributes for tag, attributes in page.tags if tag == "img"]


def links(page):
    return [attributes["href"] for tag, attributes in page.tags if tag == "a"]


@pytest.mark.parametrize("network", ["deeplab", "aesipe"])
def test_a_folder_gets_a_page_whose_links_lead_to_its_outputs(call, opened, tmp_path, network):
    for name in NAMES:
        save(tmp_path / "in" / name, "RGB")
    odd = os.fsdecode(b"odd\xff.png")  # a name that is no UTF-8
    save(tmp_path / "in" / odd, "RGB")
    (tmp_path / "in/broken.jpg").write_text("no image")
    done = call(tmp_path / "in", flags=("--network", network))
    assert done.status == 2 and not opened
    out = tmp_path / "out"
    assert done.out.splitlines()[-1] == f"page: {out}/index.html"
    text = (out / "index.html").read_text(encoding="utf-8")
    page = Parser(text)
    made_files = {path.relative_to(out) for path in out.rglob("*") if path.is_file()} - {Path("index.html")}
    assert all(re.fullmatch(r"[\w%./-]+", link) and not link.startswith("/") for link in links(page))
    assert {Path(os.fsdecode(unquote_to_bytes(link))) for link in links(page)} == made_files
    kinds = 1 if network == "deeplab" else 3
    assert len(images(page)) == (1 + kinds) * (len(NAMES) + 1)
    for each in images(page):
        assert each["alt"] and each["loading"] == "lazy" and each["src"].startswith("data:image/jpeg;base64,")
    assert not {tag for tag, _ in page.tags} & {"script", "i"} and not re.search(r"(src|href)=\"(https?:|//)", text)
    for name in (*NAMES, "odd\\udcff.png", "broken.jpg: cannot be decoded"):
        assert name in page.text, name
    assert '<meta name="viewport"' in text and "prefers-color-scheme: dark" in text
    assert "AE-IS-CAM" in page.text if network == "aesipe" else "segmentation" in page.text


def test_single_images_get_a_page_only_where_it_is_to_be_opened(call, opened, tmp_path):
    path = save(tmp_path / "a.png", "RGB")
    done = call(path)
    assert done.status == 0 and not (tmp_path / "out/index.html").exists() and "page: " not in done.out
    done = call(path, flags=("--open",))
    assert done.status == 0 and (tmp_path / "out/index.html").exists() and "page: " not in done.out
    assert opened == [(tmp_path / "out/index.html").as_uri()]
    assert call(path, path, flags=("--open", "--no-open")).status == 0 and len(opened) == 1


def test_a_page_of_another_program_is_left_alone(call, tmp_path):
    save(tmp_path / "in/a.png", "RGB")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/index.html").write_text("<title>mine</title>")
    done = call(tmp_path / "in")
    assert done.status == 2 and "out/index.html: would be overwritten: move it, or choose another --out" in done.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["index.html"]
    (tmp_path / "out/index.html").unlink()
    for _ in range(2):  # its own is replaced
        assert call(tmp_path / "in").status == 0
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "out/index.html").unlink()
    (tmp_path / "pipe").rename(tmp_path / "out/index.html")
    done = call(tmp_path / "in")
    assert done.status == 2 and "is a pipe" in done.err


def test_many_images_are_pages_of_a_few_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 256, (15, 20, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a_deeplab_overlay.jpg")
    names = ["a_deeplab.png", "a_deeplab_overlay.jpg"]
    index = Index(tmp_path, "many", 300)
    for number in range(300):
        if number == PER_PAGE:  # a page is there as soon as it is full
            assert [path.name for path in tmp_path.glob("*.html")] == ["index.html"]
        index.add(f"{number}.jpg", "cat", pixels, tmp_path / "a", names)
    pages = [tmp_path / "index.html", *(tmp_path / f"index_{number}.html" for number in range(2, 4))]
    assert {*tmp_path.glob("*.html")} == {*pages} and max(path.stat().st_size for path in pages) < 5e6
    for number, path in enumerate(pages, 1):
        page = Parser(path.read_text())
        assert f"Images {100 * number - 99} to {100 * number} of 300" in page.text and len(images(page)) == 200
        assert {each.name for each in pages} <= {*links(page)}
        assert f"{100 * number - 1}.jpg" in page.text
        current = [attributes for tag, attributes in page.tags if attributes.get("aria-current") == "page"]
        assert {attributes["href"] for attributes in current} == {path.name}


def test_the_last_page_is_written_when_the_last_image_could_not_be_read(tmp_path):
    index = Index(tmp_path, "few", 1)
    index.add("a.jpg", UserError("a.jpg: cannot be read"))
    assert "a.jpg: cannot be read" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize("browser", ["none", "error", "unknown"])
def test_without_a_browser_a_line_says_where_the_page_is(tmp_path, monkeypatch, capsys, browser):
    def fail(url):
        raise webbrowser.Error("could not locate runnable browser")

    if browser == "unknown":
        monkeypatch.setenv("BROWSER", "/none/such 'quote")
        monkeypatch.setattr(webbrowser, "_tryorder", None)
        monkeypatch.setattr(webbrowser, "register_standard_browsers", lambda: setattr(webbrowser, "_tryorder", []))
    else:
        monkeypatch.setattr(webbrowser, "open", fail if browser == "error" else lambda url: False)
    open_page(tmp_path / "a b#1.html")
    assert capsys.readouterr() == (f"no browser opens here: the page is {tmp_path}/a b#1.html\n", "")


def test_no_config_file_opens_a_page(tmp_path):
    """So the driver, whose stages read all they are told from a file, opens none."""
    for section in ("report", "predict"):
        assert "open" not in plain(parse(section, argv=["--open"])) and parse(section, argv=["--open"]).open
        (tmp_path / "config.yaml").write_text(f"{section}: {{open: true}}\n")
        with pytest.raises(UserError, match=f"{section}.open is unknown"):
            parse(section, argv=["--config", str(tmp_path / "config.yaml")])
    (tmp_path / "config.yaml").write_text("report: {runs: [a]}\n")
    with pytest.raises(UserError, match="report.runs is unknown"):
        parse("report", argv=["--config", str(tmp_path / "config.yaml")])
