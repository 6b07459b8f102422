"""Train AE-SIPE (or SIPE, with the switches off) from image-level labels -> RUN/ckpt/aesipe.pt"""

from functools import partial

from data.content import inputs
from data.datasets import open_dataset
from data.usable import check_image, check_labels, usable_ids
from tool.config import run_main
from tool.frame import StageCall
from tool.record import weights_input
from tool.stages import AESIPE

CLIP = 1.0  # bound on the gradient norm


def make_task(settings, layout, ids, dist):
    """AE-SIPE on crops of the images, watched by the mIoU of its maps."""
    from data.loader import TrainingSet, batches, steps_per_epoch
    from data.transforms import CropTransform
    from net.aesipe import build, step_losses
    from tool.device import set_precision
    from tool.trainer import Task
    from viz.watch import watch_maps

    model, criterion = build(settings, layout.n_classes, settings.initial_weights)
    transform = CropTransform(settings.crop_size, long_side=settings.long_side)
    images = TrainingSet(layout, ids, transform, settings.seed)
    steps = settings.max_epochs * steps_per_epoch(len(images), settings.batch_size)
    return Task(
        network=model,
        losses=partial(step_losses, criterion),
        groups=model.parameter_groups(settings.lr, settings.lr_new),
        batches=batches(images, settings, steps, dist),
        steps=steps,
        clip=CLIP,
        compiled=(model.encoder,),
        watch=watch_maps(layout, settings, set_precision(settings.precision, dist.device), dist),
        watch_every=settings.val_every,
    )


def main():
    stage = StageCall("train_aesipe", __doc__)
    settings = stage.settings
    layout = open_dataset(settings)
    ids = usable_ids(layout, settings.train_list, (check_image, check_labels), settings.skip_bad, stage.main)
    record = stage.record(inputs(layout, ids, "labels", "images") | weights_input(settings))
    stage.train(AESIPE, record, partial(make_task, settings, layout, ids), layout.class_names)


if __name__ == "__main__":
    run_main(main)
