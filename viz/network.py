"""The network's maps and seeds of single images, for pictures and counts."""

import torch
import torch.nn.functional as F

from conventions import IGNORE, unit_range
from viz.runs import MAP_NAMES

SEEDS = ("seeds", "ae_seeds")  # before affinity enhancement and after it


@torch.inference_mode()
def localize(model, image, labels, dtype=None):
    """One pass of an AESIPE network in eval mode over an image at scale 1.

    image: uint8 [3,H,W]. labels: float [K-1] in {0,1}. dtype: of the encoder, None: float32.
    Returns a dict, as AESIPE.localize defines them: keys, numpy int64 [k], background and the image's classes; the
    maps of MAP_NAMES, float tensors [k,h,w] on the CPU; SEEDS as classes, numpy uint8 [h,w], 255 where there is none.
    """
    device = next(model.parameters()).device
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        image = unit_range(image[None].to(device)).contiguous(memory_format=torch.channels_last)
        output = model(image, labels[None].to(device))
    keys = torch.cat([labels.new_ones(1), labels]).nonzero()[:, 0]
    found = {name: output[name][0].cpu()[keys] for name in (*MAP_NAMES, *SEEDS)}
    for name in SEEDS:
        classes = keys[found[name].argmax(dim=0)]
        found[name] = classes.where(found[name].amax(dim=0) > 0, IGNORE).to(torch.uint8).numpy()
    return {"keys": keys.numpy(), **found}


def takes_new_seeds(model):
    """Whether the network has affinity enhancement, so that its last seeds are not those of the structure analysis."""
    return "prototype" in model.sequence


def enlarged(maps, size):
    """Maps [k,h,w] at the image's size, each divided by its maximum as in an export. Returns numpy [k,H,W]."""
    maps = F.interpolate(maps[None], size, mode="bilinear", align_corners=True)[0]
    return (maps / (maps.amax(dim=(1, 2), keepdim=True) + 1e-5)).numpy()
