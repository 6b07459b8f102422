"""What tests of pages in a real browser share: what is asked of a page there, in JavaScript."""

import shutil

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MARKS = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH: apt-get install chromium")]
OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"
IS_BRIGHT = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).every(c => c > 127)"
# The lowest contrast, by WCAG 2, of the texts to what is behind them: backgrounds that let others through are laid one
# upon the other. Of the text and the two colours too, so that a test that fails says where.
LEAST_CONTRAST = """all => all.map(element => {
    const parts = text => { const [r, g, b, a = 1] = text.match(/[0-9.]+/g).map(Number); return [r, g, b, a] }
    const over = (top, below) => [0, 1, 2].map(i => top[3] * top[i] + (1 - top[3]) * below[i])
    const linear = v => v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4
    const light = c => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2])
    const behind = e => e ? over(parts(getComputedStyle(e).backgroundColor), behind(e.parentElement)) : [255, 255, 255]
    const style = getComputedStyle(element), ground = behind(element)
    const ink = over(parts(element.ownerSVGElement ? style.fill : style.color), ground)
    const pair = [light(ink), light(ground)]
    const contrast = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)
    return [contrast, element.textContent.trim().slice(0, 40), `${ink}`, `${ground}`]
}).sort((one, other) => one[0] - other[0])[0]"""
