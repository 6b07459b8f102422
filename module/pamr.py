"""PAMR: pixel-adaptive mask refinement (Araslanov & Roth, CVPR 2020), guided by the RGB image."""

import torch
import torch.nn.functional as F
from torch import nn

# The 8 neighbours of a position, in units of the dilation; the centre only counts for the local contrast.
NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


class PAMR(nn.Module):
    """Iterated local averaging with weights from the image: affinity carries a mask to the edges of its object.

    iterations: number of averaging steps. dilations: distances in pixels of the 8-neighbourhoods.
    """

    def __init__(self, iterations=10, dilations=(1, 2, 4, 8, 12, 24)):
        super().__init__()
        self.iterations = iterations
        self.reach = max(dilations)
        self.offsets = [(dy * d, dx * d) for d in dilations for dy, dx in NEIGHBOURS]

    @torch.no_grad()
    def forward(self, image, mask):
        """image: [N,3,H,W] in [0,1]; mask: [N,K,h,w], any K. Returns the refined mask [N,K,H,W].

        Each step is a weighted mean over the neighbours, so constants stay and the range never grows.
        """
        mask = F.interpolate(mask, image.shape[2:], mode="bilinear", align_corners=True)
        weights = self.affinity(image)
        for _ in range(self.iterations):
            refined = torch.zeros_like(mask)
            for weight, neighbour in zip(weights, self.shifted(mask)):
                refined.addcmul_(weight, neighbour)  # in place: the additions would cost more than the products
            mask = refined
        return mask

    def affinity(self, image):
        """Softmax over all neighbours of -|I_i - I_j| / (0.1 std_i), mean over channels: a list of [N,1,H,W].

        The contrast std_i is taken over the windows of all dilations, each with its centre (unbiased).
        """
        count = len(self.offsets) // 8 * 9
        total, squares, logits = torch.zeros_like(image), torch.zeros_like(image), []
        for shifted in self.shifted(image):
            # Sums of differences to the centre, not of values: the same variance without cancellation.
            difference = shifted - image
            total += difference
            squares += difference.square()
        std = ((squares - total.square() / count).clamp_min(0) / (count - 1)).sqrt()
        scale = 1 / (1e-8 + 0.1 * std)
        for shifted in self.shifted(image):
            logits.append(-((shifted - image).abs() * scale).mean(dim=1, keepdim=True))
        return torch.cat(logits, dim=1).softmax(dim=1).split(1, dim=1)

    def shifted(self, maps):
        """The maps [N,C,H,W] seen from each neighbour's place, one view at a time, borders replicated."""
        h, w = maps.shape[2:]
        padded = F.pad(maps, [self.reach] * 4, mode="replicate")
        for dy, dx in self.offsets:
            y, x = self.reach + dy, self.reach + dx
            yield padded[:, :, y : y + h, x : x + w]
