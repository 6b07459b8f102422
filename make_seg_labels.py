"""Pseudo labels: CAMs spread by a random walk that IRN's boundaries stop -> RUN/seg_label/ID.png"""

from argparse import Namespace

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from data.layout import Layout
from data.loader import image_loader
from data.usable import check_image, usable_ids
from module.labels import weighted_argmax
from module.random_walk import propagate
from net.backbone import build_backbone
from net.irn import IRN
from tool.checkpoint import load_model, trained_settings
from tool.config import (add_data_flag, add_precision_flag, make_parser, parse, positive, radius, rate, run_main,
                         settings, used_settings)
from tool.dist import close_dist, init_dist, set_precision
from tool.io import claim_folder, load_cam, missing_ids, require_outputs, save_settings
from tool.logging import StageUsage
from tool.parallel import background
from voc12.palette import save_label_png


def get_parser():
    parser = make_parser(__doc__)
    add_data_flag(parser)
    parser.add_argument("--list", default="train_aug", help="lists/NAME.txt of the dataset")
    parser.add_argument("--power", type=rate, default=1.5, help="exponent of the CAM before the walk")
    parser.add_argument("--radius", type=radius, default=5, help="of the pairs, pixels at stride 4")
    parser.add_argument("--beta", type=rate, default=10.0, help="exponent of the affinities")
    parser.add_argument("--steps", type=positive, default=256, help="of the random walk")
    parser.add_argument("--background_weight", type=rate, default=1.0,
                        help="factor on the background's score before the argmax")
    add_precision_flag(parser)
    return parser


@torch.inference_mode()
def mean_boundary(irn, image, dtype=None):
    """image: uint8 [3,H,W]. Returns the boundary [h,w] in [0,1] at stride 4, mean of image and mirror image."""
    image = image[None].float() / 255
    both = torch.cat([image, image.flip(3)])
    with torch.autocast(image.device.type, dtype, enabled=dtype is not None):
        boundary = irn(both)["boundary"][:, 0].float()
    return (boundary[0] + boundary[1].flip(1)) / 2


def pseudo_label(keys, cam, boundary, args):
    """keys [k], cam [k,H,W] in [0,1] on boundary's device, boundary [h,w] at stride 4 -> uint8 labels [H,W]."""
    size = cam.shape[1:]
    low = F.interpolate(cam[None], boundary.shape, mode="bilinear", align_corners=False)[0]
    walked = propagate(low ** args.power, boundary, args.radius, args.beta, args.steps)
    walked = F.interpolate(walked[None], size, mode="bilinear", align_corners=False)[0]
    walked = walked / (walked.max() + 1e-5)
    return keys[weighted_argmax(walked.cpu().numpy(), args.background_weight)].astype(np.uint8)


def main():
    args = parse(get_parser(), "make_seg_labels")
    usage = StageUsage(args.run, "make_seg_labels")
    dist = init_dist()
    layout = Layout(args.dataset_root)
    path, folder = args.run / "ckpt" / "irn.pt", args.run / "seg_label"
    trained = Namespace(**trained_settings(path))
    irn = load_model(IRN(build_backbone(trained.backbone, "none")), path, dist.device)
    if dist.main:
        record = settings(args, leave_out=("list",))
        save_settings(args.run, "make_seg_labels", used_settings(args))
        claim_folder(folder, record, source=path)
    dist.barrier()
    ids = usable_ids(layout, args.list, (check_image,), args.skip_bad, dist.main)
    require_outputs(ids, args.run / "cam", ".npz", "make_cam.py")
    todo = missing_ids(ids[dist.rank :: dist.world], [folder], ".png")
    dtype = set_precision(args.precision, dist.device)
    images = image_loader(layout, todo, args.num_workers, more=lambda i: load_cam(args.run / "cam" / f"{i}.npz"))
    with background() as submit:
        for image_id, image, (keys, cam) in tqdm(images, desc="make_seg_labels", unit="image", dynamic_ncols=True,
                                                 disable=not dist.main):
            boundary = mean_boundary(irn, image.to(dist.device), dtype)
            labels = pseudo_label(keys.numpy(), cam.to(dist.device), boundary, args)
            submit(save_label_png, folder / f"{image_id}.png", labels)
    usage.finish(dist.total(len(todo)), len(ids))
    close_dist()


if __name__ == "__main__":
    run_main(main)
