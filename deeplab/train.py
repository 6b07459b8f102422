"""Train DeepLabV3 on the pseudo labels -> RUN/ckpt/deeplab.pt"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.content import inputs, stamps
from data.label_png import read_labels
from data.layout import Layout
from data.usable import check_image, check_labels, check_mask, usable_ids
from tool.config import parse, run_main
from tool.io import require_outputs
from tool.parallel import is_main
from tool.record import finished, make_record, source, weights_input
from tool.usage import StageUsage


def train(settings, layout, ids, path, record):
    """Train the network to path. Returns (steps that this call did, steps of the whole training)."""
    from data.loader import TrainingSet, training_loader
    from data.transforms import CropTransform
    from deeplab.model import build, step_losses
    from tool.dist import close_dist
    from tool.engine import fit, start_training
    from tool.io import save_class_names

    def target(image_id):
        if settings.labels == "truth":
            return layout.mask(image_id)
        return read_labels(settings.run / settings.labels / f"{image_id}.png", layout.n_classes, layout.size(image_id))

    if settings.labels != "truth":
        require_outputs(stamps(layout, ids), settings.run / settings.labels, ".png", "make_seg_labels.py")
    dist = start_training(settings, "deeplab_train")
    if dist.main:
        save_class_names(settings.run, layout.class_names)
    model, criterion = build(settings, layout.n_classes, settings.initial_weights)
    images = TrainingSet(layout, ids, CropTransform(settings.crop_size, scale=settings.scale), settings.seed, target)
    loader = partial(
        training_loader,
        images,
        settings.batch_size,
        settings.max_iters,
        rank=dist.rank,
        world=dist.world,
        workers=settings.num_workers,
    )
    done = fit(
        model,
        partial(step_losses, criterion),
        model.parameter_groups(settings.lr),
        loader,
        settings.max_iters,
        settings,
        dist,
        path,
        record,
    )
    close_dist()
    return done, settings.max_iters


def main():
    settings = parse("deeplab_train", __doc__)
    usage = StageUsage(settings.run, "deeplab_train")
    layout, path = Layout(settings.dataset_root, settings.run), settings.run / "ckpt" / "deeplab.pt"
    if settings.labels == "truth":
        ids = usable_ids(layout, settings.list, (check_image, check_mask), settings.skip_bad, is_main())
        data, labels = inputs(layout, ids, "images", "masks"), {}
    else:
        labels = source(settings.run, settings.labels)
        ids = usable_ids(layout, settings.list, (check_image, check_labels), settings.skip_bad, is_main())
        data = inputs(layout, ids, "labels", "images")
    record = make_record("deeplab_train", settings, data | weights_input(settings), labels)
    if not finished(path, record, settings.resume):
        usage.finish(*train(settings, layout, ids, path, record))


if __name__ == "__main__":
    run_main(main)
