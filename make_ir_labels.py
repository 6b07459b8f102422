"""Labels for IRN from CAMs by dense CRF, unsure pixels 255 -> RUN/ir_label/ID.png"""

from functools import partial

from data.content import class_input, stamps
from data.datasets import open_dataset
from data.usable import check_image, check_labels, usable_ids
from tool.config import run_main
from tool.frame import StageCall


def label(stage, layout, stamps, ids):
    """Write the IR labels of this process's images."""
    from data.label_png import save_label_png
    from module.crf import dense_crf_label_maps
    from module.labels import ir_labels, weighted_argmax
    from tool.cam_file import load_cam

    def label_image(image_id):
        image = layout.image(image_id).permute(1, 2, 0).numpy()
        keys, cam = load_cam(stage.run / stage.settings.map / f"{image_id}.npz", layout.n_classes, image.shape[:2])
        weights = (stage.settings.foreground_weight, stage.settings.background_weight)
        maps = [weighted_argmax(cam, weight) for weight in weights]
        foreground, background = (keys[labels] for labels in dense_crf_label_maps(image, maps, len(keys)))
        path = stage.run / "ir_label" / f"{image_id}.png"
        save_label_png(path, ir_labels(foreground, background), stamps[image_id])

    stage.on_cores(label_image, ids)


def main():
    stage = StageCall("make_ir_labels", __doc__)
    settings = stage.settings
    if settings.refine == "crf":
        print(f"{stage.name}: not needed: refine is crf")
        return
    layout = open_dataset(settings)
    record = stage.record(class_input(layout), settings.map)
    ids = usable_ids(layout, settings.list, (check_image, check_labels), settings.skip_bad, stage.main)
    wanted = stamps(layout, ids)
    work = partial(label, stage, layout, wanted)
    made = stage.make({"ir_label": ".png"}, record, wanted, work, needs=(settings.map, ".npz"))
    if made and stage.main:
        from data.label_png import describe_shares

        print(describe_shares("IR labels", stage.run / "ir_label", ids, f"{stage.name}.background_weight"))


if __name__ == "__main__":
    run_main(main)
