"""The one progress bar, which all packages may use: the stage's number and name come first."""

import os
import sys

ON_FILES = 30  # seconds between two states of a bar that goes into a file: ten a second are 50 MB a day


def numbered(title):
    """`3/11 make_cam` under the driver, which gives the stage that it runs its number; else the title as it is.

    title: the name of a stage of `tool.stages`; of one with several bars also, after a colon, what it is at.
    """
    return f"{os.environ.get('STAGE_NUMBER', '')} {title}".strip()


def progress_bar(title, items=None, *, unit="image", **more):
    """tqdm's bar over the items; for None, over what its `update` is told. title: of `numbered`. more: of tqdm.

    Where stderr is no terminal it is written every ON_FILES seconds, and at its begin and end.
    """
    from tqdm import tqdm  # once there is work

    seldom = {} if sys.stderr.isatty() else {"mininterval": ON_FILES, "maxinterval": ON_FILES}  # of its monitor, too
    return tqdm(items, desc=numbered(title), unit=unit, dynamic_ncols=True, **seldom, **more)
