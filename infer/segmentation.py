"""What a trained DeepLabV3 says about one image."""

import torch
import torch.nn.functional as F

from conventions import unit_range
from data.label_png import save_label_png
from data.transforms import scaled
from deeplab.model import build
from module.crf import dense_crf_probabilities
from tool.checkpoint import load_model
from tool.stages import DEEPLAB


@torch.inference_mode()
def multi_scale_probabilities(model, image, scales, flip, dtype=None):
    """image: uint8 [3,H,W]. Returns the mean class probabilities [K,H,W] over scales and flips, float32.

    scales: factors on the image's size. flip: whether its mirror image is seen too. dtype: of the network under
    autocast, None: float32.
    """
    total = 0
    for scale in scales:
        views = unit_range(scaled(image, scale)[None])
        if flip:
            views = torch.cat([views, views.flip(3)])
        with torch.autocast(image.device.type, dtype, enabled=dtype is not None):
            logits = model(views.contiguous(memory_format=torch.channels_last))
        probabilities = F.interpolate(logits, image.shape[1:], mode="bilinear", align_corners=False).softmax(dim=1)
        total = total + probabilities[0] + (probabilities[1].flip(2) if flip else 0)
    return total / total.sum(dim=0)


def likely_classes(probabilities):
    """The classes of [K,H,W] that have any probability somewhere.

    The others cost dense CRF time; on 24 photographs they changed one label in 10,000.
    """
    return (probabilities.amax(dim=(1, 2)) > min(0.01, 0.5 / len(probabilities))).nonzero()[:, 0]


def load_deeplab(run, n_classes, device):
    """The run's trained DeepLabV3 in eval mode."""
    settings = run.trained_settings(DEEPLAB, "deeplab_train")
    return load_model(build(settings, n_classes, "none")[0], run / DEEPLAB, device)


def load_predictor(run, n_classes, scales, device):
    """A function from an image uint8 [3,H,W] to the labels [H,W] of the run's DeepLabV3; None without a trained one."""
    if not (run / DEEPLAB).exists():
        return None
    model = load_deeplab(run, n_classes, device)

    def predict(pixels):
        return multi_scale_probabilities(model, pixels.to(device), scales, flip=True).argmax(dim=0).cpu().numpy()

    return predict


def save_refined(path, image, classes, probabilities, stamp):
    """Write the dense CRF's labels of one image: image uint8 [H,W,3], classes [k], probabilities [k,H,W]."""
    save_label_png(path, classes[dense_crf_probabilities(image, probabilities).argmax(axis=0)], stamp)
