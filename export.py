"""A finished run for other codebases: its pseudo labels as VOC's devkit, or a network as a graph

    --what masks     OUT/VOCdevkit/VOC2012/JPEGImages/ID.jpg  SegmentationClass/ID.png  ImageSets/Segmentation/LIST.txt
    --what aesipe    OUT, a file: image [N,3,H,W], labels [N,K-1] -> score, cam, is_cam, ae_is_cam
    --what deeplab   OUT, a file: image [N,3,H,W] -> class logits [N,K,H,W]

A file is a .pt2 of torch.export, or by --format onnx an .onnx.

An image has one mask: the pseudo label if the run made one, else the dataset's own mask. So a list is written if all of
its images have pseudo labels, to train on, or if none has and all have masks, to validate on; a list that mixes the two
is left out. SegmentationClassAug holds the same files again, since readers of VOC's larger list ask for that name.
"""

import json
import os
import shutil
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data.layout import Layout, open_image, orientation, read_label_png
from errors import UserError
from files import atomic
from infer.maps import load_aesipe
from infer.run import trained_class_names
from infer.segmentation import load_deeplab
from net.backbone import IMAGENET_MEAN, IMAGENET_STD
from net.export import Localizer, differences, save_onnx, save_pt2, trace
from tool.config import parse, run_main
from tool.io import load_run_config
from tool.parallel import parallel_map
from voc12.palette import save_label_png

VOC = "VOCdevkit/VOC2012"
PSEUDO, TRUTH = "pseudo labels", "the dataset's masks"
TOLERANCE = 1e-3  # between the graph and the network
SAVE = {"pt2": save_pt2, "onnx": save_onnx}


def write_devkit(out, layout, folder, workers):
    """Write the tree to the folder `out`, which gets its name when all of it is there.

    layout: `data.layout.Layout`. folder: holds the pseudo labels, ID.png. workers: processes.
    Returns ({list: (what its masks are, number of images)}, {list: why it is left out}). Raises UserError if out
    exists, no list has pseudo labels, or a label does not fit its image or classes.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists: name a folder that is not there yet by --out")
    lists, kinds = {}, {}
    for name in sorted(path.stem for path in (layout.root / "lists").glob("*.txt")):
        lists[name] = layout.ids(name)
        kinds[name] = masks_of(layout, folder, lists[name])
    if PSEUDO not in kinds.values():
        raise UserError(f"{folder}: no list of {layout.root} has pseudo labels of all its images: run "
                        "make_seg_labels.py first")
    left_out = {name: kinds.pop(name) for name in lists if kinds[name] not in (PSEUDO, TRUTH)}
    if {"train", "val"} <= kinds.keys() and "trainval" not in lists:  # VOC's readers know these three
        lists["trainval"] = list(dict.fromkeys(lists["train"] + lists["val"]))
        kinds["trainval"] = "the masks of train and val"
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        _write_tree(temporary / VOC, layout, folder, {name: lists[name] for name in kinds}, workers)
        os.replace(temporary, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return {name: (kind, len(lists[name])) for name, kind in kinds.items()}, left_out


def masks_of(layout, folder, ids):
    """PSEUDO or TRUTH, or why a list of images can have neither."""
    pseudo = sum((folder / f"{image_id}.png").exists() for image_id in ids)
    if pseudo == len(ids):
        return PSEUDO
    if pseudo:
        return f"only {pseudo} of its {len(ids)} images have pseudo labels"
    lacking = sum(not layout.has_mask(image_id) for image_id in ids)
    return f"{lacking} of its {len(ids)} images have no mask" if lacking else TRUTH


def _write_tree(root, layout, folder, lists, workers):
    for name in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    for name, ids in lists.items():
        text = "".join(f"{image_id}\n" for image_id in ids)
        (root / "ImageSets/Segmentation" / f"{name}.txt").write_text(text, encoding="utf-8")
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in layout.class_names), encoding="utf-8")
    ids = list(dict.fromkeys(image_id for each in lists.values() for image_id in each))
    layout.files()  # one listing, before the processes ask for it
    for _ in parallel_map(partial(write_pair, root, layout, folder), ids, workers, "export"):
        pass


def write_pair(root, layout, folder, image_id):
    """Write one image and its mask, twice by a link."""
    path = folder / f"{image_id}.png"
    labels = read_label_png(path) if path.exists() else layout.mask(image_id)
    if labels.shape != layout.size(image_id):
        raise UserError(f"{image_id}: its labels are {list(labels.shape)}, its image {list(layout.size(image_id))}")
    wrong = labels[(labels >= layout.n_classes) & (labels != 255)]
    if wrong.size:
        raise UserError(f"{image_id}: its labels hold {wrong[0]}, but there are {layout.n_classes} classes")
    mask = root / "SegmentationClass" / f"{image_id}.png"
    save_label_png(mask, labels)
    link(mask, root / "SegmentationClassAug" / mask.name)
    write_jpeg(layout, image_id, root / "JPEGImages" / f"{image_id}.jpg")


def write_jpeg(layout, image_id, out):
    """Link the image's file if every reader takes it as it is, else decode it: readers differ about EXIF's orientation,
    16 bits and CMYK."""
    source = layout.path(image_id)
    with open_image(source) as picture:
        plain = picture.format == "JPEG" and picture.mode in ("L", "RGB") and orientation(picture) in (None, 1)
    if plain:
        link(source.resolve(), out)
        return
    with atomic(out) as temporary:
        pixels = np.ascontiguousarray(layout.image(image_id).permute(1, 2, 0).numpy())
        Image.fromarray(pixels).save(temporary, format="JPEG", quality=95, subsampling=0)


def link(source, out):
    """A hard link, or a copy where there cannot be one, as between two disks."""
    try:
        os.link(source, out)
    except OSError:
        shutil.copyfile(source, out)


def export_masks(args):
    """The run's pseudo labels -> OUT/VOCdevkit/VOC2012"""
    root = args.dataset_root or load_run_config(args.run).get("make_seg_labels", {}).get("dataset_root")
    if root is None:
        raise UserError(f"{args.run / 'config.yaml'}: does not say of which dataset the run's pseudo labels are: run "
                        "make_seg_labels.py first, or give --dataset_root")
    written, left_out = write_devkit(Path(args.out), Layout(root), args.run / "seg_label", args.num_workers)
    for name, (kind, n_images) in written.items():
        print(f"{args.out}/{VOC}/ImageSets/Segmentation/{name}.txt: {n_images} images with {kind}")
    for name, reason in left_out.items():
        print(f"list {name} is left out: {reason}")


def export_network(args):
    """A trained network -> OUT.pt2 or OUT.onnx, checked against the network before the file gets its name."""
    if Path(args.out).suffix != f".{args.format}":
        raise UserError(f"--out {args.out}: a graph of --format {args.format} is a .{args.format} file")
    class_names = trained_class_names(args.run, args.dataset_root)
    n_labels, device = None, torch.device("cpu")
    if args.what == "aesipe":
        n_labels = len(class_names) - 1
        model = Localizer(load_aesipe(args.run, n_labels + 1, device))
    else:
        model = load_deeplab(args.run, len(class_names), device)
    print(f"{args.out}: tracing, which takes a minute or more", flush=True)
    with atomic(args.out) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself: its exporters' own calls are deprecated in places
        try:
            graph = SAVE[args.format](trace(model, n_labels), temporary, about(args.what, class_names))
        except ImportError as error:
            raise UserError(f"--format {args.format}: {error}: pip install onnxscript onnxruntime") from error
        worst = differences(graph, model, n_labels)
        if not max(worst.values()) <= TOLERANCE:  # NaN is not
            raise UserError(f"{args.out}: not written: the graph differs from the network by {worst}, where {TOLERANCE} "
                            "is allowed")
    print(f"{args.out}: {Path(args.out).stat().st_size / 2**20:.1f} MiB; largest differences to the network: "
          + ", ".join(f"{name} {value:.1e}" for name, value in worst.items()))


def about(what, class_names):
    """What one must know to use a graph, as JSON: it is in the .pt2 file as extra file about.json."""
    maps = "float [N,K,h,w] in [0,1] at stride 16"
    inputs = {"image": "float [N,3,H,W], RGB in [0,1], H and W from 17 up; normalised inside"}
    outputs = {"logits": "float [N,K,H,W], before the softmax over classes"}
    if what == "aesipe":
        inputs["labels"] = "float [N,K-1] in {0,1}: the classes of each image, without the background"
        outputs = {"score": "float [N,K-1], class logits", "cam": maps, "is_cam": maps, "ae_is_cam": maps}
    return json.dumps({"network": what, "class_names": class_names, "inputs": inputs, "outputs": outputs,
                       "normalization_inside": {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}}, indent=1)


def main():
    args = parse("export", __doc__.splitlines()[0])
    if not args.what or not args.out:
        raise UserError("--what masks, aesipe or deeplab and --out PATH are needed (see --help)")
    export_masks(args) if args.what == "masks" else export_network(args)


if __name__ == "__main__":
    run_main(main)
