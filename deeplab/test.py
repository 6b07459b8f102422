"""Segment a list with the trained DeepLabV3, several scales, flips and dense CRF -> RUN/deeplab/LIST[_crf]/ID.png"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.nn.functional as F
from tqdm import tqdm

from data.layout import Layout
from data.loader import image_loader
from data.transforms import scaled
from data.usable import check_image, check_mask_if_any, usable_ids
from deeplab.model import build
from deeplab.submission import COMPETITIONS, check_request, write_submission
from eval_seg import evaluate_folder
from module.crf import dense_crf_probabilities
from tool.checkpoint import load_model, trained_settings
from tool.config import (add_data_flag, add_precision_flag, make_parser, parse, rate, run_main, settings,
                         used_settings)
from tool.dist import close_dist, init_dist, set_precision
from tool.io import claim_folder, missing_ids, save_json, save_settings
from tool.logging import StageUsage
from tool.parallel import background, drain, is_main, process_pool
from voc12.palette import save_label_png


def get_parser():
    parser = make_parser(__doc__)
    add_data_flag(parser)
    parser.add_argument("--list", "--split", default="val", help="lists/NAME.txt of the dataset")
    parser.add_argument("--scales", type=rate, nargs="+", default=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75))
    parser.add_argument("--flip", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--crf", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--submission", help="archive for VOC's evaluation server to write, .tgz: of the labels "
                                             "after CRF, or with --no-crf of those before")
    parser.add_argument("--competition", default="comp6", choices=COMPETITIONS,
                        help="comp5: trained on VOC 2012's own data alone; comp6: on other data too")
    add_precision_flag(parser)
    return parser


@torch.inference_mode()
def multi_scale_probabilities(model, image, scales, flip, dtype=None):
    """image: uint8 [3,H,W]. Returns the mean class probabilities [K,H,W] over scales and flips, float32."""
    total = 0
    for scale in scales:
        views = scaled(image, scale)[None].float() / 255
        if flip:
            views = torch.cat([views, views.flip(3)])
        with torch.autocast(image.device.type, dtype, enabled=dtype is not None):
            logits = model(views.contiguous(memory_format=torch.channels_last))
        probabilities = F.interpolate(logits, image.shape[1:], mode="bilinear", align_corners=False).softmax(dim=1)
        total = total + probabilities[0] + (probabilities[1].flip(2) if flip else 0)
    return total / total.sum(dim=0)


def load_trained(run, n_classes, device):
    """The run's trained DeepLabV3 in eval mode."""
    path = run / "ckpt" / "deeplab.pt"
    trained = argparse.Namespace(**{**trained_settings(path), "weights": "none"})
    return load_model(build(trained, n_classes)[0], path, device)


def save_refined(path, image, classes, probabilities):
    """The CRF's labels of one image; in a process of the pool."""
    save_label_png(path, classes[dense_crf_probabilities(image, probabilities).argmax(axis=0)])


def segment(model, layout, ids, folders, args, dist, pool):
    """Write the labels of the images, folders[0] without and folders[1], if there is one, with CRF."""
    dtype = set_precision(args.precision, dist.device)
    waiting = []
    with background() as submit:
        for image_id, image in tqdm(image_loader(layout, ids, min(1, args.num_workers)), desc="deeplab_test",
                                    unit="image", dynamic_ncols=True, disable=not dist.main):
            probabilities = multi_scale_probabilities(model, image.to(dist.device), args.scales, args.flip, dtype)
            submit(save_label_png, folders[0] / f"{image_id}.png", probabilities.argmax(dim=0).cpu().numpy())
            if args.crf:
                # Only classes with any probability take part: the others cost time and change nothing.
                classes = (probabilities.amax(dim=(1, 2)) > 0.01).nonzero()[:, 0]
                kept = probabilities[classes] / probabilities[classes].sum(dim=0)
                pixels = image.permute(1, 2, 0).contiguous().numpy()
                waiting.append(pool.submit(save_refined, folders[1] / f"{image_id}.png", pixels,
                                           classes.cpu().numpy(), kept.cpu().numpy()))
                drain(waiting, limit=4 * max(1, args.num_workers))
        drain(waiting)


def evaluate(layout, ids, folders, args):
    """Scores of the folders, see `segment` -> RUN/eval/deeplab_LIST.json; without masks a line that says so."""
    if not any(map(layout.has_mask, ids)):
        print(f"deeplab_test: {layout.root} has no masks of {args.list}, nothing to evaluate")
        return
    results = {}
    for name, folder in zip(("plain", "crf"), folders):
        results[name] = evaluate_folder(layout, folder, ids, args.num_workers, f"mIoU {folder.name}")
        print(f"DeepLabV3 on {args.list}{' +CRF' if name == 'crf' else ''}: mIoU {100 * results[name]['miou']:.2f}")
    save_json(args.run / "eval" / f"deeplab_{args.list}.json", {"list": args.list, **results})


def main():
    args = parse(get_parser(), "deeplab_test")
    usage = StageUsage(args.run, "deeplab_test")
    layout = Layout(args.dataset_root)
    ids = usable_ids(layout, args.list, (check_image, check_mask_if_any), args.skip_bad, is_main())
    if args.submission:
        check_request(args.submission, ids)  # before hours of work
    folders = [args.run / "deeplab" / name for name in (args.list, f"{args.list}_crf")[: 1 + args.crf]]
    with process_pool(args.num_workers if args.crf else 1) as pool:
        dist = init_dist()
        if dist.main:
            record = settings(args, leave_out=("list", "crf", "submission", "competition"))
            save_settings(args.run, "deeplab_test", used_settings(args))
            for folder in folders:
                claim_folder(folder, record, source=args.run / "ckpt" / "deeplab.pt")
        dist.barrier()
        model = load_trained(args.run, layout.n_classes, dist.device)
        todo = missing_ids(ids[dist.rank :: dist.world], folders, ".png")
        segment(model, layout, todo, folders, args, dist, pool)
        done = dist.total(len(todo))
    close_dist()
    if dist.main:
        evaluate(layout, ids, folders, args)
        if args.submission:
            n_files = write_submission(args.submission, folders[-1], layout, ids, args.competition)
            print(f"{args.submission}: {n_files} label images of {args.competition}, checked")
    usage.finish(done, len(ids))


if __name__ == "__main__":
    run_main(main)
