"""Structure analysis (SIPE): a position's seed label is the class whose CAM best covers what looks like it."""

import torch
import torch.nn.functional as F

MAX_ELEMENTS = 1 << 25  # of one block of the cosine map: 128 MiB in float32


@torch.no_grad()
def structure_seeds(features, cam, valid, background_weight=0.5, max_elements=MAX_ELEMENTS):
    """Seeds from the soft IoU of each position's similarity map with each class's CAM.

    features: [N,C,h,w], hierarchical (the paper's +HF) or of stage 4 (SIPE).
    cam: [N,K,h,w] in [0,1]. valid: [N,K,h,w] in {0,1}; masks the CAM.
    background_weight: factor on the background's IoU before the argmax (SIPE: 0.5).
    max_elements: bound on the elements of the cosine map held at a time.
    Returns one-hot seeds [N,K,h,w] float; positions outside the valid mask have none.

    S_ij = ReLU(cos(f_ij, F)); IoU = sum(S M) / (sum S + sum M - sum S M). The sums over positions are matrix products,
    so the only square of the image ever held is a block of rows of S.
    """
    n, k, h, w = cam.shape
    unit = F.normalize(features.flatten(2), dim=1, eps=1e-5)  # [N,C,hw]
    masks = (cam * valid).flatten(2)  # [N,K,hw]; an absent class must not win a position
    area = masks.sum(dim=2, keepdim=True)  # [N,K,1]
    # One more mask of ones makes sum(S) a column of the same product.
    columns = torch.cat([masks, torch.ones_like(masks[:, :1])], dim=1).transpose(1, 2)
    rows = max(1, max_elements // (n * h * w))
    iou = []
    for block in unit.split(rows, dim=2):
        similarity = F.relu(block.transpose(1, 2) @ unit)  # [N,rows,hw]
        sums = (similarity @ columns.to(similarity.dtype)).transpose(1, 2)  # [N,K+1,rows]
        inter, total = sums[:, :k], sums[:, k:]
        iou.append(inter / (total + area - inter).clamp_min(1e-12))
    iou = torch.cat(iou, dim=2).view(n, k, h, w)
    weight = torch.ones(k, device=iou.device, dtype=iou.dtype)
    weight[0] = background_weight
    winner = (iou * weight[:, None, None]).argmax(dim=1, keepdim=True)
    return torch.zeros_like(cam).scatter_(1, winner, 1.0) * valid
