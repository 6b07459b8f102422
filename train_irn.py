"""Train IRN, class boundaries and displacements, on the IR labels -> RUN/ckpt/irn.pt"""

from functools import partial

from data.content import inputs, stamps
from data.label_png import read_labels
from data.layout import Layout
from data.usable import check_image, check_labels, usable_ids
from tool.config import parse, run_main
from tool.io import require_outputs
from tool.parallel import is_main
from tool.record import finished, make_record, source, weights_input
from tool.usage import StageUsage


def train(settings, layout, ids, path, record):
    """Train the network to path. Returns (steps that this call did, steps of the whole training)."""
    from data.loader import TrainingSet, image_loader, steps_per_epoch, training_loader
    from data.transforms import CropTransform
    from infer.pseudo import measure_mean_displacement
    from net.irn import build, step_losses
    from tool.dist import close_dist, set_precision
    from tool.engine import fit, start_training

    def target(image_id):
        return read_labels(settings.run / "ir_label" / f"{image_id}.png", layout.n_classes, layout.size(image_id))

    require_outputs(stamps(layout, ids), settings.run / "ir_label", ".png", "make_ir_labels.py")
    dist = start_training(settings, "train_irn")
    model = build(settings, settings.initial_weights)
    images = TrainingSet(layout, ids, CropTransform(settings.crop_size, scale=settings.scale), settings.seed, target)
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
    whole = image_loader(layout, ids[dist.rank :: dist.world], settings.num_workers)
    dtype = set_precision(settings.precision, dist.device)
    done = fit(
        model,
        partial(step_losses, settings.radius),
        model.parameter_groups(settings.lr),
        loader,
        steps,
        settings,
        dist,
        path,
        record,
        after=partial(measure_mean_displacement, whole, dtype, dist),
    )
    close_dist()
    return done, steps


def main():
    settings = parse("train_irn", __doc__)
    usage = StageUsage(settings.run, "train_irn")
    layout, path = Layout(settings.dataset_root, settings.run), settings.run / "ckpt" / "irn.pt"
    labels = source(settings.run, "ir_label")
    ids = usable_ids(layout, settings.list, (check_image, check_labels), settings.skip_bad, is_main())
    record = make_record(
        "train_irn", settings, inputs(layout, ids, "labels", "images") | weights_input(settings), labels
    )
    if not finished(path, record, settings.resume):
        usage.finish(*train(settings, layout, ids, path, record))


if __name__ == "__main__":
    run_main(main)
