"""Put the dataset in place: the toy set is made, VOC 2012 fetched and converted, your own images completed."""

import argparse

from data.collect import SOURCES, collect
from data.layout import Layout
from data.toy import make_toy
from data.usable import check_image, check_labels, check_mask_if_any, usable_ids
from tool.config import add_data_flag, make_parser, natural, parse, positive, run_main
from voc12.classes import COUNTS
from voc12.prepare import add_flags as add_voc12_flags
from voc12.prepare import prepare_voc12

CHECKED = {"train_aug": (check_image, check_labels), "train": (check_image, check_mask_if_any),
           "val": (check_image, check_mask_if_any)}


def get_parser():
    parser = make_parser(__doc__)
    add_data_flag(parser)
    parser.add_argument("--kind", default="folder", choices=("toy", "voc12", "folder"),
                        help="toy: made from --seed; voc12: from official trees, archives or a download; folder: your "
                             "own images (docs/own_data.md)")
    add_voc12_flags(parser)
    parser.add_argument("--labels_from", default="text", choices=tuple(SOURCES),
                        help="folder: image_labels.txt; Annotations/ID.xml; or images_by_class/CLASS/")
    parser.add_argument("--overwrite", action=argparse.BooleanOptionalAction, default=False,
                        help="folder: replace an image_labels.txt that says otherwise")
    parser.add_argument("--train", type=positive, default=200, help="toy: images with masks for evaluation")
    parser.add_argument("--train_aug", type=positive, default=400, help="toy: training images")
    parser.add_argument("--val", type=positive, default=100, help="toy: validation images")
    parser.add_argument("--size", type=positive, default=160, help="toy: long side in pixels")
    parser.add_argument("--seed", type=natural, default=0, help="toy")
    return parser


def main():
    args = parse(get_parser(), "dataset")
    if args.kind == "toy":
        make_toy(args.dataset_root, args.train, args.train_aug, args.val, args.size, args.seed)
    elif args.kind == "voc12":
        prepare_voc12(args.dataset_root, args.sources, args.voc_root, args.aug_dir, args.download, args.mirror,
                      args.skip_difficult, args.num_workers, COUNTS if args.check_counts else {})
    else:
        collect(args.dataset_root, args.labels_from, args.overwrite)
    layout = Layout(args.dataset_root)
    lists = {path.stem: layout.ids(path.stem) for path in sorted((layout.root / "lists").glob("*.txt"))}
    for name in lists.keys() & CHECKED.keys():  # now, not when a stage comes to them
        usable_ids(layout, name, CHECKED[name], args.skip_bad)
    print(f"{layout.root}: {layout.n_classes} classes, " + ", ".join(f"{k} {len(v)}" for k, v in lists.items()))


if __name__ == "__main__":
    run_main(main)
