"""From a map and IRN's boundary to pseudo labels, and the mean displacement, each by itself."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infer.pseudo import measure_mean_displacement, walked_scores
from module.random_walk import propagate
from net.irn import IRN
from tool.dist import Dist
from tool.settings import MakeSegLabels

CPU = torch.device("cpu")


def test_the_walk_of_a_map_written_out():
    """Down to the boundary's grid, to a power, the walk of these settings, up again, over its one maximum."""
    generator = torch.Generator().manual_seed(0)
    cam = torch.rand(3, 9, 11, generator=generator)
    cam = F.interpolate(cam[None], (34, 46), mode="bilinear", align_corners=False)[0]
    boundary = torch.rand(9, 12, generator=generator) ** 2
    settings = MakeSegLabels(power=2.5, radius=3, beta=4.0, steps=7)
    low = F.interpolate(cam[None], (9, 12), mode="bilinear", align_corners=False)[0]
    walked = propagate(low**2.5, boundary, radius=3, beta=4, steps=7)
    walked = F.interpolate(walked[None], (34, 46), mode="bilinear", align_corners=False)[0].numpy()
    scores = walked_scores(cam, boundary, settings)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, walked / (walked.max() + 1e-5), rtol=0, atol=1e-6)


class Pooling(nn.Module):
    """Five maps of an image at strides 4, 4, 8, 16 and 16, without any weight; the heads' norms alone would not tell
    an image in [0,1] from one in 0-255."""

    channels = (3,) * 5

    def forward(self, image):
        return [F.avg_pool2d(image, stride, ceil_mode=True).sigmoid() for stride in (4, 4, 8, 16, 16)]


class WithAnother(Dist):
    """The first of two processes, of which the other has seen three images whose displacements add up to (6, -9)."""

    def sum(self, values):
        return values + torch.tensor([6.0, -9.0, 3.0])


@pytest.mark.parametrize("shared", [False, True])
def test_the_mean_displacement_is_that_over_the_images_of_all_processes(shared):
    torch.manual_seed(0)
    network = IRN(Pooling()).train()
    images = [(name, torch.randint(0, 256, (3, *size), dtype=torch.uint8)) for name, size in
              (("a", (48, 64)), ("b", (33, 90)))]  # fmt: skip
    with torch.no_grad():
        own = [network(image[None] / 255)["displacement"].mean(dim=(0, 2, 3)) for _, image in images]
    total, count = sum(own), 2
    if shared:
        total, count = total + torch.tensor([6.0, -9.0]), 5
    network.eval()
    for _ in range(2):  # it does not build upon an earlier one
        measure_mean_displacement(images, None, WithAnother(0, 2, CPU) if shared else Dist(0, 1, CPU), network)
        torch.testing.assert_close(network.mean_displacement, total / count, rtol=0, atol=1e-5)
