"""Dense CRF (Krähenbühl and Koltun, NIPS 2011) over one image, on labels or on class probabilities."""

import numpy as np
from pydensecrf.densecrf import DenseCRF2D
from pydensecrf.utils import unary_from_labels, unary_from_softmax


def dense_crf_labels(image, labels, n_labels, gt_prob=0.7, iterations=10):
    """As `dense_crf_label_maps`, of one label map."""
    return dense_crf_label_maps(image, [labels], n_labels, gt_prob, iterations)[0]


def dense_crf_label_maps(image, maps, n_labels, gt_prob=0.7, iterations=10):
    """Labels that follow the edges of the image, from each of the label maps, which hold with probability `gt_prob`.

    Pairwise terms as IRN (Ahn et al., CVPR 2019) uses them on the argmax of CAMs.

    Args:
        image: [H,W,3] uint8, RGB.
        maps: list of [H,W] integers in [0, n_labels); the image's part of the work is done once for all.
        n_labels: number of labels.
        gt_prob: probability of a pixel's own label, in (0,1); the other labels share the rest.
        iterations: of mean-field inference.

    Returns:
        list of [H,W] int32 labels.

    Raises:
        ValueError: if the image is not uint8, the sizes differ or a label is out of range.
    """
    for labels in maps:
        _check(image, labels.shape)
        if labels.min() < 0 or labels.max() >= n_labels:
            raise ValueError(f"labels {labels.min()} to {labels.max()} where 0 to {n_labels - 1} may occur")
    if n_labels == 1:  # nothing to decide, and no other label to hold the rest of the probability
        return [np.zeros(labels.shape, np.int32) for labels in maps]
    unaries = (unary_from_labels(labels, n_labels, gt_prob, zero_unsure=False) for labels in maps)
    marginals = _infer(image, n_labels, unaries, gaussian=(3, 3), bilateral=(50, 5, 10), iterations=iterations)
    return [each.argmax(axis=0).astype(np.int32) for each in marginals]


def dense_crf_probabilities(image, probabilities, iterations=10):
    """Class probabilities that follow the edges of the image, with the pairwise terms of DeepLab (Chen et al., 2017).

    Args:
        image: [H,W,3] uint8, RGB.
        probabilities: [K,H,W] floating point in [0,1] that add up to 1 over the classes.
        iterations: of mean-field inference.

    Returns:
        [K,H,W] float32 in [0,1] that add up to 1 over the classes.

    Raises:
        ValueError: if the image is not uint8 or the sizes differ.
    """
    _check(image, probabilities.shape[1:])
    unary = unary_from_softmax(np.asarray(probabilities, np.float32))
    (marginals,) = _infer(image, len(unary), [unary], gaussian=(1, 3), bilateral=(67, 3, 4), iterations=iterations)
    return marginals


def _check(image, size):
    if image.dtype != np.uint8 or image.shape != (*size, 3):
        raise ValueError(f"an image [{size[0]},{size[1]},3] of uint8 expected, not {list(image.shape)} {image.dtype}")


def _infer(image, n_labels, unaries, gaussian, bilateral, iterations):
    """Yields the mean-field marginals [K,H,W] of each of the unary energies [K,HW], with the Gaussian (sxy, compat) and
    the bilateral (sxy, srgb, compat) of the pairwise terms, whose lattices are built once."""
    height, width = image.shape[:2]
    crf = DenseCRF2D(width, height, n_labels)
    sxy, compat = gaussian
    crf.addPairwiseGaussian(sxy=sxy, compat=compat)
    sxy, srgb, compat = bilateral
    crf.addPairwiseBilateral(sxy=sxy, srgb=srgb, rgbim=np.ascontiguousarray(image), compat=compat)
    for unary in unaries:
        crf.setUnaryEnergy(np.ascontiguousarray(unary, np.float32))
        yield np.array(crf.inference(iterations), np.float32).reshape(-1, height, width)
