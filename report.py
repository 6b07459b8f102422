"""One HTML page on a run, compared with others -> RUN/report/index.html, report.md and panels.png"""

import argparse
from functools import partial
from pathlib import Path

import deeplab.test
import make_cam
from data.layout import Layout
from data.usable import check_image, check_mask_if_any, usable_ids
from errors import UserError
from files import atomic
from tool.config import add_data_flag, make_parser, natural, parse, positive, rate, run_main, used_settings
from tool.dist import init_dist, set_precision
from tool.io import save_settings
from tool.logging import StageUsage
from viz.failure import count_failures
from viz.figures import caption, check_images, draw_grid, strip, write_figures
from viz.gallery import Artist
from viz.network import takes_new_seeds
from viz.page import write_page
from viz.runs import map_folders, read_runs
from viz.sweep import score_maps
from viz.tables import class_table, score_table
from viz.watch import spread
from voc12.palette import voc_palette


def get_parser():
    parser = make_parser(__doc__)
    add_data_flag(parser)
    parser.add_argument("runs", nargs="*", metavar="RUN",
                        help="folders of runs, before any flag that takes a list: the first is judged and gets the "
                             "report, the second is its baseline, others are compared too; none: the run of "
                             "--run_root and --session_name")
    parser.set_defaults(dataset_root=None)  # None: the one that the run names in its settings
    parser.add_argument("--list", default="train", help="list whose images are shown and counted")
    parser.add_argument("--images", type=positive, default=8,
                        help="number of images in panels.png, spread over the list, and in each group of the page")
    parser.add_argument("--scales", type=rate, nargs="+", default=(1.0,), help="of the shown predictions")
    parser.add_argument("--background_weight", type=rate, default=1.0,
                        help="factor on the background's score for the outlines in the maps and the order of images")
    parser.add_argument("--per_class", action=argparse.BooleanOptionalAction, default=True,
                        help="tables of IoU per class")
    parser.add_argument("--failure_images", type=natural, default=300,
                        help="images, spread over the list, whose seeds before and after AE are counted; 0: none")
    parser.add_argument("--figure", nargs="*", default=(), metavar="ID",
                        help="draw the paper's figures 1 and 3 for these images")
    parser.add_argument("--out", help="folder to write to instead of RUN/report")
    return parser


def resolve(args):
    """Let the first named run stand for --run_root and --session_name, and find the dataset. Returns the runs."""
    runs = read_runs(args.runs or [args.run])
    if args.runs:
        args.run = runs[0].path
        args.run_root, args.session_name = str(args.run.parent), args.run.name
    if args.dataset_root is None:
        known = [values["dataset_root"] for values in runs[0].config.values() if values.get("dataset_root")]
        if not known:
            raise UserError(f"{args.run / 'config.yaml'}: names no dataset: give --dataset_root")
        args.dataset_root = known[0]
    return runs


def load_localizer(run, n_classes, device):
    """The run's AESIPE network as it exported its maps, or None if it has not finished training."""
    if not (run.path / "ckpt" / "aesipe.yaml").exists():
        return None
    exported = run.config.get("make_cam", {})
    return make_cam.load_trained(run.path, n_classes, device, {key: exported.get(key) for key in make_cam.METHOD})


def predict(model, scales, device, pixels):
    """Labels [H,W] of the segmentation network for an image uint8 [3,H,W]."""
    probabilities = deeplab.test.multi_scale_probabilities(model, pixels.to(device), scales, flip=True)
    return probabilities.argmax(dim=0).cpu().numpy()


def load_predictor(run, n_classes, scales, device):
    """`predict` with the run's DeepLabV3, or None if it has not finished training."""
    if not (run.path / "ckpt" / "deeplab.yaml").exists():
        return None
    return partial(predict, deeplab.test.load_trained(run.path, n_classes, device), scales, device)


def write_markdown(path, run, title, per_class):
    """The tables of mIoU and IoU per class as report.md; the first is printed too."""
    table = score_table(run.scores) if run.scores else "Nothing was evaluated: there are no masks."
    print(table)
    text = f"# {title}\n\n{table}\n"
    if per_class and run.scores:
        text += f"\nIoU per class, percent:\n\n{class_table(run.scores)}\n"
    with atomic(path) as temporary:
        temporary.write_text(text)


def main():
    args = parse(get_parser(), "report")
    runs = resolve(args)
    usage = StageUsage(args.run, "report")
    layout = Layout(args.dataset_root)
    ids = usable_ids(layout, args.list, (check_image, check_mask_if_any), args.skip_bad)
    check_images(layout, runs[0], args.figure)
    folder = Path(args.out) if args.out else args.run / "report"
    if not args.out:
        save_settings(args.run, "report", used_settings(args))
    # Its processes are forked, so it comes before torch computes anything.
    swept = score_maps(layout, map_folders(runs), ids, args.background_weight, args.num_workers)
    device, palette = init_dist().device, voc_palette()
    set_precision("float32", device)
    models = [load_localizer(run, layout.n_classes, device) if number == 0 or args.figure else None
              for number, run in enumerate(runs)]
    predictor = load_predictor(runs[0], layout.n_classes, args.scales, device)
    figures = []
    if args.figure:
        figures = write_figures(layout, runs, models, args.figure, palette, args.background_weight, folder)
    write_markdown(folder / "report.md", runs[0], args.session_name, args.per_class)
    shown = spread(ids, args.images)
    draw_grid([strip(layout, runs[0], i, predictor, palette, args.background_weight) for i in shown],
              folder / "panels.png", captions=[caption(layout, i) for i in shown])
    changes = []
    if models[0] is not None and takes_new_seeds(models[0]):
        changes = count_failures(layout, models[0], spread(ids, args.failure_images))
    artist = Artist(layout, runs[0], runs[1:], models[0], predictor, palette, args.background_weight)
    write_page(folder / "index.html", runs, swept, artist, ids, changes, figures, args)
    print(", ".join(str(folder / name) for name in ("index.html", "report.md", "panels.png")))
    if not args.out:
        usage.finish(len(shown), len(shown))


if __name__ == "__main__":
    run_main(main)
