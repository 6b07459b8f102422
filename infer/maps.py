"""What a trained AE-SIPE says about one image: its maps over several scales, and the classes that it finds."""

from dataclasses import replace

import torch
import torch.nn.functional as F

from conventions import unit_range
from data.transforms import scaled
from module.cam import valid_mask
from net.aesipe import build
from tool.checkpoint import load_model
from tool.settings import METHOD
from tool.stages import AESIPE


@torch.inference_mode()
def multi_scale_maps(model, image, labels, scales, names, dtype=None):
    """Maps of one image, summed over scales and flips.

    model: AESIPE in eval mode. image: uint8 [3,H,W] on the model's device. labels: float [K-1] in {0,1}.
    scales: factors of the image's size. names: keys of AESIPE.forward's dict. dtype: of the encoder, None: float32.
    Per scale, class logits and features of the image and its mirror image are summed before the maps are made.
    Returns (keys [k] int64: background and the image's classes, {name: [k,H,W] in [0,1]}).
    """
    keys = torch.cat([labels.new_ones(1), labels]).nonzero()[:, 0]
    totals = dict.fromkeys(names, 0)
    for scale in scales:
        sized = unit_range(scaled(image, scale)[None])
        both = torch.cat([sized, sized.flip(3)]).contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, dtype, enabled=dtype is not None):
            encoded = model.encode(both)
        features = [maps[:1].float() + maps[1:].flip(3).float() for maps in encoded]
        valid = valid_mask(labels[None], sized.new_ones(1, *features[-1].shape[2:]))
        output = model.localize(*features, sized, valid, len(keys))
        for name in names:
            cam = output[name][:, keys]
            totals[name] += F.interpolate(cam, image.shape[1:], mode="bilinear", align_corners=True)[0]
    return keys, {name: total / (total.amax(dim=(1, 2), keepdim=True) + 1e-5) for name, total in totals.items()}


@torch.inference_mode()
def class_probabilities(model, image, dtype):
    """What AE-SIPE's classifier finds in an image, uint8 [3,H,W]: probabilities [K-1] of the mean score of the image
    and its mirror image. dtype: of the encoder under autocast, None: float32."""
    views = unit_range(image[None])
    views = torch.cat([views, views.flip(3)]).contiguous(memory_format=torch.channels_last)
    with torch.autocast(image.device.type, dtype, enabled=dtype is not None):
        logits = model.encode(views)[0]
    return logits.mean(dim=(0, 2, 3)).sigmoid()


def load_aesipe(run, n_classes, device, switches=None):
    """The AE-SIPE network of a `tool.run.Run` in eval mode.

    switches: `tool.settings.MakeCam`, whose settings of the method replace those of the training where they are given;
    None: those with which the run's maps were exported.
    """
    switches = switches or run.used_settings("make_cam")
    changed = {key: getattr(switches, key) for key in METHOD if getattr(switches, key) is not None}
    settings = replace(run.trained_settings(AESIPE, "train_aesipe"), **changed)
    return load_model(build(settings, n_classes, "none")[0], run / AESIPE, device)
