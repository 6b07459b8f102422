"""mIoU of exported CAMs against the masks, without and with dense CRF -> RUN/eval/cam.json"""

from data.content import inputs, stamps
from data.layout import Layout
from data.usable import check_image, check_labels, check_mask, usable_ids
from tool.config import parse, run_main
from tool.io import require_outputs, save_json, save_settings
from tool.record import evaluated, make_record, source
from tool.settings import plain
from tool.stages import CAM_FOLDERS
from tool.tracker import track_scores
from tool.usage import StageUsage


def evaluate(layout, ids, path, settings):
    """The result of the record: made now, or the one of an earlier call on just the same files.

    Returns it and how many images were looked at.
    """
    sources = {}
    for name in settings.maps:
        sources |= source(settings.run, CAM_FOLDERS[name])
    record = make_record("eval_cam", settings, inputs(layout, ids, "labels", "images", "masks"), sources)
    if result := evaluated(path, record):
        return result, 0
    for name in settings.maps:
        require_outputs(stamps(layout, ids), settings.run / CAM_FOLDERS[name], ".npz", "make_cam.py")
    from infer.evaluate import evaluate_map

    save_settings(settings.run, "eval_cam", plain(settings))
    maps = {name: evaluate_map(layout, name, ids, settings) for name in settings.maps}
    result = {"list": settings.list, "maps": maps, "record": record}
    save_json(path, result)
    rows = [(f"{name}_x{row['background_weight']:g}{'_crf' * row['crf']}", row) for name in maps for row in maps[name]]
    track_scores(settings, "eval_cam", {name: row["miou"] for name, row in rows})
    return result, len(ids)


def main():
    settings = parse("eval_cam", __doc__)
    usage = StageUsage(settings.run, "eval_cam")
    layout = Layout(settings.dataset_root, settings.run)
    ids = layout.ids(settings.list)
    if not any(map(layout.has_mask, ids)):
        print(f"eval_cam: {layout.root} has no masks of {settings.list}, nothing to evaluate")
        return
    ids = usable_ids(layout, settings.list, (check_image, check_mask, check_labels), settings.skip_bad)
    result, did = evaluate(layout, ids, settings.run / "eval" / "cam.json", settings)
    for name, rows in result["maps"].items():
        for row in rows:
            print(
                f"{name:10s} background x{row['background_weight']:<5g} {'+CRF' if row['crf'] else '    '} "
                f"mIoU {100 * row['miou']:.2f}"
            )
    usage.finish(did, len(ids))


if __name__ == "__main__":
    run_main(main)
