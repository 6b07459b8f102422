"""Export CAMs of a trained AE-SIPE at several scales and flips -> RUN/cam/ID.npz"""

from argparse import Namespace

import torch
import torch.nn.functional as F
from tqdm import tqdm

from data.layout import Layout
from data.loader import image_loader
from data.transforms import scaled
from data.usable import check_image, check_labels, usable_ids
from module.cam import valid_mask
from net.aesipe import build
from tool.checkpoint import load_model, trained_settings
from tool.config import (add_data_flag, add_precision_flag, make_parser, parse, rate, run_main, settings,
                         used_settings)
from tool.dist import close_dist, init_dist, set_precision
from tool.io import CAM_FOLDERS, claim_folder, missing_ids, save_cam, save_settings
from tool.logging import StageUsage
from tool.parallel import background
from train_aesipe import add_method_flags

METHOD = ("structure_features", "ae", "sequence", "normalization", "cam_background")


def get_parser():
    parser = make_parser(__doc__)
    add_data_flag(parser)
    add_method_flags(parser)
    parser.set_defaults(**dict.fromkeys(METHOD))  # None: as trained
    parser.add_argument("--list", default="train_aug", help="lists/NAME.txt of the dataset")
    parser.add_argument("--scales", type=rate, nargs="+", default=(1.0, 0.5, 1.5, 2.0))
    parser.add_argument("--maps", nargs="+", default=("ae_is_cam",), choices=tuple(CAM_FOLDERS),
                        help="what to export: ae_is_cam, the method's last map, into cam/; is_cam and cam (the "
                             "classifier's) into is_cam/ and classifier_cam/")
    parser.add_argument("--cam_bits", type=int, default=16, choices=(16, 8), help="float16, or steps of 1/255")
    add_precision_flag(parser)
    return parser


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
        sized = scaled(image, scale)[None].float() / 255
        both = torch.cat([sized, sized.flip(3)]).contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, dtype, enabled=dtype is not None):
            encoded = model.encode(both)
        features = [maps[:1].float() + maps[1:].flip(3).float() for maps in encoded]
        valid = valid_mask(labels[None], sized.new_ones(1, *features[-1].shape[2:]))
        output = model.localize(*features, sized, valid)
        for name in names:
            totals[name] = totals[name] + F.interpolate(output[name][:, keys], image.shape[1:], mode="bilinear",
                                                        align_corners=True)[0]
    return keys, {name: total / (total.amax(dim=(1, 2), keepdim=True) + 1e-5) for name, total in totals.items()}


def load_trained(run, n_classes, device, overrides):
    """The run's AE-SIPE network with the method's switches as trained, or as overrides say where they are not None."""
    path = run / "ckpt" / "aesipe.pt"
    trained = trained_settings(path)
    changed = {key: value for key, value in overrides.items() if value is not None}
    model, _ = build(Namespace(**{**trained, "weights": "none", **changed}), n_classes)
    return load_model(model, path, device)


def main():
    args = parse(get_parser(), "make_cam")
    usage = StageUsage(args.run, "make_cam")
    dist = init_dist()
    layout = Layout(args.dataset_root)
    ids = usable_ids(layout, args.list, (check_image, check_labels), args.skip_bad, dist.main)
    model = load_trained(args.run, layout.n_classes, dist.device, {key: getattr(args, key) for key in METHOD})
    folders = {name: args.run / CAM_FOLDERS[name] for name in args.maps}
    if dist.main:
        record = settings(args, leave_out=("list", "maps"))
        save_settings(args.run, "make_cam", used_settings(args))
        for folder in folders.values():
            claim_folder(folder, record, source=args.run / "ckpt" / "aesipe.pt")
    dist.barrier()
    todo = missing_ids(ids[dist.rank :: dist.world], folders.values(), ".npz")
    dtype = set_precision(args.precision, dist.device)
    with background() as submit:
        for image_id, image in tqdm(image_loader(layout, todo, args.num_workers), desc="make_cam", unit="image",
                                    dynamic_ncols=True, disable=not dist.main):
            image, labels = image.to(dist.device), layout.labels(image_id).to(dist.device)
            keys, maps = multi_scale_maps(model, image, labels, args.scales, args.maps, dtype)
            for name, folder in folders.items():
                submit(save_cam, folder / f"{image_id}.npz", keys.cpu(), maps[name].cpu(), args.cam_bits)
    usage.finish(dist.total(len(todo)), len(ids))
    close_dist()


if __name__ == "__main__":
    run_main(main)
