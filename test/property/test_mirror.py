"""The mirror image of an image gives the mirror images of its maps."""

from functools import cache

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import SEEDS, scenes

from infer.maps import multi_scale_maps
from module.affinity import affinity_enhanced_cam, pamr_refine
from module.cam import normalize_cam
from module.pamr import PAMR
from module.prototype import class_prototypes, image_specific_cam
from module.structure import structure_seeds
from net.aesipe import AESIPE
from net.backbone import build_backbone

# Resizing with aligned corners takes the first column of a map for the only column of the result, so that a grid or a
# guide that is one pixel wide, of images up to 16 pixels, has no mirror image.
WIDE = scenes(
    sides=st.integers(2, 6), contents=st.just("noise"), dtypes=st.just(torch.float64), strides=st.sampled_from([8, 11])
)


@given(WIDE)
@settings(max_examples=7)
def test_every_step_commutes_with_the_mirror(scene):
    mirrored = scene.flipped()

    def same(ours, theirs):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)

    cam = normalize_cam(scene.logits, scene.valid)
    same(normalize_cam(mirrored.logits, mirrored.valid), cam.flip(3))
    seeds = structure_seeds(scene.features, cam, scene.valid)
    same(structure_seeds(mirrored.features, cam.flip(3), mirrored.valid), seeds.flip(3))
    prototypes = class_prototypes(scene.features, seeds)
    same(class_prototypes(mirrored.features, seeds.flip(3)), prototypes)
    is_cam = image_specific_cam(scene.features, prototypes) * scene.valid
    same(image_specific_cam(mirrored.features, prototypes) * mirrored.valid, is_cam.flip(3))
    refined = pamr_refine(is_cam, scene.image, scene.valid, PAMR())
    same(pamr_refine(is_cam.flip(3), mirrored.image, mirrored.valid, PAMR()), refined.flip(3))
    ours = affinity_enhanced_cam(scene.features, is_cam, scene.image, scene.valid, PAMR(3))
    theirs = affinity_enhanced_cam(mirrored.features, is_cam.flip(3), mirrored.image, mirrored.valid, PAMR(3))
    for our, their in zip(ours, theirs):
        same(their, our.flip(3))


@cache
def network(symmetric):
    """A random AESIPE; with symmetric kernels no place of a kernel prefers left or right."""
    torch.manual_seed(0)
    model = AESIPE(build_backbone("resnet18", "none"), 4).eval()
    for kernel in (parameter for parameter in model.parameters() if symmetric and parameter.dim() == 4):
        kernel.data = (kernel.data + kernel.data.flip(3)) / 2
    return model


def random_image(seed, height, width):
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(1, 3, generator=generator) < 0.6).float()
    return torch.rand(1, 3, height, width, generator=generator), labels


@given(SEEDS, st.integers(17, 60), st.integers(1, 4))
@settings(max_examples=4)
def test_a_network_of_symmetric_kernels_commutes_with_the_mirror_on_images_16n_plus_1_wide(seed, height, n):
    """Only there has each of the four halvings an odd width, so that its first and its last column stay both; on
    another width the mirrored image is sampled at other places. Heights are free."""
    image, labels = (tensor.double() for tensor in random_image(seed, height, 16 * n + 1))
    with torch.inference_mode():
        ours, theirs = (network(True).double()(view, labels) for view in (image, image.flip(3)))
    for name in ("score", "cam", "seeds", "is_cam", "ae_seeds", "ae_is_cam"):
        our = ours[name].flip(3) if ours[name].dim() == 4 else ours[name]
        torch.testing.assert_close(theirs[name], our, rtol=0, atol=1e-4)


@given(SEEDS, st.integers(33, 60), st.integers(33, 60))
@settings(max_examples=2)
def test_exported_maps_commute_with_the_mirror_for_any_network_and_size(seed, height, width):
    """They are made of the image and its mirror image together."""
    image, labels = random_image(seed, height, width)
    image = (255 * image[0]).to(torch.uint8)
    names = ("cam", "is_cam", "ae_is_cam")
    keys, ours = multi_scale_maps(network(False).float(), image, labels[0], (0.6, 1.0), names)
    _, theirs = multi_scale_maps(network(False).float(), image.flip(2), labels[0], (0.6, 1.0), names)
    for name in names:
        assert ours[name].shape == (len(keys), height, width)
        torch.testing.assert_close(theirs[name], ours[name].flip(2), rtol=0, atol=2e-3)
