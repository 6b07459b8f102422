"""Labels for IRN from CAMs by dense CRF, unsure pixels 255 -> RUN/ir_label/ID.png"""

from data.content import class_input, stamps
from data.layout import Layout
from data.usable import check_image, check_labels, usable_ids
from tool.config import parse, run_main
from tool.io import outdated, require_outputs, save_settings
from tool.parallel import is_main, parallel_map, share
from tool.record import claim_folder, make_record, source
from tool.settings import plain
from tool.usage import StageUsage


def label(settings, layout, todo, stamps):
    """Write the IR labels of this process's images."""
    from data.label_png import save_label_png
    from module.crf import dense_crf_labels
    from module.labels import ir_labels, weighted_argmax
    from tool.cam_file import load_cam

    def label_image(image_id):
        image = layout.image(image_id).permute(1, 2, 0).numpy()
        keys, cam = load_cam(settings.run / "cam" / f"{image_id}.npz", layout.n_classes, image.shape[:2])
        foreground, background = (
            keys[dense_crf_labels(image, weighted_argmax(cam, weight), len(keys))]
            for weight in (1.0, settings.background_weight)
        )
        path = settings.run / "ir_label" / f"{image_id}.png"
        save_label_png(path, ir_labels(foreground, background), stamps[image_id])

    for _ in parallel_map(label_image, todo, settings.num_workers, "make_ir_labels"):
        pass


def main():
    settings = parse("make_ir_labels", __doc__)
    usage = StageUsage(settings.run, "make_ir_labels")
    layout, folder = Layout(settings.dataset_root, settings.run), settings.run / "ir_label"
    record = make_record("make_ir_labels", settings, class_input(layout), source(settings.run, "cam"))
    save_settings(settings.run, "make_ir_labels", plain(settings))
    claim_folder(folder, record)
    ids = usable_ids(layout, settings.list, (check_image, check_labels), settings.skip_bad, is_main())
    wanted = stamps(layout, ids)
    missing = outdated(wanted, [folder], ".png")
    require_outputs({image_id: wanted[image_id] for image_id in missing}, settings.run / "cam", ".npz", "make_cam.py")
    if not missing:
        print(f"make_ir_labels: the labels of all {len(ids)} images of {settings.list} are there")
    else:
        # Shared out by the whole list: each process looks at another moment at what is missing.
        label(settings, layout, [image_id for image_id in share(ids) if image_id in set(missing)], wanted)
    usage.finish(len(missing), len(ids))


if __name__ == "__main__":
    run_main(main)
