"""Put the dataset in place: the toy set is made, VOC 2012, COCO 2014 or photographs of pets fetched and
converted, your own images completed."""

from functools import partial

from data.datasets import open_dataset
from data.usable import CHECKED, usable_ids
from errors import UserError
from tool.config import parse, run_main
from tool.parallel import parallel_map


def prepare(settings):
    """Make the set, or complete it. One of a form of its own is complete as it is."""
    if settings.kind != "folder" and settings.dataset_format != "voc":
        raise UserError(
            f"--kind {settings.kind} makes a set in VOC layout, not of --dataset_format {settings.dataset_format}"
        )
    if settings.kind == "toy":
        from data.toy import make_toy

        make_toy(settings.dataset_root, settings.train, settings.train_aug, settings.val, settings.size, settings.seed)
    elif settings.kind == "voc12":
        from voc12.prepare import prepare_voc12

        prepare_voc12(settings)
    elif settings.kind == "coco14":
        from coco14.prepare import prepare_coco14

        prepare_coco14(settings)
    elif settings.kind == "pets":
        from pets.prepare import prepare_pets

        prepare_pets(settings)
    elif settings.dataset_format == "voc":
        from data.collect import collect
        from data.collect_coco import CocoSource

        coco = None
        if settings.labels_from == "coco":
            for_each = partial(parallel_map, workers=settings.num_workers, title="dataset: masks")
            coco = CocoSource(settings.annotations, settings.overlap, settings.crowd, for_each)
        collect(settings.dataset_root, settings.labels_from, settings.overwrite, coco)


def main():
    settings = parse("dataset", __doc__)
    prepare(settings)
    dataset = open_dataset(settings)
    lists = {name: dataset.ids(name) for name in dataset.lists()}
    for name in lists.keys() & CHECKED.keys():  # now, not when a stage comes to them
        usable_ids(dataset, name, CHECKED[name], settings.skip_bad)
    print(
        ", ".join(
            [
                f"{dataset.root}: {dataset.n_classes} classes with the background",
                *(f"{k} {len(v)}" for k, v in lists.items()),
            ]
        )
    )


if __name__ == "__main__":
    run_main(main)
