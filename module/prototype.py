"""Image-specific prototypes and the CAMs that they draw (SIPE)."""

import torch
import torch.nn.functional as F

EPS = 1e-8


def class_prototypes(features, seeds):
    """Prototype p^k: the mean feature of class k's seeds.

    features: [N,C,h,w]. seeds: [N,K,h,w] one-hot. Returns [N,K,C]; a class without seeds has a zero prototype.
    Gradients flow to the features.
    """
    weights = seeds.flatten(2).to(features.dtype)
    sums = weights @ features.flatten(2).transpose(1, 2)
    return sums / weights.sum(dim=2, keepdim=True).clamp_min(1)


def image_specific_cam(features, prototypes):
    """IS-CAM_ij^k = ReLU(cos(f_ij, p^k)).

    features: [N,C,h,w]. prototypes: [N,K,C]. Returns [N,K,h,w] in [0,1]; a zero prototype gives a zero map.
    """
    n, _, h, w = features.shape
    features = features.flatten(2)
    # Dividing the product by the lengths costs K channels, not C, and needs no second copy of the features.
    length = torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp_min(EPS)
    cosine = F.normalize(prototypes, dim=2, eps=EPS) @ features / length
    return F.relu(cosine).view(n, -1, h, w)
