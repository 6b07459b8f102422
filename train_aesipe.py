"""Train AE-SIPE (or SIPE, with the switches off) from image-level labels -> RUN/ckpt/aesipe.pt"""

import argparse
from functools import partial

from data.layout import Layout
from data.loader import TrainingSet, steps_per_epoch, training_loader
from data.transforms import CropTransform
from data.usable import check_image, check_labels, digest, usable_ids
from module.affinity import AE_SEQUENCE
from net.aesipe import build
from tool.config import (add_data_flag, add_network_flags, add_training_flags, make_parser, natural, parse, positive,
                         rate, run_main, settings)
from tool.dist import close_dist, set_precision
from tool.engine import fit, start_training
from tool.io import save_class_names
from tool.logging import StageUsage
from viz.watch import watch_maps

CLIP = 1.0  # bound on the gradient norm


def get_parser():
    parser = make_parser(__doc__)
    add_data_flag(parser)
    add_network_flags(parser)
    add_method_flags(parser)
    add_training_flags(parser, batch_size=16, max_epochs=5, crop_size=512, lr=1e-2)
    parser.add_argument("--lr_new", type=rate, default=1e-1, help="learning rate of new layers, per step")
    parser.add_argument("--train_list", default="train_aug", help="lists/NAME.txt of the dataset")
    parser.add_argument("--long_side", type=positive, nargs=2, default=(320, 640), metavar=("LOW", "HIGH"),
                        help="range of the image's longer side in training, pixels")
    parser.add_argument("--val_list", default="train", help="list with masks on which training is watched")
    parser.add_argument("--val_every", type=natural, default=500,
                        help="steps between measurements of the maps' mIoU, the last step included; 0: never")
    parser.add_argument("--val_images", type=positive, default=100, help="how many, spread over val_list")
    return parser


def add_method_flags(parser):
    """The switches between SIPE, AE-SIPE and the rows of the paper's Tables 2 and 3."""
    parser.add_argument("--structure_features", default="hierarchical", choices=("hierarchical", "semantic"),
                        help="of the structure analysis: hierarchical (+HF) or stage 4 (SIPE)")
    parser.add_argument("--ae", action=argparse.BooleanOptionalAction, default=True,
                        help="affinity enhancement: run --sequence after the first IS-CAM")
    parser.add_argument("--sequence", nargs="+", default=AE_SEQUENCE, choices=AE_SEQUENCE,
                        help="modules after the first IS-CAM, in order (Table 3)")
    parser.add_argument("--normalization", default="minmax", choices=("minmax", "max", "none"),
                        help="of the last map, per class over the image")
    parser.add_argument("--cam_background", default="all", choices=("all", "present"),
                        help="background of the CAM: 1 - max over all classes, or over the image's own")


def step_losses(criterion, network, batch):
    return criterion(network(batch["image"], batch["labels"], batch["box"]), batch["labels"])


def main():
    args = parse(get_parser(), "train_aesipe")
    usage = StageUsage(args.run, "train_aesipe")
    layout = Layout(args.dataset_root)
    record, path = settings(args), args.run / "ckpt" / "aesipe.pt"
    dist = start_training(args, "train_aesipe", path, record)
    if dist is None:
        return
    if dist.main:
        save_class_names(args.run, layout.class_names)
    model, criterion = build(args, layout.n_classes)
    transform = CropTransform(args.crop_size, long_side=args.long_side)
    ids = usable_ids(layout, args.train_list, (check_image, check_labels), args.skip_bad, dist.main)
    images = TrainingSet(layout, ids, transform, args.seed)
    steps = args.max_epochs * steps_per_epoch(len(images), args.batch_size)
    loader = partial(training_loader, images, args.batch_size, steps, rank=dist.rank, world=dist.world,
                     workers=args.num_workers)
    watch = watch_maps(layout, args, set_precision(args.precision, dist.device), dist)
    done = fit(model, partial(step_losses, criterion), model.parameter_groups(args.lr, args.lr_new), loader, steps,
               args, dist, path, record, images=digest(ids), clip=CLIP, watch=watch, watch_every=args.val_every)
    usage.finish(done, steps)
    close_dist()


if __name__ == "__main__":
    run_main(main)
