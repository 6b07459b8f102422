"""mIoU of label images (pseudo labels) against the masks -> RUN/eval/seg.json"""

from functools import partial

from data.layout import Layout, read_label_png
from data.usable import check_image, check_mask, usable_ids
from tool.config import add_data_flag, make_parser, parse, run_main, used_settings
from tool.io import require_outputs, save_json, save_settings
from tool.logging import StageUsage
from tool.metric import label_confusion_matrix, scores
from tool.parallel import parallel_map


def get_parser():
    parser = make_parser(__doc__)
    add_data_flag(parser)
    parser.add_argument("--list", default="train_aug", help="lists/NAME.txt of the dataset")
    parser.add_argument("--folder", default="seg_label", help="folder of label images in the run's folder")
    return parser


def evaluate_image(layout, folder, image_id):
    truth, labels = layout.mask(image_id), read_label_png(folder / f"{image_id}.png")
    return label_confusion_matrix(truth, labels, layout.n_classes, image_id)


def evaluate_folder(layout, folder, ids, workers, description):
    """Scores of label images, see `tool.metric.scores`."""
    matrices = parallel_map(partial(evaluate_image, layout, folder), ids, workers, description)
    return scores(sum(matrices), layout.class_names)


def main():
    args = parse(get_parser(), "eval_seg")
    usage = StageUsage(args.run, "eval_seg")
    layout = Layout(args.dataset_root)
    ids = layout.ids(args.list)
    if not any(map(layout.has_mask, ids)):
        print(f"eval_seg: {layout.root} has no masks of {args.list}, nothing to evaluate")
        return
    ids = usable_ids(layout, args.list, (check_image, check_mask), args.skip_bad)
    require_outputs(ids, args.run / args.folder, ".png", "make_seg_labels.py")
    save_settings(args.run, "eval_seg", used_settings(args))
    result = evaluate_folder(layout, args.run / args.folder, ids, args.num_workers, "eval_seg")
    print(f"{args.folder} on {args.list}: mIoU {100 * result['miou']:.2f}")
    save_json(args.run / "eval" / "seg.json", {"list": args.list, "folder": args.folder, **result})
    usage.finish(len(ids), len(ids))


if __name__ == "__main__":
    run_main(main)
