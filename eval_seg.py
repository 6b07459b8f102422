"""mIoU of label images (pseudo labels), and of the scores that they are from, against the masks -> RUN/eval/seg.json"""

from data.content import inputs, stamps
from data.datasets import open_dataset
from data.usable import check_image, check_labels, check_mask, usable_ids
from tool.config import run_main
from tool.frame import StageCall, line_of_scores
from tool.stages import SCORES


def score(stage, layout, ids):
    """Scores of the folder of label images; under "swept" those of kept scores at each weight of the background."""
    settings, wanted, workers = stage.settings, stamps(layout, ids), stage.settings.num_workers
    stage.require(wanted, settings.folder, ".png")
    if settings.background_weight:
        stage.require(wanted, SCORES, ".npz")
    from infer.evaluate import evaluate_folder, evaluate_map

    result = evaluate_folder(layout, stage.run / settings.folder, ids, workers, stage.name)
    if settings.background_weight:
        weights = settings.background_weight, ()
        result["swept"] = evaluate_map(layout, stage.run / SCORES, ids, *weights, settings.crf, workers, stage.name)
    return {"list": settings.list, "folder": settings.folder, **result}


def main():
    stage = StageCall("eval_seg", __doc__)
    settings = stage.settings
    layout = open_dataset(settings)
    ids = layout.ids(settings.list)
    if not any(map(layout.has_mask, ids)):
        print(f"eval_seg: {layout.root} has no masks of {settings.list}, nothing to evaluate")
        return
    ids = usable_ids(layout, settings.list, (check_image, check_mask, check_labels), settings.skip_bad)
    sources = settings.folder, *settings.scores
    record = stage.record(inputs(layout, ids, "labels", "images", "masks"), *sources)

    def miou(result):
        return {settings.folder: result["miou"]}

    result = stage.evaluate("seg.json", record, lambda: score(stage, layout, ids), len(ids), miou)
    print(f"{settings.folder} on {settings.list}: mIoU {100 * result['miou']:.2f}")
    for row in result.get("swept", ()):
        print(line_of_scores(SCORES, row))


if __name__ == "__main__":
    run_main(main)
