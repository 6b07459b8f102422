"""Pseudo labels: CAMs spread by a random walk that IRN's boundaries stop, or by dense CRF -> RUN/seg_label/ID.png"""

from functools import partial

from data.content import class_input, stamps
from data.datasets import open_dataset
from data.usable import check_labels, check_scaled_image, usable_ids
from tool.config import run_main
from tool.frame import StageCall
from tool.stages import IRN, SCORES


def label_by_crf(stage, layout, stamps, ids):
    """Write the pseudo labels of this process's images by dense CRF alone."""
    from data.label_png import save_label_png
    from module.crf import dense_crf_labels
    from module.labels import weighted_argmax
    from tool.cam_file import load_cam

    settings = stage.settings

    def label_image(image_id):
        image = layout.image(image_id).permute(1, 2, 0).numpy()
        keys, cam = load_cam(stage.run / settings.map / f"{image_id}.npz", layout.n_classes, image.shape[:2])
        labels = keys[dense_crf_labels(image, weighted_argmax(cam, settings.background_weight), len(keys))]
        save_label_png(stage.run / "seg_label" / f"{image_id}.png", labels, stamps[image_id])

    stage.on_cores(label_image, ids)


def label(stage, layout, stamps, ids):
    """Write the pseudo labels of this process's images by the random walk."""
    from data.label_png import save_label_png
    from data.loader import image_loader
    from data.transforms import scaled
    from infer.pseudo import load_irn, mean_boundary, walked_scores
    from module.labels import weighted_argmax
    from tool.cam_file import load_cam, save_cam
    from tool.device import set_precision
    from tool.parallel import background

    settings = stage.settings

    def read_cam(image_id):
        return load_cam(stage.run / settings.map / f"{image_id}.npz", layout.n_classes, layout.size(image_id))

    with stage.processes() as dist, background() as submit:
        irn = load_irn(stage.run, dist.device)
        dtype = set_precision(settings.precision, dist.device)
        images = image_loader(layout, ids, settings.num_workers, more=read_cam)
        for image_id, image, (keys, cam) in stage.progress(images):
            boundary = mean_boundary(irn, scaled(image.to(dist.device), settings.boundary_scale), dtype)
            scores = walked_scores(cam.to(dist.device), boundary, settings)
            labels = keys.numpy()[weighted_argmax(scores, settings.background_weight)]
            submit(save_label_png, stage.run / "seg_label" / f"{image_id}.png", labels, stamps[image_id])
            if settings.keep_scores:
                submit(save_cam, stage.run / SCORES / f"{image_id}.npz", keys, scores, 16, stamps[image_id])


def main():
    stage = StageCall("make_seg_labels", __doc__)
    settings = stage.settings
    layout = open_dataset(settings)
    record = stage.record(class_input(layout), *[IRN] * (settings.refine == "irn"), settings.map)
    checks = (partial(check_scaled_image, settings.scales), check_labels)
    ids = usable_ids(layout, settings.list, checks, settings.skip_bad, stage.main)
    wanted = stamps(layout, ids)
    work = partial(label if settings.refine == "irn" else label_by_crf, stage, layout, wanted)
    outputs = {"seg_label": ".png"} | dict.fromkeys(settings.scores, ".npz")
    made = stage.make(outputs, record, wanted, work, needs=(settings.map, ".npz"))
    if made and stage.main:
        from data.label_png import describe_shares

        print(describe_shares("pseudo labels", stage.run / "seg_label", ids, f"{stage.name}.background_weight"))


if __name__ == "__main__":
    run_main(main)
