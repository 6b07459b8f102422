"""Random walk of class scores over an image, held back by object boundaries (IRN, Ahn et al., CVPR 2019)."""

import warnings
from math import comb

import torch
import torch.nn.functional as F

from module.paths import half_disc_offsets, path_maxima

# Chebyshev terms whose weights add up to less than this are left out.
TRUNCATION = 1e-8


@torch.no_grad()
def propagate(scores, boundary, radius=5, beta=10, steps=256):
    """Spreads class scores to the pixels that no boundary separates from them (IRN, section 5).

    The scores are first multiplied by 1 - boundary. Then each of the `steps` steps is x <- x T, where
    T_ij = a_ij^beta / sum_i a_ij^beta and the affinity a_ij of two pixels nearer than `radius` is 1 minus the maximum
    of the boundary on the path between them (1 of a pixel with itself, 0 of pixels further apart).

    Args:
        scores: [K,H,W] floating point, in [0,1] as a rule.
        boundary: [H,W] floating point in [0,1], 1 on a boundary.
        radius: of the open disc of neighbours, in pixels, at least 2.
        beta: exponent of the affinity; larger ones make the walk more conservative.
        steps: number of steps; 2^8 is the published matrix squared 8 times.

    Returns:
        [K,H,W] of the type of `scores`. A step averages over the neighbours: the values of a class stay between the
        smallest and the largest of its scores * (1 - boundary).

    Raises:
        ValueError: if the two sizes differ or the radius is below 2.
    """
    if scores.shape[1:] != boundary.shape:
        raise ValueError(f"scores of size {tuple(scores.shape[1:])} but a boundary of size {tuple(boundary.shape)}")
    # The error of a float32 matrix grows with the steps and reaches 1e-4 of the scores, so the walk is in float64.
    start = (scores * (1 - boundary)).flatten(1).double()
    transition = _transition(boundary.double(), radius, beta)
    walked = _apply_power(transition, start.T.contiguous(), steps).T
    # What truncation and rounding leave beyond the bounds that averaging keeps.
    walked = walked.clamp(start.amin(1, keepdim=True), start.amax(1, keepdim=True))
    return walked.reshape(scores.shape).to(scores.dtype)


def _transition(boundary, radius, beta):
    """The transposed transition matrix, [HW,HW] in CSR form with rows that sum to 1, of a boundary map [H,W]."""
    (height, width), margin = boundary.shape, radius - 1
    offsets = half_disc_offsets(radius)
    # A boundary all around cuts the pairs that leave the image.
    padded = F.pad(boundary, (margin, margin, 0, margin), value=1.0)
    # Nor does any way lead through a boundary of 1 at beta 0, though 0^0 is 1.
    ahead = torch.stack([(1 - maximum) ** beta * (maximum < 1) for _, maximum in path_maxima(padded, radius)])
    # The affinity is symmetric: that of a pixel with one behind it stands at the latter.
    padded = F.pad(ahead, (margin, margin, margin, 0))
    behind = torch.stack(
        [
            affinity[margin - dy : margin - dy + height, margin - dx : margin - dx + width]
            for (dy, dx), affinity in zip(offsets, padded)
        ]
    )
    itself = torch.ones_like(boundary)[None]
    weights = torch.cat([behind.flip(0), itself, ahead]).flatten(1).T
    weights /= weights.sum(1, keepdim=True)

    # Offsets run in raster order, so the columns of a row come out sorted, as CSR asks for.
    index = {"dtype": torch.int32, "device": boundary.device}
    strides = torch.tensor([dy * width + dx for dy, dx in offsets], **index)
    strides = torch.cat([-strides.flip(0), strides.new_zeros(1), strides])
    columns = torch.arange(height * width, **index)[:, None] + strides
    linked = weights > 0
    row_ends = F.pad(linked.sum(1).cumsum(0), (1, 0)).int()
    size = (height * width, height * width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that CSR is in beta, and that its form is not checked
        return torch.sparse_csr_tensor(row_ends, columns[linked], weights[linked], size)


def _apply_power(matrix, vectors, exponent):
    """matrix^exponent @ vectors for a matrix with real eigenvalues in [-1,1], in fewer products than the exponent.

    On [-1,1], x^n is the mean of the Chebyshev polynomials T_abs(j)(x) over the position j of n fair steps of +-1.
    These binomial weights fall off like exp(-j^2 / 2n), so about 6 sqrt(n) terms are enough (Sachdeva and Vishnoi,
    "Faster Algorithms via Approximation Theory", 2014, section 3).
    """
    weights = [
        2 * comb(exponent, (exponent - j) // 2) / 2**exponent if (exponent - j) % 2 == 0 else 0.0
        for j in range(exponent + 1)
    ]
    weights[0] /= 2  # the others stand for j and -j
    omitted = 0.0
    while omitted + weights[-1] < TRUNCATION:
        omitted += weights.pop()

    before, current = torch.zeros_like(vectors), vectors
    total = weights[0] * current
    for j, weight in enumerate(weights[1:], start=1):
        product = matrix @ current
        before, current = current, product if j == 1 else 2 * product - before
        total.add_(current, alpha=weight)
    return total
