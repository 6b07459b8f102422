"""Labels for IRN from CAMs by dense CRF, unsure pixels 255 -> RUN/ir_label/ID.png"""

from functools import partial

from data.layout import Layout
from data.usable import check_image, usable_ids
from module.crf import dense_crf_labels
from module.labels import ir_labels, weighted_argmax
from tool.config import add_data_flag, make_parser, parse, rate, run_main, settings, used_settings
from tool.io import claim_folder, load_cam, missing_ids, require_outputs, save_settings
from tool.logging import StageUsage
from tool.parallel import is_main, parallel_map, share
from voc12.palette import save_label_png


def get_parser():
    parser = make_parser(__doc__)
    add_data_flag(parser)
    parser.add_argument("--list", default="train_aug", help="lists/NAME.txt of the dataset")
    parser.add_argument("--background_weight", type=rate, default=0.8,
                        help="factor on the background's score for the labels that make the confident background")
    return parser


def label_image(layout, cam_folder, folder, background_weight, image_id):
    keys, cam = load_cam(cam_folder / f"{image_id}.npz")
    image = layout.image(image_id).permute(1, 2, 0).numpy()
    foreground, background = (keys[dense_crf_labels(image, weighted_argmax(cam, weight), len(keys))]
                              for weight in (1.0, background_weight))
    save_label_png(folder / f"{image_id}.png", ir_labels(foreground, background))


def main():
    args = parse(get_parser(), "make_ir_labels")
    usage = StageUsage(args.run, "make_ir_labels")
    layout = Layout(args.dataset_root)
    folder = args.run / "ir_label"
    record = settings(args, leave_out=("list",))
    save_settings(args.run, "make_ir_labels", used_settings(args))
    claim_folder(folder, record, source=args.run / "cam")
    ids = usable_ids(layout, args.list, (check_image,), args.skip_bad, is_main())
    require_outputs(ids, args.run / "cam", ".npz", "make_cam.py")
    missing = set(missing_ids(ids, [folder], ".png"))
    todo = [i for i in share(ids) if i in missing]
    work = partial(label_image, layout, args.run / "cam", folder, args.background_weight)
    for _ in parallel_map(work, todo, args.num_workers, "make_ir_labels"):
        pass
    usage.finish(len(missing), len(ids))


if __name__ == "__main__":
    run_main(main)
