"""mIoU of label images (pseudo labels) against the masks -> RUN/eval/seg.json"""

from data.content import inputs, stamps
from data.layout import Layout
from data.usable import check_image, check_labels, check_mask, usable_ids
from tool.config import parse, run_main
from tool.io import require_outputs, save_json, save_settings
from tool.record import evaluated, make_record, source
from tool.settings import plain
from tool.tracker import track_scores
from tool.usage import StageUsage


def main():
    settings = parse("eval_seg", __doc__)
    usage = StageUsage(settings.run, "eval_seg")
    layout, path = Layout(settings.dataset_root, settings.run), settings.run / "eval" / "seg.json"
    ids = layout.ids(settings.list)
    if not any(map(layout.has_mask, ids)):
        print(f"eval_seg: {layout.root} has no masks of {settings.list}, nothing to evaluate")
        return
    ids = usable_ids(layout, settings.list, (check_image, check_mask, check_labels), settings.skip_bad)
    record = make_record(
        "eval_seg", settings, inputs(layout, ids, "labels", "images", "masks"), source(settings.run, settings.folder)
    )
    result, did = evaluated(path, record), 0
    if result is None:
        require_outputs(stamps(layout, ids), settings.run / settings.folder, ".png", "make_seg_labels.py")
        from infer.evaluate import evaluate_folder

        save_settings(settings.run, "eval_seg", plain(settings))
        scores = evaluate_folder(layout, settings.run / settings.folder, ids, settings.num_workers, "eval_seg")
        result, did = {"list": settings.list, "folder": settings.folder, **scores, "record": record}, len(ids)
        save_json(path, result)
        track_scores(settings, "eval_seg", {settings.folder: result["miou"]})
    print(f"{settings.folder} on {settings.list}: mIoU {100 * result['miou']:.2f}")
    usage.finish(did, len(ids))


if __name__ == "__main__":
    run_main(main)
