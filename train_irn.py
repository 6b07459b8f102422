"""Train IRN, class boundaries and displacements, on the IR labels -> RUN/ckpt/irn.pt"""

from functools import partial

from data.content import inputs, stamps
from data.datasets import open_dataset
from data.targets import TRUTH, needs, read_target
from data.usable import usable_ids
from tool.config import run_main
from tool.frame import StageCall
from tool.record import weights_input
from tool.stages import IRN


def make_task(stage, layout, ids, dist):
    """IRN on crops of the images; at the end its mean displacement, if any, is measured on the whole ones."""
    from data.loader import TrainingSet, batches, image_loader, steps_per_epoch
    from data.transforms import CropTransform
    from infer.pseudo import measure_mean_displacement
    from net.irn import build, count_pairs, step_losses
    from tool.device import set_precision
    from tool.trainer import Task

    settings = stage.settings
    target = partial(read_target, settings.labels, layout, stage.run)
    mine = ids[dist.rank :: dist.world]
    if settings.labels != TRUTH:  # a process that finds one missing ends the others
        stage.require(stamps(layout, mine), settings.labels, ".png")
    model = build(settings, settings.initial_weights)
    images = TrainingSet(layout, ids, CropTransform(settings.crop_size, scale=settings.scale), settings.seed, target)
    steps = settings.max_epochs * steps_per_epoch(len(images), settings.batch_size)
    finish = None
    if settings.displacement:
        whole = image_loader(layout, mine, settings.num_workers)
        finish = partial(measure_mean_displacement, whole, set_precision(settings.precision, dist.device), dist)
    return Task(
        network=model,
        losses=partial(step_losses, settings.radius),
        groups=model.parameter_groups(settings.lr),
        batches=batches(images, settings, steps, dist),
        steps=steps,
        compiled=tuple(filter(None, (model.encoder, model.boundary, model.displacement))),
        count=partial(count_pairs, settings.radius),
        finish=finish,
    )


def main():
    stage = StageCall("train_irn", __doc__)
    settings = stage.settings
    if settings.refine == "crf":
        print(f"{stage.name}: not needed: refine is crf")
        return
    layout = open_dataset(settings)
    checks, kinds, sources = needs(settings.labels)
    stage.run.sources(*sources)  # what is missing is said before a look at all images
    ids = usable_ids(layout, settings.list, checks, settings.skip_bad, stage.main)
    record = stage.record(inputs(layout, ids, *kinds) | weights_input(settings), *sources)
    stage.train(IRN, record, partial(make_task, stage, layout, ids), layout.class_names)


if __name__ == "__main__":
    run_main(main)
