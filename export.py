"""A finished run for other codebases: its pseudo labels as VOC's devkit, or a network as a graph

    --what masks     OUT/VOCdevkit/VOC2012/JPEGImages/ID.jpg  SegmentationClass/ID.png  ImageSets/Segmentation/LIST.txt
    --what aesipe    OUT, a file: image [N,3,H,W], labels [N,K-1] -> score, cam, is_cam, ae_is_cam
    --what deeplab   OUT, a file: image [N,3,H,W] -> class logits [N,K,H,W]

A file is a .pt2 of torch.export, or by --format onnx an .onnx.
"""

from functools import partial
from pathlib import Path

from data.datasets import open_dataset
from errors import UserError
from infer.run import with_dataset
from tool.config import parse, run_main


def export_masks(settings):
    """The run's pseudo labels -> OUT/VOCdevkit/VOC2012"""
    from data.devkit import VOC, write_devkit
    from tool.parallel import parallel_map

    settings.run.require_folder()
    if "make_seg_labels" not in settings.run.config() and not (settings.run / "seg_label").is_dir():
        raise UserError(f"{settings.run}: has no pseudo labels yet: run make_seg_labels.py first")
    dataset = open_dataset(with_dataset(settings, "make_seg_labels"))
    in_processes = partial(parallel_map, workers=settings.num_workers, title="export")
    written, left_out = write_devkit(Path(settings.out), dataset, settings.run / "seg_label", in_processes)
    for name, (kind, n_images) in written.items():
        print(f"{settings.out}/{VOC}/ImageSets/Segmentation/{name}.txt: {n_images} images with {kind}")
    for name, reason in left_out.items():
        print(f"list {name} is left out: {reason}")


def main():
    settings = parse("export", __doc__.splitlines()[0])
    if not settings.what or not settings.out:
        raise UserError("--what masks, aesipe or deeplab and --out PATH are needed (see --help)")
    if settings.what == "masks":
        export_masks(settings)
    else:
        from infer.graph import export_network

        export_network(settings)


if __name__ == "__main__":
    run_main(main)
