"""The one progress bar, which all packages may use: the stage's number and name come first."""

import os


def numbered(title):
    """`3/11 make_cam` under the driver, which gives the stage that it runs its number; else the title as it is.

    title: the name of a stage of `tool.stages`; of one with several bars also, after a colon, what it is at.
    """
    return f"{os.environ.get('STAGE_NUMBER', '')} {title}".strip()


def progress_bar(title, items=None, *, unit="image", **more):
    """tqdm's bar over the items; for None, over what its `update` is told. title: of `numbered`. more: of tqdm."""
    from tqdm import tqdm  # once there is work

    return tqdm(items, desc=numbered(title), unit=unit, dynamic_ncols=True, **more)
