"""Pixel pairs within a radius, and the maximum of a map along the path between the two pixels of a pair.

The pairs of IRN (Ahn et al., CVPR 2019, section 4.1): a source pixel and an offset (dy, dx) to its destination. Offsets
cover one half of an open disc, because the affinity of a pair does not depend on its direction.
"""

from functools import cache, reduce
from itertools import groupby

import torch


@cache
def half_disc_offsets(radius):
    """Offsets (dy, dx) in pixels from a source to its destinations: dy >= 0, 0 < dy^2 + dx^2 < radius^2.

    Returns a tuple of pairs of integers, in rows from the top; of each pair of opposite offsets it holds one.
    """
    same_row = [(0, dx) for dx in range(1, radius)]
    below = [(dy, dx) for dy in range(1, radius) for dx in range(1 - radius, radius) if dy**2 + dx**2 < radius**2]
    return tuple(same_row + below)


@cache
def path_pixels(dy, dx):
    """Pixels (y, x), relative to the source, of the path to the offset (dy, dx) with dy >= 0.

    They are those of the offset's bounding box, both ends among them, whose distance to the line through the source
    and the destination is below 1. Returns a tuple of pairs of integers, in rows from the top.
    """
    columns = range(min(0, dx), max(0, dx) + 1)
    return tuple((y, x) for y in range(dy + 1) for x in columns if (dy * x - dx * y) ** 2 < dy**2 + dx**2)


@cache
def _path_runs(dy, dx):
    """The path of an offset cut across its long side, as (y, x, length) of one to three adjacent pixels each."""
    across = 0 if dy >= abs(dx) else 1  # runs lie within rows for steep paths, within columns for flat ones
    pixels = sorted(path_pixels(dy, dx), key=lambda pixel: (pixel[across], pixel[1 - across]))
    runs = [list(run) for _, run in groupby(pixels, key=lambda pixel: pixel[across])]
    return tuple((*run[0], len(run)) for run in runs)


def _run_maxima(maps, dim):
    """Maximum over runs of 1, 2 and 3 pixels along `dim`, keyed by the length; a run stands at its first pixel."""
    maxima = {1: maps}
    for length in (2, 3):
        shorter = maxima[length - 1]
        size = shorter.shape[dim] - 1
        maxima[length] = torch.maximum(shorter.narrow(dim, 0, size), shorter.narrow(dim, 1, size))
    return maxima


def shift(maps, radius, dy=0, dx=0):
    """The pixels at an offset from each source, as a view.

    Sources are the pixels from which every offset of the radius stays inside the map: all but radius-1 rows at the
    bottom and radius-1 columns at either side.

    Args:
        maps: [..., H, W].
        radius: of the disc, in pixels.
        dy, dx: offset in pixels, 0 <= dy < radius and abs(dx) < radius; by default the sources themselves.

    Returns:
        [..., H - radius + 1, W - 2 * radius + 2].
    """
    margin = radius - 1
    height, width = maps.shape[-2] - margin, maps.shape[-1] - 2 * margin
    return maps[..., dy : dy + height, margin + dx : margin + dx + width]


def path_maxima(maps, radius):
    """Yields ((dy, dx), maximum) for every offset of the half disc, the maximum taken over the path from each source.

    A path is a few runs of adjacent pixels, and all paths share the maxima over runs: a quarter of the work of going
    pixel by pixel.

    Args:
        maps: [..., H, W], of any ordered type.
        radius: of the open disc, in pixels.

    Returns:
        A generator; each maximum is [..., H - radius + 1, W - 2 * radius + 2], laid out as `shift` has the sources.

    Raises:
        ValueError: once iterated, if the map is so small that it has no source, or the radius so small that there is
            no offset.
    """
    if radius < 2:
        raise ValueError(f"within radius {radius} of a pixel lies no other: at least 2")
    margin = radius - 1
    height, width = maps.shape[-2] - margin, maps.shape[-1] - 2 * margin
    if min(height, width) < 1:
        raise ValueError(f"a {maps.shape[-2]} x {maps.shape[-1]} map holds no source pixel for radius {radius}")
    in_rows, in_columns = _run_maxima(maps, -1), _run_maxima(maps, -2)
    for dy, dx in half_disc_offsets(radius):
        maxima = in_rows if dy >= abs(dx) else in_columns
        runs = [
            maxima[length][..., y : y + height, margin + x : margin + x + width] for y, x, length in _path_runs(dy, dx)
        ]
        yield (dy, dx), reduce(torch.maximum, runs)
