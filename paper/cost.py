"""What a stage will cost in time on this machine: one image of each is timed here, by untrained networks."""

import time
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

import deeplab.model
import net.aesipe
import net.irn
from data.layout import Layout
from data.loader import steps_per_epoch
from errors import UserError
from infer.maps import multi_scale_maps
from infer.pseudo import mean_boundary, pseudo_label
from infer.segmentation import multi_scale_probabilities
from module.crf import dense_crf_labels, dense_crf_probabilities
from tool.checkpoint import for_inference
from tool.dist import set_precision
from tool.trainer import to_device, train_step
from voc12.classes import CLASS_NAMES, COUNTS

SIZE = (375, 500)  # of the made-up photo, pixels: VOC's usual size
LABELS = 3  # the made-up image's classes, with the background
CPU_BATCH = 2  # images of a timed training step on a CPU: enough for its rate


def count_images(stage, args):
    """How many images a stage takes; of a dataset that is not there yet, VOC 2012's official number."""
    try:
        layout = Layout(args.dataset_root)
        length = len(layout.ids(_list(args)))
    except UserError:
        length = COUNTS.get(_list(args), COUNTS["train_aug"])
    if stage == "deeplab_train":
        return args.max_iters * args.batch_size
    if hasattr(args, "max_epochs"):
        return args.max_epochs * steps_per_epoch(length, args.batch_size) * args.batch_size
    return length


def _list(args):
    return args.train_list if hasattr(args, "train_list") else args.list


def sample_image(args):
    """The first image of the stage's list, uint8 [3,H,W]; of a dataset that is not there yet, a made-up one of SIZE."""
    try:
        layout = Layout(args.dataset_root)
        return layout.image(layout.ids(_list(args))[0])
    except UserError:
        noise = torch.rand((1, 3, 8, 8), generator=torch.Generator().manual_seed(0))
        return (255 * F.interpolate(noise, SIZE, mode="bilinear")[0]).to(torch.uint8)


def seconds_an_image(stage, arguments, device):
    """Seconds that one image takes in a stage, timed now.

    arguments: function from a stage to its settings. device: where the networks run. Files, decoding and start-up are
    not in it; dense CRF is shared out to `num_workers` processes. A first call warms up.
    """
    torch.manual_seed(0)
    return _STAGES[stage](arguments, device, sample_image(arguments(stage)))


def _timed(function, device):
    function()
    began = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _n_classes(args):
    try:
        return Layout(args.dataset_root).n_classes
    except UserError:
        return len(CLASS_NAMES)


def _step(args, device, model, losses, groups):
    batch_size = args.batch_size if device.type == "cuda" else min(args.batch_size, CPU_BATCH)
    crop = args.crop_size
    model = model.to(device, memory_format=torch.channels_last).train()
    dtype = set_precision(args.precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    optimizer = torch.optim.SGD(groups, momentum=args.momentum)
    labels = torch.zeros(batch_size, _n_classes(args) - 1)
    labels[:, : LABELS - 1] = 1
    target = torch.randint(LABELS, (batch_size, crop // 16, crop // 16), dtype=torch.uint8)
    batch = to_device(
        {
            "image": torch.randint(256, (batch_size, 3, crop, crop), dtype=torch.uint8),
            "labels": labels,
            "box": torch.tensor([[0, 0, crop, crop]] * batch_size),
            "target": target.repeat_interleave(16, 1).repeat_interleave(16, 2),
        },
        device,
    )
    return _timed(partial(train_step, model, losses, batch, optimizer, scaler, dtype), device) / batch_size


def _train_aesipe(arguments, device, image):
    args = arguments("train_aesipe")
    model, criterion = net.aesipe.build(args, _n_classes(args), "none")
    return _step(
        args, device, model, partial(net.aesipe.step_losses, criterion), model.parameter_groups(args.lr, args.lr_new)
    )


def _make_cam(arguments, device, image):
    trained, args = arguments("train_aesipe"), arguments("make_cam")
    model, _ = net.aesipe.build(trained, _n_classes(trained), "none")
    model, dtype = for_inference(model, device), set_precision(args.precision, device)
    labels = torch.zeros(_n_classes(trained) - 1, device=device)
    labels[: LABELS - 1] = 1
    return _timed(lambda: multi_scale_maps(model, image.to(device), labels, args.scales, args.maps, dtype), device)


def _eval_cam(arguments, device, image):
    args = arguments("eval_cam")
    maps = (args.crf_maps or args.maps) if args.crf else ()
    return _crf_of_labels(image) * len(args.background_weight) * len(maps) / max(1, args.num_workers)


def _make_ir_labels(arguments, device, image):
    return 2 * _crf_of_labels(image) / max(1, arguments("make_ir_labels").num_workers)


def _train_irn(arguments, device, image):
    args = arguments("train_irn")
    model = net.irn.build(args, "none")
    return _step(args, device, model, partial(net.irn.step_losses, args.radius), model.parameter_groups(args.lr))


def _make_seg_labels(arguments, device, image):
    args = arguments("make_seg_labels")
    irn = for_inference(net.irn.build(arguments("train_irn"), "none"), device)
    dtype = set_precision(args.precision, device)
    cam = torch.rand(LABELS, *image.shape[1:], device=device)

    def label():
        return pseudo_label(np.arange(LABELS), cam, mean_boundary(irn, image.to(device), dtype), args)

    return _timed(label, device)


def _deeplab_train(arguments, device, image):
    args = arguments("deeplab_train")
    model, criterion = deeplab.model.build(args, _n_classes(args), "none")
    return _step(args, device, model, partial(deeplab.model.step_losses, criterion), model.parameter_groups(args.lr))


def _deeplab_test(arguments, device, image):
    trained, args = arguments("deeplab_train"), arguments("deeplab_test")
    model, _ = deeplab.model.build(trained, _n_classes(trained), "none")
    model, dtype = for_inference(model, device), set_precision(args.precision, device)
    network = _timed(lambda: multi_scale_probabilities(model, image.to(device), args.scales, args.flip, dtype), device)
    if not args.crf:
        return network
    probabilities = torch.rand(LABELS, *image.shape[1:]).softmax(dim=0).numpy()
    crf = _timed(lambda: dense_crf_probabilities(_pixels(image), probabilities), torch.device("cpu"))
    shared = crf / max(1, args.num_workers)
    return max(network, shared) if device.type == "cuda" else network + shared  # on a CPU they share its cores


def _pixels(image):
    return image.permute(1, 2, 0).contiguous().numpy()


def _crf_of_labels(image):
    blocks = np.random.default_rng(0).integers(LABELS, size=[side // 32 + 1 for side in image.shape[1:]])
    labels = np.kron(blocks, np.ones((32, 32), np.int64))[: image.shape[1], : image.shape[2]]
    return _timed(lambda: dense_crf_labels(_pixels(image), labels, LABELS), torch.device("cpu"))


_STAGES = {
    "train_aesipe": _train_aesipe,
    "make_cam": _make_cam,
    "eval_cam": _eval_cam,
    "make_ir_labels": _make_ir_labels,
    "train_irn": _train_irn,
    "make_seg_labels": _make_seg_labels,
    "deeplab_train": _deeplab_train,
    "deeplab_test": _deeplab_test,
}
