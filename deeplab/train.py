"""Train DeepLabV3 on the pseudo labels -> RUN/ckpt/deeplab.pt"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.layout import Layout, read_label_png
from data.loader import TrainingSet, training_loader
from data.transforms import CropTransform
from data.usable import check_image, check_mask, digest, usable_ids
from deeplab.model import build
from errors import UserError
from tool.config import (add_data_flag, add_network_flags, add_training_flags, make_parser, parse, positive, rate,
                         run_main, settings)
from tool.dist import close_dist
from tool.engine import fit, start_training
from tool.io import require_outputs, save_class_names, source_record
from tool.logging import StageUsage


def get_parser():
    parser = make_parser(__doc__)
    add_data_flag(parser)
    add_network_flags(parser)
    parser.set_defaults(frozen_stages=0, batch_norm="train")
    add_training_flags(parser, batch_size=16, crop_size=512, lr=0.01)
    parser.add_argument("--max_iters", type=positive, default=20_000, help="training steps")
    parser.add_argument("--list", default="train_aug", help="lists/NAME.txt of the dataset")
    parser.add_argument("--labels", default="seg_label",
                        help="folder of label images in the run's folder, or `truth` for full supervision")
    parser.add_argument("--scale", type=rate, nargs=2, default=(0.5, 2.0), metavar=("LOW", "HIGH"),
                        help="range of the resizing in training")
    return parser


def step_losses(criterion, network, batch):
    return {"loss": criterion(network(batch["image"]), batch["target"])}


def main():
    args = parse(get_parser(), "deeplab_train")
    usage = StageUsage(args.run, "deeplab_train")
    layout = Layout(args.dataset_root)
    truth = args.labels == "truth"
    record = {**settings(args), "source": None if truth else source_record(args.run / args.labels)}
    path = args.run / "ckpt" / "deeplab.pt"
    dist = start_training(args, "deeplab_train", path, record)
    if dist is None:
        return
    if dist.main:
        save_class_names(args.run, layout.class_names)
    if args.batch_size < 2 * dist.world:
        raise UserError(f"batch_size {args.batch_size} on {dist.world} process(es): batch norm of DeepLab's image "
                        "pooling needs two images or more on each")
    checks = (check_image, check_mask) if truth else (check_image,)
    ids = usable_ids(layout, args.list, checks, args.skip_bad, dist.main)
    if not truth:
        require_outputs(ids, args.run / args.labels, ".png", "make_seg_labels.py")
    model, criterion = build(args, layout.n_classes)
    target = layout.mask if truth else lambda image_id: read_label_png(args.run / args.labels / f"{image_id}.png")
    images = TrainingSet(layout, ids, CropTransform(args.crop_size, scale=args.scale), args.seed, target=target)
    loader = partial(training_loader, images, args.batch_size, args.max_iters, rank=dist.rank, world=dist.world,
                     workers=args.num_workers)
    done = fit(model, partial(step_losses, criterion), model.parameter_groups(args.lr), loader, args.max_iters, args,
               dist, path, record, images=digest(ids))
    usage.finish(done, args.max_iters)
    close_dist()


if __name__ == "__main__":
    run_main(main)
