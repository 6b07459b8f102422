"""The network's maps and seeds of single images, for pictures and counts."""

import torch
import torch.nn.functional as F

from conventions import unit_range


@torch.inference_mode()
def localize(model, image, labels, dtype=None):
    """One pass of an AESIPE network in eval mode over an image at scale 1.

    image: uint8 [3,H,W]. labels: float [K-1] in {0,1}. dtype: of the encoder, None: float32.
    Returns a dict of CPU tensors: keys int64 [k], background and the image's classes; cam, is_cam, ae_is_cam, seeds,
    ae_seeds, float [k,h,w], as AESIPE.localize defines them.
    """
    device = next(model.parameters()).device
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        image = unit_range(image[None].to(device)).contiguous(memory_format=torch.channels_last)
        output = model(image, labels[None].to(device))
    keys = torch.cat([labels.new_ones(1), labels]).nonzero()[:, 0]
    return {
        "keys": keys,
        **{name: output[name][0].cpu()[keys] for name in ("cam", "is_cam", "ae_is_cam", "seeds", "ae_seeds")},
    }


def takes_new_seeds(model):
    """Whether the network has affinity enhancement, so that its last seeds are not those of the structure analysis."""
    return "prototype" in model.sequence


def enlarged(maps, size):
    """Maps [k,h,w] at the image's size, each divided by its maximum as in an export. Returns numpy [k,H,W]."""
    maps = F.interpolate(maps[None], size, mode="bilinear", align_corners=True)[0]
    return (maps / (maps.amax(dim=(1, 2), keepdim=True) + 1e-5)).numpy()


def seed_labels(keys, seeds):
    """One-hot seeds [k,h,w] as class indices uint8 [h,w], 255 where no class has a seed."""
    labels = keys[seeds.argmax(dim=0)]
    return torch.where(seeds.amax(dim=0) > 0, labels, 255).to(torch.uint8).numpy()
