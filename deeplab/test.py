"""Segment a list with the trained DeepLabV3, several scales, flips and dense CRF -> RUN/deeplab/LIST[_crf]/ID.png"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.content import class_input, inputs, stamps
from data.layout import Layout
from data.usable import check_mask_if_any, check_scaled_image, usable_ids
from tool.config import parse, run_main
from tool.io import outdated, save_json, save_settings
from tool.parallel import drain, is_alone, is_main, process_pool, share
from tool.record import claim_folder, evaluated, make_record, source
from tool.settings import plain
from tool.tracker import track_scores
from tool.usage import StageUsage


def segment(settings, layout, todo, stamps, folders):
    """Write the labels of this process's images, folders[0] without and folders[1], if there is one, with CRF.

    Returns how many images all processes did together.
    """
    from infer.segmentation import save_refined  # before the pool is forked, whose processes then have it
    from tool.dist import close_dist, init_dist

    with process_pool(settings.num_workers if settings.crf else 1) as pool:
        dist = init_dist()

        def refine(*work):
            return pool.submit(save_refined, *work)

        _segment(settings, layout, todo, stamps, folders, dist, refine)
        done = dist.total(len(todo))
    close_dist()
    return done


def _segment(settings, layout, todo, stamps, folders, dist, refine):
    from tqdm import tqdm

    from data.loader import image_loader
    from infer.segmentation import load_deeplab, multi_scale_probabilities
    from tool.dist import set_precision
    from tool.parallel import background
    from voc12.palette import save_label_png

    model = load_deeplab(settings.run, layout.n_classes, dist.device)
    dtype = set_precision(settings.precision, dist.device)
    waiting = []
    with background() as submit:
        for image_id, image in tqdm(
            image_loader(layout, todo, min(1, settings.num_workers)),
            desc="deeplab_test",
            unit="image",
            dynamic_ncols=True,
            disable=not dist.main,
        ):
            probabilities = multi_scale_probabilities(
                model, image.to(dist.device), settings.scales, settings.flip, dtype
            )
            submit(
                save_label_png,
                folders[0] / f"{image_id}.png",
                probabilities.argmax(dim=0).cpu().numpy(),
                stamps[image_id],
            )
            if settings.crf:
                # Only classes with any probability take part: the others cost time and change nothing.
                classes = (probabilities.amax(dim=(1, 2)) > 0.01).nonzero()[:, 0]
                kept = probabilities[classes] / probabilities[classes].sum(dim=0)
                pixels = image.permute(1, 2, 0).contiguous().numpy()
                waiting.append(
                    refine(
                        folders[1] / f"{image_id}.png",
                        pixels,
                        classes.cpu().numpy(),
                        kept.cpu().numpy(),
                        stamps[image_id],
                    )
                )
                drain(waiting, limit=4 * max(1, settings.num_workers))
        drain(waiting)


def evaluate(layout, ids, folders, settings):
    """Scores of the folders, see `segment` -> RUN/eval/deeplab_LIST.json; without masks a line that says so."""
    if not any(map(layout.has_mask, ids)):
        print(f"deeplab_test: {layout.root} has no masks of {settings.list}, nothing to evaluate")
        return
    names, sources = ("plain", "crf")[: len(folders)], {}
    for folder in folders:
        sources |= source(settings.run, str(folder.relative_to(settings.run)))
    path = settings.run / "eval" / f"deeplab_{settings.list}.json"
    record = make_record("deeplab_test", settings, inputs(layout, ids, "images", "masks"), sources)
    result = evaluated(path, record)
    if result is None:
        from infer.evaluate import evaluate_folder

        found = {
            name: evaluate_folder(layout, folder, ids, settings.num_workers, f"mIoU {folder.name}")
            for name, folder in zip(names, folders)
        }
        result = {"list": settings.list, **found, "record": record}
        save_json(path, result)
        track_scores(settings, "deeplab_test", {f"{settings.list}_{name}": found[name]["miou"] for name in names})
    for name in names:
        print(f"DeepLabV3 on {settings.list}{' +CRF' if name == 'crf' else ''}: mIoU {100 * result[name]['miou']:.2f}")


def main():
    settings = parse("deeplab_test", __doc__)
    usage = StageUsage(settings.run, "deeplab_test")
    layout = Layout(settings.dataset_root, settings.run)
    checks = (partial(check_scaled_image, settings.scales), check_mask_if_any)
    ids = usable_ids(layout, settings.list, checks, settings.skip_bad, is_main())
    if settings.submission:
        from deeplab.submission import check_request, write_submission

        check_request(settings.submission, ids)  # before hours of work
    names = (settings.list, f"{settings.list}_crf")[: 1 + settings.crf]
    folders = [settings.run / "deeplab" / name for name in names]
    record = make_record("deeplab_test", settings, class_input(layout), source(settings.run, "ckpt/deeplab.pt"))
    if is_main():
        save_settings(settings.run, "deeplab_test", plain(settings))
        for folder in folders:
            claim_folder(folder, record)
    wanted, done = stamps(layout, ids, labels=False), 0
    todo = outdated({image_id: wanted[image_id] for image_id in share(ids)}, folders, ".png")
    if todo or not is_alone():
        done = segment(settings, layout, todo, wanted, folders)
    if is_main():
        evaluate(layout, ids, folders, settings)
        if settings.submission:
            n_files = write_submission(settings.submission, folders[-1], layout, ids, settings.competition)
            print(f"{settings.submission}: {n_files} label images of {settings.competition}, checked")
    usage.finish(done, len(ids))


if __name__ == "__main__":
    run_main(main)
