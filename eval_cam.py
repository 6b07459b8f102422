"""mIoU of exported CAMs against the masks, without and with dense CRF -> RUN/eval/cam.json"""

from data.content import inputs, stamps
from data.datasets import open_dataset
from data.usable import check_image, check_labels, check_mask, usable_ids
from tool.config import run_main
from tool.frame import StageCall, line_of_scores


def score(stage, layout, ids):
    """Scores of every map: {list, maps: {name: rows}}."""
    wanted, settings = stamps(layout, ids), stage.settings
    for name in settings.maps:
        stage.require(wanted, name, ".npz")
    from infer.evaluate import evaluate_map

    maps = {}
    for name in settings.maps:
        crf = settings.crf and name in (settings.crf_maps or settings.maps)
        weights = settings.background_weight, settings.sweep
        maps[name] = evaluate_map(layout, stage.run / name, ids, *weights, crf, settings.num_workers, stage.name)
    return {"list": settings.list, "maps": maps}


def miou(result):
    """{MAP_xWEIGHT[_crf]: mIoU} of every row."""
    return {
        f"{name}_x{row['background_weight']:g}{'_crf' * row['crf']}": row["miou"]
        for name, rows in result["maps"].items()
        for row in rows
    }


def main():
    stage = StageCall("eval_cam", __doc__)
    settings = stage.settings
    layout = open_dataset(settings)
    ids = layout.ids(settings.list)
    if not any(map(layout.has_mask, ids)):
        print(f"eval_cam: {layout.root} has no masks of {settings.list}, nothing to evaluate")
        return
    ids = usable_ids(layout, settings.list, (check_image, check_mask, check_labels), settings.skip_bad)
    record = stage.record(inputs(layout, ids, "labels", "images", "masks"), *settings.maps)
    result = stage.evaluate("cam.json", record, lambda: score(stage, layout, ids), len(ids), miou)
    for name, rows in result["maps"].items():
        for row in rows:
            print(line_of_scores(name, row))


if __name__ == "__main__":
    run_main(main)
