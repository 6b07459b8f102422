"""mIoU of exported CAMs against the masks, without and with dense CRF -> RUN/eval/cam.json"""

import argparse
from functools import partial

from data.layout import Layout
from data.usable import check_image, check_mask, usable_ids
from module.crf import dense_crf_labels
from module.labels import weighted_argmax
from tool.config import add_data_flag, make_parser, parse, rate, run_main, used_settings
from tool.io import CAM_FOLDERS, load_cam, require_outputs, save_json, save_settings
from tool.logging import StageUsage
from tool.metric import label_confusion_matrix, scores
from tool.parallel import parallel_map


def get_parser():
    parser = make_parser(__doc__)
    add_data_flag(parser)
    parser.add_argument("--list", default="train", help="lists/NAME.txt of the dataset")
    parser.add_argument("--maps", nargs="+", default=("ae_is_cam",), choices=tuple(CAM_FOLDERS),
                        help="which of make_cam.py's exports")
    parser.add_argument("--background_weight", type=rate, nargs="+", default=(0.8,),
                        help="factors on the background's score before the argmax, each evaluated")
    parser.add_argument("--sweep", type=rate, nargs="*", default=(), help="more factors, evaluated without CRF")
    parser.add_argument("--crf", action=argparse.BooleanOptionalAction, default=True,
                        help="evaluate the labels after dense CRF too")
    parser.add_argument("--crf_maps", nargs="+", choices=tuple(CAM_FOLDERS),
                        help="of --maps, those that dense CRF, the slow part, is run on; all when not given")
    return parser


def evaluate_image(layout, folder, weights, sweep, crf, image_id):
    """Confusion matrices of one image: {(weight, crf): [K,K+1]}."""
    keys, cam = load_cam(folder / f"{image_id}.npz")
    truth = layout.mask(image_id)
    image = layout.image(image_id).permute(1, 2, 0).numpy() if crf else None
    matrices = {}
    for weight in dict.fromkeys([*weights, *sweep]):
        labels = weighted_argmax(cam, weight)
        matrices[weight, False] = label_confusion_matrix(truth, keys[labels], layout.n_classes, image_id)
        if crf and weight in weights:
            labels = dense_crf_labels(image, labels, len(keys))
            matrices[weight, True] = label_confusion_matrix(truth, keys[labels], layout.n_classes, image_id)
    return matrices


def evaluate_map(layout, name, ids, args):
    """Scores of one kind of map: a list of {background_weight, crf, miou, accuracy, iou}."""
    folder = args.run / CAM_FOLDERS[name]
    crf = args.crf and name in (args.crf_maps or args.maps)
    evaluate = partial(evaluate_image, layout, folder, args.background_weight, args.sweep, crf)
    totals = {}
    for matrices in parallel_map(evaluate, ids, args.num_workers, f"eval_cam {folder.name}"):
        for key, matrix in matrices.items():
            totals[key] = totals.get(key, 0) + matrix
    return [{"background_weight": weight, "crf": crf, **scores(matrix, layout.class_names)}
            for (weight, crf), matrix in sorted(totals.items(), key=lambda item: (item[0][1], item[0][0]))]


def main():
    args = parse(get_parser(), "eval_cam")
    usage = StageUsage(args.run, "eval_cam")
    layout = Layout(args.dataset_root)
    ids = layout.ids(args.list)
    if not any(map(layout.has_mask, ids)):
        print(f"eval_cam: {layout.root} has no masks of {args.list}, nothing to evaluate")
        return
    ids = usable_ids(layout, args.list, (check_image, check_mask), args.skip_bad)
    for name in args.maps:
        require_outputs(ids, args.run / CAM_FOLDERS[name], ".npz", "make_cam.py")
    save_settings(args.run, "eval_cam", used_settings(args))
    results = {}
    for name in args.maps:
        results[name] = evaluate_map(layout, name, ids, args)
        for row in results[name]:
            print(f"{name:10s} background x{row['background_weight']:<5g} {'+CRF' if row['crf'] else '    '} "
                  f"mIoU {100 * row['miou']:.2f}")
    save_json(args.run / "eval" / "cam.json", {"list": args.list, "maps": results})
    usage.finish(len(ids), len(ids))


if __name__ == "__main__":
    run_main(main)
