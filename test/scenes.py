"""Batches of any shape, labels, padding and content, for tests of what holds of the method for every image."""

import torch
from hypothesis import strategies as st

from module.cam import valid_mask

SIDES = st.integers(1, 9) | st.just(1)
SEEDS = st.integers(0, 2**32)
DTYPES = st.sampled_from([torch.float32, torch.float64])
# Of what a network may give, or an odd image may hold, in [-1, 1] and far beyond.
CONTENTS = st.sampled_from(["noise", "zero", "constant", "two levels", "one pixel", "tiny", "huge"])
MAPS = st.sampled_from(["noise", "zero", "constant", "two levels", "one pixel", "tiny"])


def fill(kind, shape, generator, dtype):
    """A tensor of one of CONTENTS; all but "huge" lie in [-1, 1]."""
    noise = torch.rand(shape, generator=generator, dtype=dtype) * 2 - 1
    if kind == "zero":
        return torch.zeros_like(noise)
    if kind == "constant":
        return torch.full_like(noise, noise.flatten()[0])
    if kind == "two levels":
        return noise.sign()
    if kind == "one pixel":
        return noise * (torch.arange(noise.numel()) == noise.numel() // 2).view(shape)
    return noise * {"noise": 1, "tiny": 1e-20, "huge": 1e15}[kind]


class Scene:
    """A batch: features [N,C,h,w], logits [N,K-1,h,w], image [N,3,H,W] in [0,1], valid [N,K,h,w] and labels."""

    def __init__(self, seed, dtype, batch, grid, channels, foreground, contents, stride, padded):
        generator = torch.Generator().manual_seed(seed)
        features, logits, image = contents
        self.features = fill(features, (batch, channels, *grid), generator, dtype)
        self.logits = fill(logits, (batch, foreground, *grid), generator, dtype)
        self.image = fill(image, (batch, 3, *(side * stride for side in grid)), generator, dtype).abs()
        # From images that have no class at all to images that have each.
        share = torch.rand(batch, 1, generator=generator) * 1.4 - 0.2
        self.labels = (torch.rand(batch, foreground, generator=generator) < share).to(dtype)
        inside = torch.ones(batch, *grid, dtype=dtype)
        if padded:
            inside[0, : grid[0] // 3] = 0
            inside[-1, :, grid[1] - grid[1] // 2 :] = 0
        self.valid = valid_mask(self.labels, inside)

    def flipped(self):
        """The same batch in the mirror."""
        scene = Scene.__new__(Scene)
        scene.labels = self.labels
        for name in ("features", "logits", "image", "valid"):
            setattr(scene, name, getattr(self, name).flip(3))
        return scene


@st.composite
def scenes(draw, sides=SIDES, contents=CONTENTS, dtypes=DTYPES, strides=st.sampled_from([1, 4, 5])):
    foreground = draw(st.integers(1, 6) | st.just(254) | st.just(1))
    grid = draw(st.tuples(sides, sides))
    if foreground == 254:
        grid = tuple(min(side, 4) for side in grid)
    kinds = draw(contents), draw(contents), draw(MAPS)
    return Scene(
        draw(SEEDS),
        draw(dtypes),
        draw(st.integers(1, 2)),
        grid,
        draw(st.integers(1, 8)),
        foreground,
        kinds,
        draw(strides),
        draw(st.booleans()),
    )


def assert_one_hot(seeds, valid):
    """One seed of an own class wherever the image is, none elsewhere."""
    assert ((seeds == 0) | (seeds == 1)).all()
    assert torch.equal(seeds.sum(dim=1), valid[:, 0])
    assert (seeds <= valid).all()


def assert_map(cam, valid):
    """In [0,1] up to rounding, and nothing outside the image or of its absent classes."""
    assert cam.isfinite().all()
    assert cam.min() >= 0 and cam.max() <= 1 + 1e-5
    assert (cam[valid == 0] == 0).all()
