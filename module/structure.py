"""Structure analysis (SIPE): a position's seed label is the class whose CAM best covers what looks like it."""

import torch
import torch.nn.functional as F

from module.cam import present_classes

MAX_ELEMENTS = 1 << 21  # of one block of the cosine map: 8 MiB in float32, near the size of a cache


@torch.no_grad()
def structure_seeds(features, cam, valid, background_weight=0.5, max_elements=MAX_ELEMENTS, most=None):
    """Seeds from the soft IoU of each position's similarity map with each class's CAM.

    features: [N,C,h,w], hierarchical (the paper's +HF) or of stage 4 (SIPE).
    cam: [N,K,h,w] in [0,1]. valid: [N,K,h,w] in {0,1}; masks the CAM.
    background_weight: factor on the background's IoU before the argmax (SIPE: 0.5).
    max_elements: bound on the elements of the cosine map held at a time. most: see `module.cam.present_classes`.
    Returns one-hot seeds [N,K,h,w] float; positions outside the valid mask have none.

    S_ij = ReLU(cos(f_ij, F)); IoU = sum(S M) / (sum S + sum M - sum S M). The sums over positions are matrix products,
    so the only square of the image ever held is a block of S. S is symmetric: each block, of some rows and of the
    columns from the first of these on, serves the positions of its rows and those of its columns.
    """
    n, _, h, w = cam.shape
    unit = F.normalize(features.flatten(2), dim=1, eps=1e-5)  # [N,C,hw]
    index, present = present_classes(valid, most)  # [N,P]
    masks = (cam * valid).flatten(2).gather(1, index[:, :, None].expand(-1, -1, h * w))  # [N,P,hw]
    # One more mask of ones makes sum(S) a column of the same product.
    columns = torch.cat([masks, torch.ones_like(masks[:, :1])], dim=1).transpose(1, 2).to(unit.dtype).contiguous()
    sums = torch.zeros_like(columns)  # [N,hw,P+1]
    if torch.compiler.is_exporting():  # a graph that serves images of every size cannot count blocks: it has one
        rows, starts = h * w, (0,)
    else:
        rows = max(1, max_elements // (n * h * w))
        starts = range(0, h * w, rows)
    for start in starts:
        stop = start + rows
        block = (unit[:, :, start:stop].transpose(1, 2) @ unit[:, :, start:]).relu_()  # [N,rows,hw-start]
        sums[:, start:stop] += block @ columns[:, start:]
        sums[:, stop:] += block[:, :, rows:].transpose(1, 2) @ columns[:, start:stop]
    inter, total = sums.transpose(1, 2).split([masks.shape[1], 1], dim=1)
    iou = inter / (total + masks.sum(dim=2, keepdim=True) - inter).clamp_min(1e-12)  # [N,P,hw]
    weight = torch.where(index == 0, background_weight, 1.0)[:, :, None]
    iou = (iou * weight).masked_fill(~present[:, :, None], -1)
    winner = index.gather(1, iou.argmax(dim=1))
    return torch.zeros_like(cam).scatter_(1, winner.view(n, 1, h, w), 1.0) * valid
