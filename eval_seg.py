"""mIoU of label images (pseudo labels) against the masks -> RUN/eval/seg.json"""

from data.content import inputs, stamps
from data.datasets import open_dataset
from data.usable import check_image, check_labels, check_mask, usable_ids
from tool.config import run_main
from tool.frame import StageCall


def score(stage, layout, ids):
    """Scores of the folder of label images."""
    settings = stage.settings
    stage.require(stamps(layout, ids), settings.folder, ".png")
    from infer.evaluate import evaluate_folder

    scores = evaluate_folder(layout, stage.run / settings.folder, ids, settings.num_workers, stage.name)
    return {"list": settings.list, "folder": settings.folder, **scores}


def main():
    stage = StageCall("eval_seg", __doc__)
    settings = stage.settings
    layout = open_dataset(settings.dataset_format, settings.dataset_root, stage.run)
    ids = layout.ids(settings.list)
    if not any(map(layout.has_mask, ids)):
        print(f"eval_seg: {layout.root} has no masks of {settings.list}, nothing to evaluate")
        return
    ids = usable_ids(layout, settings.list, (check_image, check_mask, check_labels), settings.skip_bad)
    record = stage.record(inputs(layout, ids, "labels", "images", "masks"), settings.folder)

    def miou(result):
        return {settings.folder: result["miou"]}

    result = stage.evaluate("seg.json", record, lambda: score(stage, layout, ids), len(ids), miou)
    print(f"{settings.folder} on {settings.list}: mIoU {100 * result['miou']:.2f}")


if __name__ == "__main__":
    run_main(main)
