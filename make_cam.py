"""Export CAMs of a trained AE-SIPE at several scales and flips -> RUN/MAP/ID.npz"""

from functools import partial

from data.content import class_input, stamps
from data.datasets import open_dataset
from data.usable import check_labels, check_scaled_image, usable_ids
from tool.config import run_main
from tool.frame import StageCall
from tool.stages import AESIPE


def export(stage, layout, stamps, ids):
    """Write the maps of this process's images."""
    from data.loader import image_loader
    from infer.maps import load_aesipe, multi_scale_maps
    from tool.cam_file import save_cam
    from tool.device import set_precision
    from tool.parallel import background

    settings = stage.settings
    with stage.processes() as dist, background() as submit:
        model = load_aesipe(stage.run, layout.n_classes, dist.device, settings)
        dtype = set_precision(settings.precision, dist.device)
        for image_id, image in stage.progress(image_loader(layout, ids, settings.num_workers)):
            image, labels = image.to(dist.device), layout.labels(image_id).to(dist.device)
            keys, maps = multi_scale_maps(model, image, labels, settings.scales, settings.maps, dtype)
            for name in settings.maps:
                path = stage.run / name / f"{image_id}.npz"
                submit(save_cam, path, keys.cpu(), maps[name].cpu(), settings.cam_bits, stamps[image_id])


def main():
    stage = StageCall("make_cam", __doc__)
    settings = stage.settings
    layout = open_dataset(settings)
    checks = (partial(check_scaled_image, settings.scales), check_labels)
    ids = usable_ids(layout, settings.list, checks, settings.skip_bad, stage.main)
    record = stage.record(class_input(layout), AESIPE)
    wanted = stamps(layout, ids)
    stage.make(dict.fromkeys(settings.maps, ".npz"), record, wanted, partial(export, stage, layout, wanted))


if __name__ == "__main__":
    run_main(main)
