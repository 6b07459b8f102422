"""The settings of every stage and tool: one dataclass each, whose fields are flags and keys of the config's sections.

A field says its type and range (`tool.values`), its default, its help and whether it decides what the stage computes.
Those that do are part of the record of what was made (`tool.record`); a record that lacks one, since it is older than
the setting, stands for its default. No import in here is heavy: `--help` and the driver's first check read no more.
"""

import os
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, get_args, get_type_hints

from msgspec import Meta

from tool.stages import IRN, SCORES
from tool.tracker import TRACKERS
from tool.values import Batch, Names, Natural, Pixels, Positive, Radius, Rate, Scale, Share, Side, Text, brief, read

BACKBONES = (  # of torchvision
    "resnet101",
    "resnet50",
    "resnet18",
    "resnet34",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
)
NETWORKS = (
    "deeplabv3",
    "torchvision:deeplabv3_resnet50",
    "torchvision:deeplabv3_resnet101",
    "torchvision:deeplabv3_mobilenet_v3_large",
    "torchvision:fcn_resnet50",
    "torchvision:fcn_resnet101",
    "torchvision:lraspp_mobilenet_v3_large",
)
AFFINITIES = ("pamr",)
Affinity = Annotated[str, Names(AFFINITIES)]
Backbone = Annotated[str, Names(BACKBONES, ("timm",))]
NetworkName = Annotated[str, Names(NETWORKS, ("smp",))]
MapName = Literal["ae_is_cam", "is_cam", "cam"]  # keys of AESIPE.forward, folders of the run; the last map first
Module = Literal["pamr", "prototype", "is_cam"]
Device = Literal["auto", "cuda", "cpu", "mps"]
Precision = Literal["auto", "float32", "tf32", "bfloat16", "float16"]
Features = Literal["hierarchical", "semantic"]
Normalization = Literal["minmax", "max", "none"]
CamBackground = Literal["all", "present"]
PaletteName = Literal["voc", "safe"]
FrozenStages = Literal[0, 1, 2, 3, 4]
BatchNorm = Literal["frozen", "train"]
Maps = Annotated[tuple[MapName, ...], Meta(min_length=1)]
Sequence = Annotated[tuple[Module, ...], Meta(min_length=1)]
Rates = Annotated[tuple[Rate, ...], Meta(min_length=1)]
Scales = Annotated[tuple[Scale, ...], Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
TrackerName = Annotated[str, Names(tuple(TRACKERS))]
Workers = Annotated[int, Meta(ge=0, le=1024)]

MAPS = get_args(MapName)
RANGE = ("LOW", "HIGH")
DRIVER = Path("/proc/driver/nvidia/version")  # there where an NVIDIA driver is loaded
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of CPU in so many of time, as containers are given them
AE_SEQUENCE = ("pamr", "prototype", "is_cam")


def setting(default, help, *, decides=True, metavar=None, flags=None, in_config=True):
    """A field of a settings class.

    decides: whether another value makes another result; False for where and how a stage runs and is watched.
    flags: its names on the command line, if others than --NAME; () for one that is given without a name.
    in_config: whether it is a key of config files too; those that are not belong to one call.
    """
    said = {"help": help, "decides": decides, "metavar": metavar, "flags": flags, "in_config": in_config}
    return field(default=default, metadata=said)


def usable_cores():
    """The cores that this process may use: those of its affinity, as far as its container's quota goes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = map(int, QUOTA.read_text().split())
    except (OSError, ValueError):  # no such file, or `max`
        return cores
    return max(1, min(cores, quota // period))


CORES = usable_cores()


def default_workers(most=1024):
    """The cores of this process's share of the machine, `most` of them at most."""
    return max(1, min(most, CORES // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


def with_default(kind, name, default):
    """The setting of a base class with another default."""
    return setting(default, **kind.__dataclass_fields__[name].metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every script has. Values that a stage reads together are checked by `problem`."""

    dataset_root: Text | None = setting("data/VOC2012", "dataset in VOC layout (docs/own_data.md)", decides=False)
    dataset_format: Text = setting("voc", "how the dataset is stored: a name in data/datasets.py", decides=False)
    run_root: Text = setting("runs", "folder of all runs", decides=False)
    session_name: Text = setting("aesipe", "the run's folder below run_root", decides=False)
    num_workers: Workers = setting(
        default_workers(), "worker processes per process; unless given, its share of the CPU cores", decides=False
    )
    device: Device = setting(
        "auto", "device of the networks; auto: the GPU, or the CPU where there is none", decides=False
    )

    @property
    def run(self):
        """The run's folder, a `tool.run.Run`."""
        from tool.run import Run  # which imports this module

        return Run(self.run_path())

    def run_path(self):
        return Path(self.run_root) / self.session_name

    def problem(self):
        """What is wrong with values that are right each by itself; None if nothing is."""
        name = self.session_name
        if any(part in ("", ".", "..") for part in name.split("/")) or not name.isprintable():
            return f"session_name must name a folder below run_root: {brief(repr(name))}"
        for key in ("dataset_root", "run_root"):
            if (getattr(self, key) or "").startswith("~"):
                return f"{key} {brief(getattr(self, key))}: ~ is no home folder here: write the whole path"
        for item in fields(self):
            low, high = getattr(self, item.name) if item.metadata["metavar"] == RANGE else (0, 0)
            if low > high:
                return f"{item.name} {low:g} {high:g}: is a range, the lower end comes first"
        return None

    def batch_problem(self, processes):
        """What is wrong with the batch's size where it is shared among so many processes; None if nothing is."""
        return None


@dataclass(frozen=True, kw_only=True)
class _Data(Settings):
    skip_bad: bool = setting(
        False, "continue without images that cannot be used, listing them, instead of stopping at once", decides=False
    )


@dataclass(frozen=True, kw_only=True)
class _Run(Settings):
    """Of tools that use a finished run, which may have come from another machine without its dataset."""

    dataset_root: Text | None = setting(None, "dataset in VOC layout; default: as the run was made", decides=False)
    run_folder: Text | None = setting(
        None,
        "the run's folder, in place of --run_root and --session_name",
        decides=False,
        flags=("--run",),
        in_config=False,
    )

    def run_path(self):
        return self.run_folder or super().run_path()


@dataclass(frozen=True, kw_only=True)
class _Precision(Settings):
    # float32 by default for exports: in 16 bits, and even in TF32, more than 0.1 % of the CAMs' labels change.
    precision: Precision = setting(
        "float32", "precision of the networks; auto: bfloat16 where the GPU has it, else float16; float32 on the CPU"
    )


@dataclass(frozen=True, kw_only=True)
class _Loading(Settings):
    """Before `_Data` among the bases of a class: the last base's fields come first, and the first base's stay."""

    num_workers: Workers = setting(
        default_workers(8),
        "data loading processes per process; unless given, its share of the CPU cores, at most 8",
        decides=False,
    )


@dataclass(frozen=True, kw_only=True)
class _Drawn(Settings):
    palette: PaletteName = setting(
        "voc", "colours of classes and heat in pictures; safe: those that colour-blind people tell apart"
    )


@dataclass(frozen=True, kw_only=True)
class _Encoder(Settings):
    backbone: Backbone = setting("resnet101", "the encoder, of torchvision or timm:NAME")
    weights: Text = setting(
        "imagenet", "imagenet (downloaded), none, or a file; {run} stands for the run's folder", decides=False
    )

    @property
    def initial_weights(self):
        """`weights` with the run's folder in its place."""
        return self.weights.replace("{run}", str(self.run))

    @property
    def weights_file(self):
        """The path of the file, None for "imagenet" and "none"."""
        return None if self.weights in ("imagenet", "none") else Path(self.initial_weights)


@dataclass(frozen=True, kw_only=True)
class _TrainableEncoder(_Encoder):
    frozen_stages: FrozenStages = setting(2, "freeze the stem and the first N stages; 0 freezes nothing")
    batch_norm: BatchNorm = setting(
        "frozen", "frozen: running statistics fixed; train: usual batch norm, synchronised over GPUs"
    )


def _sequence_problem(settings):
    """What is wrong with the order of the method's modules; None if nothing is."""
    steps = (settings.sequence or ()) if settings.ae is not False else ()
    if "is_cam" in steps and "prototype" not in steps[: steps.index("is_cam")]:
        return f"sequence {' '.join(steps)}: is_cam needs a prototype step before it"
    return None


@dataclass(frozen=True, kw_only=True)
class _Method(Settings):
    """The switches between SIPE, AE-SIPE and the rows of the paper's Tables 2 and 3."""

    structure_features: Features = setting(
        "hierarchical", "features of the structure analysis: hierarchical (+HF) or semantic, those of stage 4 (SIPE)"
    )
    ae: bool = setting(True, "affinity enhancement: run --sequence after the first IS-CAM")
    sequence: Sequence = setting(AE_SEQUENCE, "modules after the first IS-CAM, in order (Table 3)")
    normalization: Normalization = setting("minmax", "normalisation of the last map, per class over the image")
    cam_background: CamBackground = setting(
        "all", "background of the CAM: 1 - max over all classes, or over the image's own"
    )
    affinity: Affinity = setting("pamr", "the module that pamr in --sequence stands for")

    def problem(self):
        return _sequence_problem(self) or super().problem()


METHOD = tuple(item.name for item in fields(_Method) if item.name not in {each.name for each in fields(Settings)})


@dataclass(frozen=True, kw_only=True)
class _Tracked(Settings):
    tracker: TrackerName = setting(
        "tensorboard",
        "what shows curves, scores and pictures: tensorboard, wandb (offline, unless WANDB_MODE says otherwise), "
        "mlflow (in the run's folder, unless MLFLOW_TRACKING_URI names a server)",
        decides=False,
    )


@dataclass(frozen=True, kw_only=True)
class _Training(_Loading, _Data, _Precision, _Tracked):
    batch_size: Batch = setting(16, "images in a step, over all processes together")
    crop_size: Side = setting(512, "side of the square crop, pixels")
    lr: Rate = setting(0.01, "initial learning rate of the pre-trained layers; all rates decay polynomially")
    momentum: Share = setting(0.9, "SGD momentum, the share of the last step that is kept")
    weight_decay: Rate = setting(1e-4, "SGD weight decay, the factor on a weight that is added to its gradient")
    accumulate: Positive = setting(
        1, "gradient accumulation steps per process: its share of a batch goes through in so many parts, to save memory"
    )
    seed: Natural = setting(0, "random seed, the number that initial weights, image order and crops follow from")
    precision: Precision = with_default(_Precision, "precision", "auto")
    deterministic: bool = setting(
        False, "the same bits in every run on the same machine, slower on a GPU", decides=False
    )
    compile: bool = setting(
        False,
        "torch.compile the encoder, and the heads of IRN and DeepLabV3: a minute at the start, faster steps on a GPU",
        decides=False,
    )
    save_every: Positive = setting(200, "steps between saved states", decides=False)
    resume: Literal["auto", "never"] = setting(
        "auto", "auto: continue from the newest whole state, skip what is trained; never: train anew", decides=False
    )

    def batch_problem(self, processes):
        parts = processes * self.accumulate
        if self.batch_size % parts:
            return (
                f"batch_size {self.batch_size} cannot be shared out evenly in {parts} parts, processes times "
                "accumulate: choose a multiple of them"
            )
        return super().batch_problem(processes)

    def problem(self):
        return self.batch_problem(int(os.environ.get("WORLD_SIZE", 1))) or super().problem()


@dataclass(frozen=True, kw_only=True)
class _Watched(_Training):
    """A training that is measured on images with masks, as far as there are any."""

    val_list: Text = setting("train", "list with masks on which training is watched", decides=False)
    val_every: Natural = setting(
        500, "steps between measurements of the mIoU, the last step included; 0: never", decides=False
    )
    val_images: Positive = setting(100, "images of val_list that are measured, spread over it", decides=False)


@dataclass(frozen=True, kw_only=True)
class PrepareDataset(_Data):
    kind: Literal["toy", "voc12", "coco14", "pets", "folder"] = setting(
        "folder",
        "toy: made from --seed; voc12, coco14: official trees, archives or a download (docs/voc.md, docs/coco.md); "
        "pets: cats and dogs of Oxford-IIIT Pet in the same way (docs/photos.md); folder: your own images "
        "(docs/own_data.md)",
    )
    sources: tuple[Text, ...] = setting(
        (),
        "voc12: folders with the archives VOCtrainval_11-May-2012.tar, VOC2012test.tar (optional) and "
        "benchmark.tgz (SBD), coco14: with train2014.zip, val2014.zip and annotations_trainval2014.zip, pets: with "
        "images.tar.gz and annotations.tar.gz, or their extracted trees, besides the data set's own folder",
        metavar="DIR",
    )
    voc_root: Text | None = setting(None, "voc12: the extracted VOCdevkit/VOC2012")
    aug_dir: Text | None = setting(None, "voc12: folder of augmented masks, index PNGs, instead of SBD")
    download: bool = setting(
        False,
        "voc12: fetch trainval and SBD where they are not found (3.4 GB); coco14: all three archives (20.4 GB); pets: "
        "both archives (0.8 GB)",
    )
    mirror: Text | None = setting(
        None, "voc12, coco14, pets: URL of a folder with the archives, to download from instead of their own hosts"
    )
    skip_difficult: bool = setting(False, "voc12: leave objects marked as difficult out of the image labels")
    check_counts: bool = setting(
        True,
        "voc12, coco14, pets: refuse lists of another length than the official ones; --no-check_counts for a part of "
        "them",
    )
    overlap: Literal["later", "smallest"] = setting(
        "later",
        "coco14, folder with labels_from coco: which object a pixel gets in the mask where several overlap, the later "
        "in the annotations or the smallest",
    )
    crowd: Literal["background", "ignore", "object"] = setting(
        "background", "coco14, folder with labels_from coco: what objects marked as crowds become in a mask"
    )
    labels_from: Literal["text", "xml", "folders", "coco"] = setting(
        "text", "folder: image_labels.txt; Annotations/ID.xml; images_by_class/CLASS/; or coco: --annotations"
    )
    annotations: Text | None = setting(None, "folder with labels_from coco: the JSON in COCO's format")
    overwrite: bool = setting(False, "folder: replace an image_labels.txt that says otherwise")
    train: Count = setting(200, "toy: images of the list train, the first of train_aug")
    train_aug: Count = setting(400, "toy: training images")
    val: Count = setting(100, "toy: validation images")
    size: Annotated[int, Meta(ge=1, le=4096)] = setting(160, "toy: long side in pixels")
    seed: Natural = setting(0, "toy: random seed, the number that the drawing follows from")

    def problem(self):
        if self.kind == "folder" and self.labels_from == "coco" and self.annotations is None:
            return "labels_from coco reads a JSON in COCO's format: name it by --annotations"
        return super().problem()


@dataclass(frozen=True, kw_only=True)
class TrainAesipe(_Watched, _TrainableEncoder, _Method):
    """Settings of train_aesipe.py; in a record, all that builds the network: `net.aesipe.build`."""

    max_epochs: Count = setting(5, "epochs, passes over the list")
    lr_new: Rate = setting(0.1, "initial learning rate of the new layers")
    long_side: tuple[Pixels, Pixels] = setting(
        (320, 640), "range of the image's longer side in training, pixels", metavar=RANGE
    )
    train_list: Text = setting("train_aug", "lists/NAME.txt of the dataset", decides=False)


def _as_trained(name):
    """A switch of the method that is the training's where it is not given."""
    switch = _Method.__dataclass_fields__[name].metadata
    return setting(None, **{**switch, "help": f"{switch['help']}; default: as trained"})


@dataclass(frozen=True, kw_only=True)
class MakeCam(_Loading, _Data, _Precision):
    structure_features: Features | None = _as_trained("structure_features")
    affinity: Affinity | None = _as_trained("affinity")
    ae: bool | None = _as_trained("ae")
    sequence: Sequence | None = _as_trained("sequence")
    normalization: Normalization | None = _as_trained("normalization")
    cam_background: CamBackground | None = _as_trained("cam_background")
    list: Text = setting("train_aug", "lists/NAME.txt of the dataset", decides=False)
    scales: Scales = setting((1.0, 0.5, 1.5, 2.0), "factors of the image's size")
    maps: Maps = setting(("ae_is_cam",), "what to export, each into the folder of its name", decides=False)
    cam_bits: Literal[16, 8] = setting(16, "bits of a score: 16, float16; 8, steps of 1/255")

    def problem(self):
        if len({*self.maps}) < len(self.maps):
            return f"maps {' '.join(self.maps)}: name each once"
        return _sequence_problem(self) or super().problem()


@dataclass(frozen=True, kw_only=True)
class EvalCam(_Data, _Tracked):
    list: Text = setting("train", "lists/NAME.txt of the dataset")
    maps: Maps = setting(("ae_is_cam",), "which of make_cam.py's exports")
    background_weight: Rates = setting((0.8,), "factors on the background's score before the argmax, each evaluated")
    sweep: tuple[Rate, ...] = setting((), "more factors, evaluated without CRF")
    crf: bool = setting(True, "evaluate the labels after dense CRF too")
    crf_maps: Maps | None = setting(None, "of --maps, those that dense CRF, the slow part, is run on; default: all")

    def problem(self):
        for name in self.crf_maps or ():
            if name not in self.maps:
                return f"crf_maps names {name}, which maps does not: add it there"
        return super().problem()


def _refine(decides):
    return setting(
        "irn",
        "how maps become pseudo labels: irn, by IRN's random walk; crf, by dense CRF alone, without training IRN",
        decides=decides,
    )


@dataclass(frozen=True, kw_only=True)
class MakeIrLabels(_Data):
    refine: Literal["irn", "crf"] = _refine(decides=False)
    map: MapName = setting("ae_is_cam", "which of make_cam.py's exports to label")
    list: Text = setting("train_aug", "lists/NAME.txt of the dataset", decides=False)
    foreground_weight: Rate = setting(
        1.0, "factor on the background's score for the labels that make the confident foreground"
    )
    background_weight: Rate = setting(
        0.8, "factor on the background's score for the labels that make the confident background"
    )


@dataclass(frozen=True, kw_only=True)
class TrainIrn(_Training, _Encoder):
    """Settings of train_irn.py; in a record, all that builds the network: `net.irn.build`."""

    refine: Literal["irn", "crf"] = _refine(decides=False)
    backbone: Backbone = with_default(_Encoder, "backbone", "resnet50")
    batch_size: Batch = with_default(_Training, "batch_size", 32)
    lr: Rate = setting(0.1, "initial learning rate of the boundary head; the displacement head's is ten times it")
    momentum: Share = setting(
        0.0,
        "SGD momentum, the share of the last step that is kept; 0, since IRN's published code passes its weight decay "
        "in momentum's place by mistake and so trains with next to none",
    )
    max_epochs: Count = setting(3, "epochs, passes over the list")
    list: Text = setting("train_aug", "lists/NAME.txt of the dataset", decides=False)
    scale: tuple[Scale, Scale] = setting((0.5, 1.5), "factors of the image's size in training, a range", metavar=RANGE)
    radius: Radius = setting(10, "radius of the pixel pairs, in pixels at stride 4")
    labels: Text = setting(
        "ir_label", "folder of label images in the run's folder, or `truth`, the masks: an upper bound"
    )
    kernel: Literal[1, 3] = setting(
        1, "kernel size of the heads' first convolutions; 1 as published, 3 for encoders whose maps have few channels"
    )
    frozen_stages: FrozenStages = setting(
        4, "freeze the stem and the first N stages; 4, as published, freezes all; those that train have a tenth of lr"
    )
    displacement: bool = setting(
        True, "learn displacements to object centres too, which instance labels need and no stage here does"
    )

    def problem(self):
        stride = 4  # of IRN's maps
        if self.crop_size // stride < 2 * self.radius - 1:
            return (
                f"crop_size {self.crop_size} is too small for pairs within radius {self.radius} at stride {stride}: "
                f"at least {stride * (2 * self.radius - 1)} is needed"
            )
        return super().problem()


@dataclass(frozen=True, kw_only=True)
class MakeSegLabels(_Loading, _Data, _Precision):
    refine: Literal["irn", "crf"] = _refine(decides=True)
    map: MapName = setting("ae_is_cam", "which of make_cam.py's exports to spread")
    list: Text = setting("train_aug", "lists/NAME.txt of the dataset", decides=False)
    power: Annotated[float, Meta(ge=0, le=100)] = setting(1.5, "exponent of the CAM before the walk")
    radius: Radius = setting(5, "radius of the pixel pairs, in pixels at stride 4")
    beta: Annotated[float, Meta(ge=0, le=1000)] = setting(10.0, "exponent of the affinities")
    steps: Count = setting(256, "steps of the random walk")
    boundary_scale: Scale = setting(
        1.0,
        "factor of the image's size at which IRN draws the boundary and the walk goes; 1 as published, 1.5 for a finer "
        "grid where images are small",
    )
    background_weight: Rate = setting(1.0, "factor on the background's score before the argmax")
    keep_scores: bool = setting(
        False, "keep the scores after the walk in seg_score, for eval_seg.background_weight", decides=False
    )

    @property
    def unread(self):
        """What the stage can do without."""
        return (IRN,) if self.refine == "crf" else ()

    @property
    def scales(self):
        """Factors by which it resizes each image: dense CRF takes it as it is."""
        return (self.boundary_scale if self.refine == "irn" else 1.0,)

    @property
    def scores(self):
        """Folders of scores that it writes."""
        return (SCORES,) if self.keep_scores else ()

    def problem(self):
        if self.keep_scores and self.refine == "crf":
            return "keep_scores: with refine crf there is no walk that makes scores: leave it out"
        return super().problem()


@dataclass(frozen=True, kw_only=True)
class EvalSeg(_Data, _Tracked):
    list: Text = setting("train", "lists/NAME.txt of the dataset")
    folder: Text = setting("seg_label", "folder of label images in the run's folder")
    background_weight: tuple[Rate, ...] = setting(
        (), "factors on the background's score at which kept scores (make_seg_labels.keep_scores) are evaluated too"
    )
    crf: bool = setting(True, "evaluate the labels of the kept scores after dense CRF too")

    @property
    def scores(self):
        """Folders of scores that it reads."""
        return (SCORES,) if self.background_weight else ()


@dataclass(frozen=True, kw_only=True)
class DeeplabTrain(_Watched, _TrainableEncoder):
    """Settings of deeplab/train.py; in a record, all that builds the network: `deeplab.model.build`."""

    frozen_stages: FrozenStages = with_default(_TrainableEncoder, "frozen_stages", 0)
    batch_norm: BatchNorm = with_default(_TrainableEncoder, "batch_norm", "train")
    val_list: Text = with_default(_Watched, "val_list", "val")
    val_every: Natural = with_default(_Watched, "val_every", 0)
    network: NetworkName = setting(
        "deeplabv3", "deeplabv3; torchvision:NAME, whose encoder is in its name, not --backbone; smp:NAME, as smp:Unet"
    )
    max_iters: Positive = setting(20_000, "training steps")
    list: Text = setting("train_aug", "lists/NAME.txt of the dataset", decides=False)
    labels: Text = setting("seg_label", "folder of label images in the run's folder, or `truth` for full supervision")
    scale: tuple[Scale, Scale] = setting((0.5, 2.0), "factors of the image's size in training, a range", metavar=RANGE)

    def batch_problem(self, processes):
        parts, least = processes * self.accumulate, 2 * processes
        if processes > 1 and (self.device == "cuda" or (self.device == "auto" and DRIVER.exists())):
            least = 2  # it is synchronised there
        if self.batch_size < least * self.accumulate:
            return (
                f"batch_size {self.batch_size} in {parts} part(s), processes times accumulate: batch norm of DeepLab's "
                "image pooling needs two images or more in each"
            )
        return super().batch_problem(processes)

    def problem(self):
        if self.frozen_stages and ":" in self.network:
            return f"network {self.network} trains all of its encoder: frozen_stages must be 0"
        return super().problem()


@dataclass(frozen=True, kw_only=True)
class DeeplabTest(_Data, _Precision, _Tracked):
    list: Text = setting("val", "lists/NAME.txt of the dataset", decides=False, flags=("--list", "--split"))
    scales: Scales = setting((0.5, 0.75, 1.0, 1.25, 1.5, 1.75), "factors of the image's size")
    flip: bool = setting(True, "the mirror image too")
    crf: bool = setting(True, "refine by dense CRF", decides=False)
    submission: Text | None = setting(
        None,
        "archive for VOC's evaluation server to write, .tgz: of the labels after CRF, or with --no-crf of those before",
        decides=False,
    )
    competition: Literal["comp5", "comp6"] = setting(
        "comp6", "comp5: trained on VOC 2012's own data alone; comp6: on other data too", decides=False
    )


@dataclass(frozen=True, kw_only=True)
class _Page(Settings):
    open: bool = setting(
        False, "open the page in the browser; where there is none, say where it is", decides=False, in_config=False
    )


@dataclass(frozen=True, kw_only=True)
class Report(_Data, _Drawn, _Page):
    dataset_root: Text | None = setting(
        None, "dataset in VOC layout; default: the one that the run names in its settings", decides=False
    )
    runs: tuple[Text, ...] = setting(
        (),
        "folders of runs, before any flag that takes a list: the first is judged and gets the report, the "
        "second is its baseline, others are compared too; none: the run of --run_root and --session_name",
        decides=False,
        metavar="RUN",
        flags=(),
        in_config=False,
    )
    list: Text = setting("train", "list whose images are shown and counted")
    images: Annotated[int, Meta(ge=1, le=10_000)] = setting(
        8, "number of images in panels.png, spread over the list, and in each group of the page"
    )
    scales: Scales = setting((1.0,), "factors of the image's size, of the shown predictions")
    background_weight: Rate = setting(
        1.0, "factor on the background's score for the outlines in the maps and the order of images"
    )
    per_class: bool = setting(True, "tables of IoU per class")
    failure_images: Natural = setting(
        300, "images, spread over the list, whose seeds before and after AE are counted; 0: none"
    )
    figure: tuple[Text, ...] = setting((), "draw the paper's figures 1 and 3 for these images", metavar="ID")
    out: Text | None = setting(None, "folder to write to instead of RUN/report", decides=False)

    def run_path(self):
        return self.runs[0] if self.runs else super().run_path()


@dataclass(frozen=True, kw_only=True)
class _Asked(_Run, _Precision, _Drawn):
    """How a run's networks are asked about any image."""

    threshold: Share = setting(
        0.5, "least probability of a class for it to be taken as found; the most probable one always is"
    )
    scales: Scales | None = setting(None, "factors of the image's size; default: those of the run's own export or test")
    background_weight: Rate = setting(0.8, "factor on the background's score for the labels of the maps")
    max_side: Pixels | None = setting(
        None,
        "pixels: larger images are seen at this longer side, and their labels resized back; default: the upper end of"
        " the run's train_aesipe.long_side, else 640",
    )


@dataclass(frozen=True, kw_only=True)
class Predict(_Asked, _Page):
    image: Annotated[tuple[Text, ...], Meta(min_length=1)] = setting(
        (), "image files, and folders that are searched for them in depth"
    )
    out: Text | None = setting(None, "folder to write into; default: predict in the run's folder")
    network: Literal["deeplab", "aesipe", "all"] | None = setting(
        None,
        "deeplab: the segmentation; aesipe: CAM, IS-CAM and AE-IS-CAM; default: the first of the two that the run has",
    )
    labels: Annotated[tuple[Text, ...], Meta(min_length=1)] | None = setting(
        None,
        "the classes that the images show, with spaces or commas between; default: aesipe asks its classifier, "
        "deeplab takes all",
        metavar="CLASS",
    )
    crf: bool = setting(False, "refine by dense CRF")


@dataclass(frozen=True, kw_only=True)
class App(_Asked):
    port: Annotated[int, Meta(ge=1, le=65535)] | None = setting(
        None, "port of the page on this machine; default: the first that is free from 7860 on", decides=False
    )


@dataclass(frozen=True, kw_only=True)
class Export(_Run):
    what: Literal["masks", "aesipe", "deeplab"] | None = setting(
        None, "masks: the pseudo labels; aesipe, deeplab: the network"
    )
    out: Text | None = setting(None, "the folder, or the .pt2 or .onnx file, to write")
    format: Literal["pt2", "onnx"] = setting(
        "pt2",
        "format of a network's file: pt2, of torch.export; onnx, which needs the packages onnxscript and onnxruntime",
    )


@cache
def types(kind):
    """{name of a setting: its type} of a settings class."""
    return get_type_hints(kind, include_extras=True)


def plain(settings):
    """Every setting as YAML and JSON can hold it: as section of a config file they give this call again."""
    values = {item.name: getattr(settings, item.name) for item in fields(settings) if item.metadata["in_config"]}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in sorted(values.items())}


def deciding(settings):
    """Those settings that decide what a stage computes, as plain values."""
    names = {item.name for item in fields(settings) if item.metadata["decides"]}
    return {key: value for key, value in plain(settings).items() if key in names}


def from_plain(kind, values):
    """Settings of a class from a record's plain values. A key that it lacks stands for its default; keys that the class
    does not have, of a record in another form, are left out. Raises ValueError for a value that is not allowed."""
    given = {}
    for name, each in types(kind).items():
        if name in values:
            try:
                given[name] = read(each, values[name])
            except ValueError as error:
                raise ValueError(f"{name} {error}") from error
    return replace(kind(), **given)
