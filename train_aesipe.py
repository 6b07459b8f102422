"""Train AE-SIPE (or SIPE, with the switches off) from image-level labels -> RUN/ckpt/aesipe.pt"""

from functools import partial

from data.content import inputs
from data.layout import Layout
from data.usable import check_image, check_labels, usable_ids
from tool.config import parse, run_main
from tool.parallel import is_main
from tool.record import finished, make_record, weights_input
from tool.usage import StageUsage

CLIP = 1.0  # bound on the gradient norm


def train(settings, layout, ids, path, record):
    """Train the network to path. Returns (steps that this call did, steps of the whole training)."""
    from data.loader import TrainingSet, steps_per_epoch, training_loader
    from data.transforms import CropTransform
    from net.aesipe import build, step_losses
    from tool.dist import close_dist, set_precision
    from tool.engine import fit, start_training
    from tool.io import save_class_names
    from viz.watch import watch_maps

    dist = start_training(settings, "train_aesipe")
    if dist.main:
        save_class_names(settings.run, layout.class_names)
    model, criterion = build(settings, layout.n_classes, settings.initial_weights)
    transform = CropTransform(settings.crop_size, long_side=settings.long_side)
    images = TrainingSet(layout, ids, transform, settings.seed)
    steps = settings.max_epochs * steps_per_epoch(len(images), settings.batch_size)
    loader = partial(
        training_loader,
        images,
        settings.batch_size,
        steps,
        rank=dist.rank,
        world=dist.world,
        workers=settings.num_workers,
    )
    watch = watch_maps(layout, settings, set_precision(settings.precision, dist.device), dist)
    done = fit(
        model,
        partial(step_losses, criterion),
        model.parameter_groups(settings.lr, settings.lr_new),
        loader,
        steps,
        settings,
        dist,
        path,
        record,
        clip=CLIP,
        watch=watch,
        watch_every=settings.val_every,
    )
    close_dist()
    return done, steps


def main():
    settings = parse("train_aesipe", __doc__)
    usage = StageUsage(settings.run, "train_aesipe")
    layout, path = Layout(settings.dataset_root, settings.run), settings.run / "ckpt" / "aesipe.pt"
    ids = usable_ids(layout, settings.train_list, (check_image, check_labels), settings.skip_bad, is_main())
    record = make_record("train_aesipe", settings, inputs(layout, ids, "labels", "images") | weights_input(settings))
    if not finished(path, record, settings.resume):
        usage.finish(*train(settings, layout, ids, path, record))


if __name__ == "__main__":
    run_main(main)
