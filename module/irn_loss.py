"""Losses that train IRN's boundary and displacement fields from pairs of pixels (Ahn et al., CVPR 2019, section 4)."""

import torch

from conventions import IGNORE
from module.paths import half_disc_offsets, path_maxima, shift

EPSILON = 1e-5

# Kinds of pairs: equal labels, background or not, and unequal labels.
BACKGROUND, FOREGROUND, UNEQUAL = range(3)


def affinity_displacement_loss(boundary, displacement, labels, radius=10, count=None):
    """The four terms of IRN's loss (its sections 4.2 and 4.3) over all pairs of pixels within a radius.

    With the affinity a = 1 - maximum of the boundary on the path between the two pixels,
    pos: half the mean of -log(a) over equal background pairs plus half that over equal foreground pairs;
    neg: mean of -log(1 - a) over pairs of unequal labels;
    dp_fg: mean of abs(d_source - d_destination - offset) over equal foreground pairs and both components;
    dp_bg: mean of abs(d_source - d_destination) over equal background pairs and both components.
    1e-5 is added to every logarithm's argument and to every count (of pairs, or of both components of pairs) that a
    mean divides by, so a term without pairs is 0.

    Gradients reach the boundary and the displacement. No graph over the pairs is kept: memory grows with the map,
    not with their number.

    Args:
        boundary: [N,1,h,w] floating point in [0,1].
        displacement: [N,2,h,w] floating point, (dy, dx) in pixels of the map; None: the terms of the boundary alone.
        labels: [N,h,w] integers ([N,1,h,w], and [h,w] for N = 1, too): 0 background, 255 in no pair.
        radius: of the open half disc of offsets, in pixels of the map.
        count: [3] numbers of pairs that the means divide by, of `pair_counts`, where it is not those of these labels.

    Returns:
        dict of scalars pos, neg, dp_fg, dp_bg; the last two only with a displacement.

    Raises:
        ValueError: if the map has no pair: fewer than radius rows or than 2 radius - 1 columns.
    """
    # Under autocast the fields may be in half precision, in which 1e-5 vanishes beside 1.
    dtype = torch.promote_types(boundary.dtype, torch.float32)
    boundary = boundary.to(dtype)
    labels = labels.reshape(boundary[:, 0].shape)
    foreground = (labels > 0)[:, None]
    # d_source - d_destination - offset is the difference of the places that the two displacements lead to. In the
    # background the displacements themselves are compared, so one map of targets serves both kinds of equal pairs.
    targets = None if displacement is None else displacement.to(dtype) + _positions(boundary) * foreground
    decided, balance = _weigh_pixels(boundary, targets, labels, radius)

    count = (decided.flatten(1).sum(1) if count is None else count).to(dtype)
    cost = decided * -torch.log(torch.stack([1 - boundary, 1 - boundary, boundary]) + EPSILON)
    mean_cost = cost.flatten(1).sum(1) / (count + EPSILON)
    terms = {"pos": (mean_cost[BACKGROUND] + mean_cost[FOREGROUND]) / 2, "neg": mean_cost[UNEQUAL]}
    if targets is None:
        return terms
    difference = balance * targets
    return {
        **terms,
        "dp_fg": (difference * foreground).sum() / (2 * count[FOREGROUND] + EPSILON),
        "dp_bg": (difference * ~foreground).sum() / (2 * count[BACKGROUND] + EPSILON),
    }


def irn_loss(terms):
    """IRN's whole loss, (pos + neg) / 2 + (dp_fg + dp_bg) / 2 from the dict of its terms."""
    loss = (terms["pos"] + terms["neg"]) / 2
    return loss + (terms["dp_fg"] + terms["dp_bg"]) / 2 if "dp_fg" in terms else loss


def pair_counts(labels, radius=10):
    """The numbers of pairs of background, of foreground and of unequal labels, [3] int64, see
    `affinity_displacement_loss`. labels: [N,h,w]."""
    known, foreground = labels != IGNORE, labels > 0
    counts = labels.new_zeros(3, dtype=torch.int64)
    for offset in half_disc_offsets(radius):
        valid = shift(known, radius) & shift(known, radius, *offset)
        equal = valid & (shift(labels, radius) == shift(labels, radius, *offset))
        of_objects = equal & shift(foreground, radius)
        counts += torch.stack([(equal & ~of_objects).sum(), of_objects.sum(), (valid & ~equal).sum()])
    return counts


@torch.no_grad()
def _weigh_pixels(boundary, targets, labels, radius):
    """What each pixel weighs in the sums over pairs, which given these weights are sums over pixels.

    A pair's affinity is decided by the one pixel of its path where the boundary is highest, so the logarithm at that
    pixel counts as often as it decides. And abs(u - v) = sign(u - v) (u - v), so a target counts with the sum of the
    signs that it gets in its pairs.

    Returns:
        decided: [3,N,1,h,w] int32, how many pairs of each kind the pixel decides.
        balance: [N,2,h,w], the sum of the signs over the equal pairs that the pixel is in; None without targets.
    """
    # Maxima of ranks instead of values tell the pixel; ties fall to one of their pixels.
    order = boundary.flatten().argsort()
    size = len(order)
    ranks = torch.empty_like(order, dtype=torch.int32)
    ranks[order] = torch.arange(size, dtype=torch.int32, device=order.device)
    known = labels != IGNORE
    # Bins of one histogram: first the kind of pair, then the rank of the pixel that decides it.
    first_bins = (labels > 0).to(torch.int32) * size
    decided = ranks.new_zeros(3 * size)
    balance = None if targets is None else torch.zeros_like(targets)
    source_known, source_labels, source_bins = (shift(maps, radius) for maps in (known, labels, first_bins))

    for offset, deciding_rank in path_maxima(ranks.view(labels.shape), radius):
        valid = source_known & shift(known, radius, *offset)
        equal = source_labels == shift(labels, radius, *offset)
        bins = torch.where(equal, source_bins, UNEQUAL * size) + deciding_rank
        decided.scatter_add_(0, bins.flatten().long(), valid.flatten().to(torch.int32))

        if targets is None:
            continue
        sign = (shift(targets, radius) - shift(targets, radius, *offset)).sign_().mul_((equal & valid)[:, None])
        shift(balance, radius).add_(sign)
        shift(balance, radius, *offset).sub_(sign)
    return decided.view(3, size)[:, ranks].view(3, *boundary.shape), balance


def _positions(maps):
    """The place (y, x) of every pixel, in pixels: [2,h,w] for maps [...,h,w], with their type and device."""
    height, width = maps.shape[-2:]
    rows = torch.arange(height, dtype=maps.dtype, device=maps.device)
    columns = torch.arange(width, dtype=maps.dtype, device=maps.device)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
