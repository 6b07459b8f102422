"""A page in the user's browser."""

import webbrowser
from pathlib import Path


def open_page(path):
    """Open a page. Where there is no browser, as on most servers, a line says where the page is."""
    try:
        if webbrowser.open(Path(path).resolve().as_uri()):
            return
    except (webbrowser.Error, OSError, ValueError):  # of what BROWSER names
        pass
    print(f"no browser opens here: the page is {path}", flush=True)
