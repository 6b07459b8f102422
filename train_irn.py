"""Train IRN, class boundaries and displacements, on the IR labels -> RUN/ckpt/irn.pt"""

from functools import partial

import torch
from tqdm import tqdm

from data.layout import Layout, read_label_png
from data.loader import TrainingSet, image_loader, steps_per_epoch, training_loader
from data.transforms import CropTransform
from data.usable import check_image, digest, usable_ids
from errors import UserError
from module.irn_loss import affinity_displacement_loss, irn_loss
from net.backbone import build_backbone
from net.irn import IRN
from tool.config import (add_data_flag, add_network_flags, add_training_flags, make_parser, parse, radius, rate, run_main,
                         settings)
from tool.dist import close_dist, set_precision
from tool.engine import fit, start_training
from tool.io import require_outputs, source_record
from tool.logging import StageUsage

STRIDE = 4  # of IRN's maps


def get_parser():
    parser = make_parser(__doc__)
    add_data_flag(parser)
    add_network_flags(parser, trainable=False)
    parser.set_defaults(backbone="resnet50")
    add_training_flags(parser, batch_size=32, max_epochs=3, crop_size=512, lr=0.1)
    parser.add_argument("--list", default="train_aug", help="lists/NAME.txt of the dataset")
    parser.add_argument("--scale", type=rate, nargs=2, default=(0.5, 1.5), metavar=("LOW", "HIGH"),
                        help="range of the resizing in training")
    parser.add_argument("--radius", type=radius, default=10, help="of the pairs, pixels at stride 4")
    return parser


def step_losses(radius, network, batch):
    output = network(batch["image"])
    labels = batch["target"][:, ::STRIDE, ::STRIDE]
    with torch.autocast(labels.device.type, enabled=False):
        terms = affinity_displacement_loss(output["boundary"].float(), output["displacement"].float(), labels, radius)
        return {"loss": irn_loss(terms), **terms}


@torch.inference_mode()
def measure_mean_displacement(images, dtype, dist, network):
    """Set the mean displacement over the training images: the loss leaves it free."""
    total, count = torch.zeros(2, device=dist.device), 0
    network.set_mean_displacement(torch.zeros(2))
    for _, image in tqdm(images, desc="mean displacement", disable=not dist.main, dynamic_ncols=True):
        with torch.autocast(dist.device.type, dtype, enabled=dtype is not None):
            displacement = network(image[None].to(dist.device).float() / 255)["displacement"]
        total += displacement.float().mean(dim=(0, 2, 3))
        count += 1
    total = dist.sum(torch.cat([total, total.new_tensor([count])]))
    network.set_mean_displacement(total[:2] / total[2])


def main():
    args = parse(get_parser(), "train_irn")
    usage = StageUsage(args.run, "train_irn")
    layout = Layout(args.dataset_root)
    if args.crop_size // STRIDE < 2 * args.radius - 1:
        raise UserError(f"crop_size {args.crop_size} is too small for pairs within radius {args.radius} at stride "
                        f"{STRIDE}: at least {STRIDE * (2 * args.radius - 1)} is needed")
    record, path = {**settings(args), "source": source_record(args.run / "ir_label")}, args.run / "ckpt" / "irn.pt"
    dist = start_training(args, "train_irn", path, record)
    if dist is None:
        return
    ids = usable_ids(layout, args.list, (check_image,), args.skip_bad, dist.main)
    require_outputs(ids, args.run / "ir_label", ".png", "make_ir_labels.py")
    model = IRN(build_backbone(args.backbone, args.weights))
    images = TrainingSet(layout, ids, CropTransform(args.crop_size, scale=args.scale), args.seed,
                         target=lambda image_id: read_label_png(args.run / "ir_label" / f"{image_id}.png"))
    steps = args.max_epochs * steps_per_epoch(len(images), args.batch_size)
    loader = partial(training_loader, images, args.batch_size, steps, rank=dist.rank, world=dist.world,
                     workers=args.num_workers)
    whole = image_loader(layout, ids[dist.rank :: dist.world], args.num_workers)
    dtype = set_precision(args.precision, dist.device)
    done = fit(model, partial(step_losses, args.radius), model.parameter_groups(args.lr), loader, steps, args, dist,
               path, record, images=digest(ids), after=partial(measure_mean_displacement, whole, dtype, dist))
    usage.finish(done, steps)
    close_dist()


if __name__ == "__main__":
    run_main(main)
