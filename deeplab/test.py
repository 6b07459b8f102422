"""Segment a list with the trained DeepLabV3, several scales, flips and dense CRF -> RUN/deeplab/LIST[_crf]/ID.png"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.content import class_input, inputs, stamps
from data.datasets import open_dataset
from data.usable import check_mask, check_scaled_image, usable_ids
from tool.config import run_main
from tool.frame import StageCall
from tool.parallel import background, drain, process_pool
from tool.stages import DEEPLAB


def segment(stage, layout, stamps, folders, ids):
    """Write the labels of this process's images, folders[0] without and folders[1], if there is one, with CRF."""
    from data.label_png import save_label_png
    from data.loader import image_loader
    from infer.segmentation import (  # the pool's processes have it
        likely_classes,
        load_deeplab,
        multi_scale_probabilities,
        save_refined,
    )
    from tool.device import set_precision

    settings, waiting = stage.settings, []
    refiners = settings.num_workers if settings.crf else 1
    with process_pool(refiners) as pool, stage.processes() as dist, background() as submit:
        model = load_deeplab(stage.run, layout.n_classes, dist.device)
        dtype = set_precision(settings.precision, dist.device)
        images = image_loader(layout, ids, min(1, settings.num_workers))
        for image_id, image in stage.progress(images):
            paths, stamp = [stage.run / folder / f"{image_id}.png" for folder in folders], stamps[image_id]
            seen = image.to(dist.device)
            probabilities = multi_scale_probabilities(model, seen, settings.scales, settings.flip, dtype)
            submit(save_label_png, paths[0], probabilities.argmax(dim=0).cpu().numpy(), stamp)
            if settings.crf:
                classes = likely_classes(probabilities)
                kept = (probabilities[classes] / probabilities[classes].sum(dim=0)).cpu().numpy()
                pixels = image.permute(1, 2, 0).contiguous().numpy()
                waiting.append(pool.submit(save_refined, paths[1], pixels, classes.cpu().numpy(), kept, stamp))
                drain(waiting, limit=2 * max(1, settings.num_workers))  # each holds k maps of its image
        drain(waiting)


def evaluate(stage, layout, ids, folders):
    """Scores of the folders, see `segment` -> RUN/eval/deeplab_LIST.json; without masks a line that says so."""
    settings = stage.settings
    if not any(map(layout.has_mask, ids)):
        print(f"deeplab_test: {layout.root} has no masks of {settings.list}, nothing to evaluate")
        return
    names = ("plain", "crf")[: len(folders)]

    def score():
        from infer.evaluate import evaluate_folder

        return {"list": settings.list} | {
            name: evaluate_folder(layout, stage.run / folder, ids, settings.num_workers, stage.name)
            for name, folder in zip(names, folders)
        }

    def miou(result):
        return {f"{settings.list}_{name}": result[name]["miou"] for name in names}

    record = stage.record(inputs(layout, ids, "images", "masks"), *folders)
    counted = 0  # the images were counted when they were segmented
    result = stage.evaluate(f"deeplab_{settings.list}.json", record, score, counted, miou)
    for name in names:
        print(f"DeepLabV3 on {settings.list}{' +CRF' if name == 'crf' else ''}: mIoU {100 * result[name]['miou']:.2f}")


def main():
    stage = StageCall("deeplab_test", __doc__)
    settings = stage.settings
    layout = open_dataset(settings)
    listed = layout.ids(settings.list)
    has_masks = any(map(layout.has_mask, listed))
    checks = (partial(check_scaled_image, settings.scales), *[check_mask] * has_masks)
    ids = usable_ids(layout, settings.list, checks, settings.skip_bad, stage.main)
    if settings.submission:
        from deeplab.submission import check_request, write_submission

        check_request(settings.submission, listed, ids)  # before hours of work
    folders = [f"deeplab/{name}" for name in (settings.list, f"{settings.list}_crf")[: 1 + settings.crf]]
    record = stage.record(class_input(layout), DEEPLAB)
    wanted = stamps(layout, ids, labels=False)
    stage.make(dict.fromkeys(folders, ".png"), record, wanted, partial(segment, stage, layout, wanted, folders))
    if stage.main:
        evaluate(stage, layout, ids, folders)
        if settings.submission:
            n_files = write_submission(settings.submission, stage.run / folders[-1], layout, ids, settings.competition)
            print(f"{settings.submission}: {n_files} label images of {settings.competition}, checked")


if __name__ == "__main__":
    run_main(main)
