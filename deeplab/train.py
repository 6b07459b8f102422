"""Train DeepLabV3 on the pseudo labels -> RUN/ckpt/deeplab.pt"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where it is started as deeplab/train.py

from data.content import inputs, stamps
from data.datasets import open_dataset
from data.targets import TRUTH, needs, read_target
from data.usable import usable_ids
from tool.config import run_main
from tool.frame import StageCall
from tool.record import weights_input
from tool.stages import DEEPLAB


def make_task(stage, layout, ids, dist):
    """DeepLabV3 on crops of the images and their labels."""
    from data.loader import TrainingSet, batches
    from data.transforms import CropTransform
    from deeplab.model import build, count_pixels, step_losses
    from tool.device import set_precision
    from tool.trainer import Task
    from viz.watch import watch_labels

    settings = stage.settings
    target = partial(read_target, settings.labels, layout, stage.run)
    if settings.labels != TRUTH:
        mine = ids[dist.rank :: dist.world]  # a process that finds one missing ends the others
        stage.require(stamps(layout, mine), settings.labels, ".png")
    model, criterion = build(settings, layout.n_classes, settings.initial_weights)
    images = TrainingSet(layout, ids, CropTransform(settings.crop_size, scale=settings.scale), settings.seed, target)
    return Task(
        network=model,
        losses=partial(step_losses, criterion),
        groups=model.parameter_groups(settings.lr),
        batches=batches(images, settings, settings.max_iters, dist),
        steps=settings.max_iters,
        compiled=model.compiled,
        watch=watch_labels(layout, settings, set_precision(settings.precision, dist.device), dist),
        watch_every=settings.val_every,
        count=count_pixels,
    )


def main():
    stage = StageCall("deeplab_train", __doc__)
    settings = stage.settings
    layout = open_dataset(settings)
    checks, kinds, sources = needs(settings.labels)
    stage.run.sources(*sources)  # what is missing is said before a look at all images
    ids = usable_ids(layout, settings.list, checks, settings.skip_bad, stage.main)
    record = stage.record(inputs(layout, ids, *kinds) | weights_input(settings), *sources)
    stage.train(DEEPLAB, record, partial(make_task, stage, layout, ids), layout.class_names)


if __name__ == "__main__":
    run_main(main)
