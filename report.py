"""Table of mIoU per stage and pictures of all stages side by side -> RUN/report/"""

import argparse
import warnings

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch

from data.layout import Layout, read_label_png
from deeplab.test import load_trained, multi_scale_probabilities
from tool.config import make_parser, parse, positive, rate, run_main, used_settings
from tool.io import CAM_FOLDERS, atomic, load_cam, load_json, save_settings
from tool.logging import StageUsage
from viz.panels import colour_labels, colour_scores
from voc12.palette import voc_palette

MAP_NAMES = {"cam": "CAM", "is_cam": "IS-CAM", "ae_is_cam": "AE-IS-CAM"}
COLUMNS = ("image", *MAP_NAMES.values(), "pseudo label", "prediction", "truth")


def get_parser():
    parser = make_parser(__doc__)
    parser.add_argument("--list", default="train", help="list whose images are shown")
    parser.add_argument("--images", type=positive, default=8, help="number of images shown, spread over the list")
    parser.add_argument("--scales", type=rate, nargs="+", default=(1.0,), help="of the shown predictions")
    parser.add_argument("--background_weight", type=rate, default=1.0,
                        help="factor on the background's score for the outlines in the maps")
    parser.add_argument("--per_class", action=argparse.BooleanOptionalAction, default=True,
                        help="a second table, IoU per class")
    return parser


def collect_scores(run):
    """All scores of a run: a list of (stage, list of the dataset, background weight or None, crf, scores)."""
    rows = []
    cams = load_json(run / "eval" / "cam.json")
    for name in MAP_NAMES:
        for result in (cams or {"maps": {}})["maps"].get(name, []):
            rows.append((MAP_NAMES[name], cams["list"], result["background_weight"], result["crf"], result))
    pseudo = load_json(run / "eval" / "seg.json")
    if pseudo:
        rows.append(("pseudo label", pseudo["list"], None, False, pseudo))
    for path in sorted((run / "eval").glob("deeplab_*.json")):
        result = load_json(path)
        for key in ("plain", "crf"):
            if key in result:
                rows.append(("DeepLabV3", result["list"], None, key == "crf", result[key]))
    return rows


def score_table(rows):
    """Markdown table of mIoU in percent, without and with CRF in one line."""
    lines = ["| stage | list | background | mIoU | + CRF |", "| --- | --- | --- | --- | --- |"]
    merged = {}
    for stage, list_name, weight, crf, result in rows:
        merged.setdefault((stage, list_name, weight), {})[crf] = result["miou"]
    for (stage, list_name, weight), values in merged.items():
        cells = [f"{100 * values[crf]:.2f}" if crf in values else "" for crf in (False, True)]
        lines.append(f"| {stage} | {list_name} | {'' if weight is None else f'x {weight:g}'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def class_table(rows):
    """Markdown table of IoU per class in percent, one line a class that occurs in the truth."""
    titles = [f"{stage}{'' if weight is None else f' x{weight:g}'}{' +CRF' if crf else ''}"
              for stage, _, weight, crf, _ in rows]
    lines = ["| class | " + " | ".join(titles) + " |", "| --- |" + " --- |" * len(rows)]
    for name in rows[0][4]["iou"]:
        values = [result["iou"][name] for *_, result in rows]
        if any(value is not None for value in values):
            cells = ["" if value is None else f"{100 * value:.1f}" for value in values]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def panels(layout, run, image_id, model, args):
    """The pictures of one image in the order of COLUMNS, uint8 [H,W,3], None where the run has no such output."""
    palette = voc_palette()
    pixels = layout.image(image_id)
    image = pixels.permute(1, 2, 0).numpy()
    pictures = [image]
    for name in MAP_NAMES:
        path = run / CAM_FOLDERS[name] / f"{image_id}.npz"
        pictures.append(colour_scores(image, *load_cam(path), palette, args.background_weight)
                        if path.exists() else None)
    pseudo = run / "seg_label" / f"{image_id}.png"
    prediction = None
    if model is not None:
        prediction = multi_scale_probabilities(model, pixels, args.scales, flip=True).argmax(dim=0).numpy()
    pictures.append(colour_labels(read_label_png(pseudo) if pseudo.exists() else None, palette))
    pictures.append(colour_labels(prediction, palette))
    pictures.append(colour_labels(layout.mask(image_id) if layout.has_mask(image_id) else None, palette))
    return pictures


def caption(layout, image_id):
    """The image's ID and classes; of an image that has no labels, as in a test list, its ID."""
    if not layout.is_labelled(image_id):
        return image_id
    return f"{image_id}: " + ", ".join(layout.class_names[k + 1] for k in layout.labels(image_id).nonzero()[:, 0])


def draw_panels(layout, run, ids, args, path):
    """One line of pictures an image, written as a PNG."""
    deeplab = run / "ckpt" / "deeplab.pt"
    model = load_trained(run, layout.n_classes, torch.device("cpu")) if deeplab.exists() else None
    rows = [panels(layout, run, image_id, model, args) for image_id in ids]
    figure, axes = plt.subplots(len(rows), len(COLUMNS), figsize=(2 * len(COLUMNS), 1.8 * len(rows)), squeeze=False)
    for title, axis in zip(COLUMNS, axes[0]):
        axis.set_title(title, fontsize=10)
    for image_id, pictures, line in zip(ids, rows, axes):
        for picture, axis in zip(pictures, line):
            axis.axis("off")
            if picture is not None:
                axis.imshow(picture)
        line[0].text(0, -0.02, caption(layout, image_id), transform=line[0].transAxes, fontsize=7, va="top",
                     parse_math=False)  # a $ in a name is a $
    with atomic(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in another script is drawn as boxes
        figure.tight_layout(pad=0.3)
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)


def main():
    args = parse(get_parser(), "report")
    usage = StageUsage(args.run, "report")
    layout = Layout(args.dataset_root)
    save_settings(args.run, "report", used_settings(args))
    folder = args.run / "report"
    rows = collect_scores(args.run)
    table = score_table(rows) if rows else "Nothing was evaluated: there are no masks."
    text = f"# {args.session_name}\n\n{table}\n"
    print(table)
    if args.per_class and rows:
        text += f"\nIoU per class, percent:\n\n{class_table(rows)}\n"
    with atomic(folder / "report.md") as temporary:
        temporary.write_text(text)
    ids = layout.ids(args.list)
    shown = ids[:: max(1, len(ids) // args.images)][: args.images]
    draw_panels(layout, args.run, shown, args, folder / "panels.png")
    print(f"{folder / 'report.md'}, {folder / 'panels.png'}")
    usage.finish(len(shown), len(shown))


if __name__ == "__main__":
    run_main(main)
