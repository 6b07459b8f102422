"""app.py as a user has it: the real server, a real browser."""

import re
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection

import pytest
from in_browser import IS_BRIGHT, LEAST_CONTRAST, MARKS, OVERFLOW
from scripts import REPOSITORY
from test_own_data import save_image
from trained_run import make_run

OUTSIDE = (
    "all => all.filter(e => { const r = e.getBoundingClientRect(); return r.left < 0 || r.right > innerWidth }).length"
)
TEXTS = ".pictures figcaption, [role=status] p, h1, label span, button:has-text('Show')"

pytestmark = MARKS


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Where the page is served; in the end Ctrl-C must leave nothing behind."""
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("page")
    make_run(folder / "run", folder / "gone")
    (folder / "uploads").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = [sys.executable, "app.py", "--run", str(folder / "run"), "--scales", "1", "--port", port]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder / "uploads")}
    environment |= {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}  # where no proxy is
    environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(
        words, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        lines = []
        for line in server.stdout:
            lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                break
        else:
            pytest.fail("".join(lines))
        yield found[0]
        server.send_signal(signal.SIGINT)
        rest, _ = server.communicate(timeout=60)
        assert server.returncode == 0 and "Traceback" not in rest, rest
        assert list((folder / "uploads").rglob("aesipe_*")) + list((folder / "uploads").rglob("*.png")) == []
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / ("a_name_that_is_longer_than_a_telephone_is_wide" * 2 + ".png")
    save_image(path, (70, 90), "RGB", 0)
    return path


@pytest.fixture
def app(visit, url):
    """app(width, scheme): the page, when it is ready."""

    def opened(**window):
        page = visit(url, **window)
        page.get_by_role("button", name="Show").wait_for()
        return page

    return opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_an_image_gives_pictures_that_can_be_read_at_any_width(app, url, image, width, scheme):
    page = app(width=width, scheme=scheme)
    page.set_input_files("input[type=file]", image)
    page.locator(".pictures img").first.wait_for()
    assert page.locator(".pictures img").count() >= 8 and page.locator(".pictures img:not([alt])").count() == 0
    assert page.evaluate(OVERFLOW) <= 0 and page.locator("img, button, input, p, h1").evaluate_all(OUTSIDE) == 0
    assert page.locator(TEXTS).evaluate_all(LEAST_CONTRAST)[0] >= 4.5
    assert page.evaluate(IS_BRIGHT) == (scheme == "light")
    assert {each for each in page.requests if not each.startswith((url, "data:", "blob:"))} == set()


def test_a_class_is_chosen_by_keyboard(app, image):
    page = app()
    page.set_input_files("input[type=file]", image)
    others = page.get_by_alt_text("CAM of cat", exact=True)
    others.wait_for()  # the classifier finds it
    page.get_by_label("Classes").focus()
    page.keyboard.type("Vög")
    page.keyboard.press("Enter")
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Show":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    others.wait_for(state="detached")
    maps = page.locator(".pictures img[alt^='CAM of']").evaluate_all("all => all.map(image => image.alt)")
    assert maps == ["CAM of Vögel"]


def test_what_is_no_image_or_too_large_is_said_on_the_page(app, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "large.png").write_bytes(bytes(33 * 2**20))
    page = app(width=360)
    page.set_input_files("input[type=file]", tmp_path / "text.png")
    page.locator("[role=alert]", has_text="text.png: cannot be decoded").wait_for()
    assert page.evaluate(OVERFLOW) <= 0 and page.locator(".pictures img").count() == 0
    page = app(width=360)
    page.set_input_files("input[type=file]", tmp_path / "large.png")
    page.get_by_text("exceed the maximum allowed size of 32").wait_for()


@pytest.mark.parametrize("size, status", [(2**20, 200), (33 * 2**20, 413)])
def test_the_server_itself_refuses_large_files(url, size, status):
    """Without the page's own check."""
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    server = HTTPConnection(url.split("/")[2], timeout=300)
    server.request("POST", "/gradio_api/upload", head + bytes(size) + b"\r\n--x--\r\n", headers)
    assert server.getresponse().status == status
    server.close()


def test_the_server_answers_at_no_other_address_of_this_machine(url):
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", int(url.rstrip("/").rpartition(":")[2])))
