"""What holds of the method for every image: over shapes down to 1 x 1, labels, paddings and odd contents."""

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from infer.maps import multi_scale_maps
from module.affinity import AE_SEQUENCE, affinity_enhanced_cam, pamr_refine, refine_is_cam
from module.cam import map_seeds, normalize_cam, normalize_map, valid_mask
from module.crf import dense_crf_labels, dense_crf_probabilities
from module.irn_loss import affinity_displacement_loss, irn_loss
from module.labels import ir_labels, labels_at_size, weighted_argmax
from module.pamr import PAMR
from module.prototype import class_prototypes, image_specific_cam
from module.random_walk import propagate
from module.structure import structure_seeds
from net.aesipe import AESIPE, aesipe_loss
from net.backbone import build_backbone
from tool.metric import label_confusion_matrix, scores

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


@given(scenes(), st.sampled_from(["all", "present"]), st.sampled_from(["minmax", "max", "none"]))
@settings(max_examples=40)
def test_every_map_is_finite_and_within_its_mask_and_all_seeds_are_one_hot(scene, background, normalization):
    cam = normalize_cam(scene.logits, scene.valid, background)
    assert_map(cam, scene.valid)
    assert_one_hot(map_seeds(cam, scene.valid), scene.valid)
    assert_one_hot(map_seeds(cam + 2 * (1 - scene.valid), scene.valid), scene.valid)  # absent classes above all others

    seeds = structure_seeds(scene.features, cam, scene.valid)
    assert_one_hot(seeds, scene.valid)
    prototypes = class_prototypes(scene.features, seeds)
    assert prototypes.isfinite().all()
    assert (prototypes[seeds.sum(dim=(2, 3)) == 0] == 0).all()
    is_cam = image_specific_cam(scene.features, prototypes) * scene.valid
    assert_map(is_cam, scene.valid)

    pamr = PAMR(3)
    assert_map(pamr_refine(is_cam, scene.image, scene.valid, pamr) * scene.valid, scene.valid)
    last, ae_seeds = affinity_enhanced_cam(scene.features, is_cam, scene.image, scene.valid, pamr, normalization)
    assert_map(last, scene.valid)
    assert_one_hot(ae_seeds, scene.valid)


@given(scenes(), st.lists(st.sampled_from(AE_SEQUENCE), max_size=4))
def test_every_sequence_of_modules_gives_a_map_and_one_hot_seeds(scene, sequence):
    assume("is_cam" not in sequence or "prototype" in sequence[: sequence.index("is_cam")])
    is_cam = image_specific_cam(scene.features, class_prototypes(scene.features, scene.valid)) * scene.valid
    cam, seeds = refine_is_cam(scene.features, is_cam, scene.image, scene.valid, PAMR(2), sequence)
    assert_map(cam * scene.valid, scene.valid)
    assert (seeds is None) == ("prototype" not in sequence)
    if seeds is not None:
        assert_one_hot(seeds, scene.valid)


@given(scenes())
def test_gradients_are_finite(scene):
    logits, features = scene.logits.requires_grad_(), scene.features.requires_grad_()
    cam = normalize_cam(logits, scene.valid)
    seeds = structure_seeds(features, cam, scene.valid)
    is_cam = image_specific_cam(features, class_prototypes(features, seeds)) * scene.valid
    last, _ = affinity_enhanced_cam(features, is_cam, scene.image, scene.valid, PAMR(2))
    output = {"score": logits.mean(dim=(2, 3)), "cam": cam, "ae_is_cam": last}
    losses = aesipe_loss(output, scene.labels.to(torch.float32))
    losses["loss"].backward()
    assert all(value.isfinite() for value in losses.values())
    assert logits.grad.isfinite().all()
    assert features.grad is None or features.grad.isfinite().all()


@given(scenes(contents=st.just("noise"), dtypes=st.just(torch.float64)), st.floats(1e-3, 1e3))
def test_is_cam_does_not_depend_on_the_length_of_the_features(scene, factor):
    seeds = map_seeds(normalize_cam(scene.logits, scene.valid), scene.valid)

    def is_cam(features):
        return image_specific_cam(features, class_prototypes(features, seeds))

    torch.testing.assert_close(is_cam(factor * scene.features), is_cam(scene.features), rtol=0, atol=1e-9)


@given(SEEDS, DTYPES, MAPS, MAPS, SIDES, SIDES, st.integers(1, 3), st.integers(1, 5), st.booleans())
@settings(max_examples=40)
def test_pamr_averages(seed, dtype, image_kind, mask_kind, h, w, scale, iterations, faint):
    """Its kernel's rows are weights of a mean, so a constant comes out as it is and no value leaves the range."""
    generator = torch.Generator().manual_seed(seed)
    image = fill(image_kind, (2, 3, scale * h, scale * w), generator, dtype).abs()
    if faint:  # texture far below one grey level
        image = 0.5 + 1e-6 * image
    pamr = PAMR(iterations)
    kernel = torch.cat(pamr.affinity(image), dim=1)
    rounding = 10 * torch.finfo(dtype).eps
    assert kernel.isfinite().all() and kernel.min() >= 0
    torch.testing.assert_close(kernel.sum(dim=1), torch.ones_like(image[:, 0]), rtol=0, atol=rounding)

    mask = fill(mask_kind, (2, 2, h, w), generator, dtype)
    refined = pamr(image, mask)
    assert refined.shape == (2, 2, *image.shape[2:])
    slack = 10 * iterations * rounding * mask.abs().max()
    low, high = mask.amin(dim=(2, 3), keepdim=True), mask.amax(dim=(2, 3), keepdim=True)
    assert (refined >= low - slack).all() and (refined <= high + slack).all()
    constant = mask[:, :, :1, :1].expand_as(mask)
    torch.testing.assert_close(
        pamr(image, constant), constant[:, :, :1, :1].expand_as(refined), rtol=0, atol=float(slack)
    )


# Resizing with aligned corners takes the first column of a map for the only column of the result, so that a grid or a
# guide that is one pixel wide, of images up to 16 pixels, has no mirror image.
WIDE = scenes(
    sides=st.integers(2, 6), contents=st.just("noise"), dtypes=st.just(torch.float64), strides=st.sampled_from([8, 11])
)


@given(WIDE)
@settings(max_examples=15)
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
@settings(max_examples=8)
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
@settings(max_examples=4)
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


def dense_affinity(boundary, radius):
    """[HW,HW], pair by pair: 1 - the maximum of the boundary over the pixels nearer than 1 to the segment."""
    height, width = boundary.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    affinity = np.eye(len(pixels))
    for i, (y0, x0) in enumerate(pixels):
        for j, (y1, x1) in enumerate(pixels[:i]):
            length = np.hypot(y1 - y0, x1 - x0)
            if length < radius:
                path = [
                    boundary[y, x]
                    for y in range(min(y0, y1), max(y0, y1) + 1)
                    for x in range(min(x0, x1), max(x0, x1) + 1)
                    if abs((y1 - y0) * (x - x0) - (x1 - x0) * (y - y0)) < length
                ]
                affinity[i, j] = affinity[j, i] = 1 - max(path)
    return affinity


@pytest.mark.parametrize("beta", [0, 0.5, 1, 10, 1e4])
@given(
    SEEDS, DTYPES, MAPS, MAPS, st.integers(1, 6), st.integers(1, 7), st.integers(2, 5), st.sampled_from([256, 7, 1, 0])
)
@settings(max_examples=20)
def test_the_random_walk_keeps_bounds_and_weighted_mass(
    beta, seed, dtype, score_kind, boundary_kind, h, w, radius, steps
):
    """T = A D^-1 of a symmetric A = a^beta and its column sums d, D = diag(d): the columns of T sum to 1, so x T
    averages (bounds, sign and constants stay), and x T d = x A 1 = x d: the mass that is kept is that weighted by d,
    not the plain one."""
    generator = torch.Generator().manual_seed(seed)
    start_scores = fill(score_kind, (2, h, w), generator, dtype).abs()
    boundary = fill(boundary_kind, (h, w), generator, dtype).abs()
    walked = propagate(start_scores, boundary, radius, beta, steps)
    start = start_scores * (1 - boundary)
    assert walked.isfinite().all() and walked.dtype == dtype and walked.min() >= 0
    assert (walked <= start.amax(dim=(1, 2), keepdim=True)).all()
    assert (walked >= start.amin(dim=(1, 2), keepdim=True)).all()

    affinity = dense_affinity(boundary.double().numpy(), radius)
    weights = np.where(affinity > 0, affinity, 1) ** beta * (affinity > 0)  # no way leads through 0, whatever its power
    degree = weights.sum(axis=0)
    before, after = (maps.double().numpy().reshape(2, -1) @ degree for maps in (start, walked))
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-7 * degree.sum())

    constant = torch.full_like(start_scores, 0.7)
    torch.testing.assert_close(
        propagate(constant, torch.zeros_like(boundary), radius, beta, steps), constant, rtol=0, atol=1e-6
    )


@given(SEEDS, st.integers(1, 8), st.integers(1, 9), st.integers(1, 255), st.floats(0, 0.5), st.integers(0, 8))
@example(0, 8, 9, 255, 0.1, 4)
def test_confusion_matrices_add(seed, h, w, n_classes, unsure, cut):
    generator = np.random.default_rng(seed)

    def label_map():
        return np.where(generator.random((h, w)) < unsure, 255, generator.integers(n_classes, size=(h, w)))

    truth, labels = label_map().astype(np.uint8), label_map()
    whole = label_confusion_matrix(truth, labels, n_classes)
    parts = [label_confusion_matrix(truth[rows], labels[rows], n_classes) for rows in (slice(cut), slice(cut, None))]
    assert np.array_equal(whole, parts[0] + parts[1])
    assert whole.sum() == (truth != 255).sum()
    assert whole[:, -1].sum() == ((truth != 255) & (labels == 255)).sum()
    assert np.array_equal(whole.sum(axis=1), np.bincount(truth[truth != 255], minlength=n_classes)[:n_classes])
    result = scores(whole, [str(k) for k in range(n_classes)])
    assert 0 <= result["miou"] <= 1 and 0 <= result["accuracy"] <= 1
    perfect = scores(label_confusion_matrix(truth, truth, n_classes), [str(k) for k in range(n_classes)])
    assert perfect["miou"] == perfect["accuracy"] == float((truth != 255).any())


@st.composite
def image_keys(draw):
    """The classes of an image, background first, as in a CAM archive."""
    return np.array([0, *sorted(draw(st.sets(st.integers(1, 254), max_size=6)))])


@given(image_keys(), SEEDS, MAPS, SIDES, SIDES, st.sampled_from([0.0, 0.8, 1.0, 3.0]))
@settings(max_examples=60)
def test_labels_are_keys_of_the_image(keys, seed, kind, h, w, weight):
    generator = torch.Generator().manual_seed(seed)
    cam = fill(kind, (len(keys), h, w), generator, torch.float32).abs().numpy()
    labels = weighted_argmax(cam, weight)
    assert labels.shape == (h, w) and labels.min() >= 0 and labels.max() < len(keys)
    winner = np.take_along_axis(cam, labels[None], axis=0)[0]
    assert (np.where(labels == 0, weight, 1) * winner >= cam[1:].max(axis=0, initial=0)).all()

    ir = ir_labels(keys[weighted_argmax(cam)], keys[weighted_argmax(cam, weight)])
    assert set(np.unique(ir)) <= {*keys, 255}
    assert set(np.unique(ir[ir != 255])) <= set(np.unique(keys[weighted_argmax(cam)]))

    size = (2 * h + 1, 3 * w)
    in_strips = labels_at_size(cam, size, weight, max_elements=len(keys) * size[1] * 2)
    assert in_strips.shape == size and in_strips.max() < len(keys)
    assert np.array_equal(in_strips, labels_at_size(cam, size, weight))
    assert np.array_equal(labels_at_size(cam, (h, w), weight), labels)


@given(SEEDS, MAPS, SIDES, SIDES, st.integers(1, 4) | st.just(255), st.integers(0, 3), st.floats(0.05, 0.95))
@settings(max_examples=25)
def test_the_crf_stays_within_its_labels(seed, kind, h, w, n_labels, iterations, gt_prob):
    generator = torch.Generator().manual_seed(seed)
    image = (255 * fill(kind, (h, w, 3), generator, torch.float32).abs()).to(torch.uint8).numpy()
    cam = fill(kind, (n_labels, h, w), generator, torch.float32).abs().numpy()
    refined = dense_crf_labels(image, weighted_argmax(cam), n_labels, gt_prob, iterations)
    assert refined.shape == (h, w) and refined.min() >= 0 and refined.max() < n_labels
    one = np.full((h, w), n_labels - 1)
    if n_labels == 1 or gt_prob > 1 / n_labels:
        assert np.array_equal(dense_crf_labels(image, one, n_labels, gt_prob, iterations), one)

    probabilities = dense_crf_probabilities(image, F.softmax(100 * torch.from_numpy(cam), dim=0).numpy(), iterations)
    assert np.isfinite(probabilities).all() and probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)


@given(
    SEEDS,
    DTYPES,
    MAPS,
    CONTENTS,
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 7),
    st.sampled_from([0, 1, 254]),
    st.floats(0, 1),
)
@settings(max_examples=60)
def test_irn_losses_are_finite_and_never_negative(seed, dtype, boundary_kind, kind, radius, h, w, top, unsure):
    generator = torch.Generator().manual_seed(seed)
    boundary = fill(boundary_kind, (2, 1, h, w), generator, dtype).abs().requires_grad_()
    displacement = fill(kind, (2, 2, h, w), generator, dtype).requires_grad_()
    labels = torch.randint(0, top + 1, (2, h, w), generator=generator)
    labels[torch.rand(2, h, w, generator=generator) < unsure] = 255
    if radius == 1 or h < radius or w < 2 * radius - 1:
        with pytest.raises(ValueError, match="radius"):
            affinity_displacement_loss(boundary, displacement, labels, radius)
        return
    terms = affinity_displacement_loss(boundary, displacement, labels, radius)
    assert all(value.isfinite() and value >= -1e-4 for value in terms.values())
    irn_loss(terms).backward()
    assert boundary.grad.isfinite().all() and displacement.grad.isfinite().all()


@given(scenes(), st.sampled_from(["minmax", "max"]))
def test_normalised_maps_span_what_they_say(scene, mode):
    cam = scene.logits.abs().clamp(max=1)
    cam = torch.cat([cam[:, :1], cam], dim=1)
    normalised = normalize_map(cam, scene.valid, mode)
    assert_map(normalised, scene.valid)
    top, peak = (cam * scene.valid).amax(dim=(2, 3)), normalised.amax(dim=(2, 3))
    if mode == "max":
        torch.testing.assert_close(peak, top / (top + 1e-5))
    else:
        lows = torch.where(scene.valid > 0, normalised, torch.ones_like(normalised)).amin(dim=(2, 3))
        present = scene.valid.amax(dim=(2, 3)) > 0
        assert (lows[present] == 0).all()
