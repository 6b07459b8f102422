"""The pages that report.py and predict.py write, in a real browser."""

import pytest
from in_browser import IS_BRIGHT, LEAST_CONTRAST, MARKS, OVERFLOW

pytestmark = MARKS
WITH_TEXT = """() => [...document.body.querySelectorAll("*")].filter(e =>
    e.checkVisibility() && [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.textContent.trim()))"""
REACHED = "a[href], summary, .scroll"
WIDE = "all => all.filter(e => e.matches('.scroll') && e.scrollWidth > e.clientWidth).length"
IN_FOCUS = """() => { const e = document.activeElement, style = getComputedStyle(e)
    return {outline: style.outlineStyle, closed: e.matches("details:not([open]) > summary"),
            wide: e.matches(".scroll") && e.scrollWidth > e.clientWidth, out: e === document.body} }"""


@pytest.fixture(scope="module", params=["report", "predict"])
def url(request, finished, tmp_path_factory):
    """Of the page of a run, and of that of a folder of images."""
    if request.param == "report":
        return (finished.run / "report/index.html").as_uri()
    from scripts import call

    out = tmp_path_factory.mktemp("predicted") / "out"
    done = call("predict.py", "--run", finished.run, "--image", finished.layout.root / "JPEGImages", "--out", out)
    assert done.status == 0, done.err
    return (out / "index.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_a_page_can_be_read_at_any_width_in_light_and_dark(visit, url, width, scheme):
    page = visit(url, width, scheme)
    page.evaluate("for (const e of document.querySelectorAll('details')) e.open = true")
    assert page.evaluate(OVERFLOW) <= 0 and page.evaluate(IS_BRIGHT) == (scheme == "light")
    texts = page.evaluate_handle(WITH_TEXT)
    least = texts.evaluate(LEAST_CONTRAST)
    assert least[0] >= 4.5, least
    page.evaluate("for (const e of document.images) e.loading = 'eager'")
    page.wait_for_function("[...document.images].every(e => e.complete)")
    assert page.evaluate("document.images.length > 0 && [...document.images].every(e => e.naturalWidth && e.alt)")
    assert {each for each in page.requests if not each.startswith("data:")} == {url}


def test_links_details_and_what_is_wider_than_a_telephone_are_reached_by_keyboard(visit, url):
    page, reached, scrolled = visit(url, 360), 0, 0
    page.keyboard.press("Tab")
    while not (now := page.evaluate(IN_FOCUS))["out"]:
        assert now["outline"] != "none"
        reached += 1
        if now["closed"]:
            page.keyboard.press("Enter")
        if now["wide"]:
            page.keyboard.press("ArrowRight")
            page.wait_for_function("document.activeElement.scrollLeft > 0")
            scrolled += 1
        page.keyboard.press("Tab")
    elements = page.locator(REACHED)
    assert reached == elements.count() > 10 and scrolled == elements.evaluate_all(WIDE)
    assert (scrolled > 0) == url.endswith("report/index.html")
