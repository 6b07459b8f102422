"""The settings of every stage and tool: one dataclass each, whose fields are flags and keys of the config's sections.

A field says its default, its range, its help and whether it decides what the stage computes. Those that do are part of
the record of what was made (`tool.record`); a record that lacks one, since it is older than the setting, stands for its
default. No import in here is heavy: `--help` and the driver's first check read nothing else.
"""

import math
import os
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path

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
MAPS = ("ae_is_cam", "is_cam", "cam")  # keys of AESIPE.forward that are exported, the method's last map first
AE_SEQUENCE = ("pamr", "prototype", "is_cam")
AFFINITIES = ("pamr",)
PRECISIONS = ("auto", "float32", "tf32", "bfloat16", "float16")
MAX_INT = 2**32 - 1  # the largest seed that every generator takes


def setting(default, help="", *, kind=str, choices=None, many=None, decides=True, metavar=None, flags=None):
    """A field of a settings class.

    kind: function from a word of the command line to a value; raises ValueError, whose text is shown. bool: --x/--no-x.
    choices: the values that are allowed. many: "+", "*" or a number of values, then the default is a tuple.
    decides: whether another value makes another result; False for where and how a stage runs and is watched.
    flags: its names on the command line, if others than --NAME; () for one that is given without a name.
    """
    return field(
        default=default,
        metadata={
            "help": help,
            "kind": kind,
            "choices": choices,
            "many": many,
            "decides": decides,
            "metavar": metavar,
            "flags": flags,
        },
    )


def brief(value):
    """A value in at most 60 characters, for messages."""
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def whole(low, high=MAX_INT, why=""):
    """The kind of whole numbers from low to high. why: added to the message about one that is too small."""

    def parse(text):
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"must be a whole number: {brief(text)}") from None
        if value < low:
            raise ValueError(f"must be at least {low}{why}: {brief(text)}")
        if value > high:
            raise ValueError(f"must be at most {high}: {brief(text)}")
        return value

    return parse


def number(low=0.0, high=math.inf, above=None):
    """The kind of finite numbers from low (or above `above`) to high."""

    def parse(text):
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"must be a number: {brief(text)}") from None
        enough = value > above if above is not None else value >= low
        if not (enough and value <= high and math.isfinite(value)):  # NaN fails the first
            least = f"above {above:g}" if above is not None else f"from {low:g} up"
            most = f", at most {high:g}" if math.isfinite(high) else ""
            raise ValueError(f"must be a number {least}{most}: {brief(text)}")
        return value

    return parse


def text(value):
    """The kind of texts that are not empty, such as paths."""
    if not value.strip() or "\0" in value:
        raise ValueError(f"must not be empty: {brief(repr(value))}")
    return value


def known(names, *libraries):
    """The kind of names that are known here, or LIBRARY:NAME, which the library checks when it builds what it names."""
    shown = ", ".join([*names, *(f"{library}:NAME" for library in libraries)])

    def parse(text):
        library, colon, name = text.partition(":")
        if text not in names and not (colon and name and library in libraries):
            near = get_close_matches(text, names, n=1, cutoff=0)[0]
            raise ValueError(f"unknown: {brief(text)}, did you mean {near}? There are {shown}")
        return text

    return parse


def run_name(value):
    """The kind of names of runs: a folder below run_root, or folders with / between them."""
    if any(part in ("", ".", "..") for part in value.split("/")) or not value.isprintable():
        raise ValueError(f"must name a folder below run_root: {brief(repr(value))}")
    return value


def default_workers():
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


natural, positive = whole(0), whole(1)
rate = number(0)
share = number(0, 1)
scale = number(above=0, high=8)  # of an image's size
side = whole(32, 8192, why=", two cells of the networks' grid")
batch = whole(1, 65536)
backbone_name = known(BACKBONES, "timm")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every script has. Values that a stage reads together are checked by `problem`."""

    dataset_root: str | None = setting("data/VOC2012", "dataset in VOC layout (README)", kind=text, decides=False)
    run_root: str = setting("runs", "folder of all runs", kind=text, decides=False)
    session_name: str = setting("aesipe", "the run's folder below run_root", kind=run_name, decides=False)
    num_workers: int = setting(default_workers(), "worker processes", kind=whole(0, 1024), decides=False)

    @property
    def run(self):
        """The run's folder."""
        return Path(self.run_root) / self.session_name

    def problem(self):
        """What is wrong with values that are right each by itself; None if nothing is."""
        for item in fields(self):
            value = getattr(self, item.name)
            if item.metadata["many"] == 2 and value[0] > value[1]:
                return f"{item.name} {value[0]:g} {value[1]:g}: is a range, the lower end comes first"
        return None


@dataclass(frozen=True, kw_only=True)
class _Data(Settings):
    skip_bad: bool = setting(
        False,
        "go on without images that cannot be used, listing them, instead of stopping at once",
        kind=bool,
        decides=False,
    )


@dataclass(frozen=True, kw_only=True)
class _Run(Settings):
    """Of tools that use a finished run, which may have come from another machine without its dataset."""

    dataset_root: str | None = setting(
        None, "dataset in VOC layout; default: as the run was made", kind=text, decides=False
    )
    run_folder: str | None = setting(
        None, "the run's folder, in place of --run_root and --session_name", kind=text, decides=False, flags=("--run",)
    )

    @property
    def run(self):
        return Path(self.run_folder) if self.run_folder else super().run


@dataclass(frozen=True, kw_only=True)
class _Precision(Settings):
    # float32 by default for exports: in 16 bits, and even in TF32, more than 0.1 % of the CAMs' labels change.
    precision: str = setting(
        "float32",
        "of the networks; auto: bfloat16 where the GPU has it, else float16; float32 on the CPU",
        choices=PRECISIONS,
    )


@dataclass(frozen=True, kw_only=True)
class _Encoder(Settings):
    backbone: str = setting("resnet101", "the encoder, of torchvision or timm:NAME", kind=backbone_name)
    weights: str = setting(
        "imagenet",
        "imagenet (downloaded), none, or a file; {run} stands for the run's folder",
        kind=text,
        decides=False,
    )  # what the file holds decides, see `tool.record`

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
    frozen_stages: int = setting(
        2, "the stem and as many stages get no gradient; 0 trains all", kind=natural, choices=(0, 1, 2, 3, 4)
    )
    batch_norm: str = setting(
        "frozen", "running statistics fixed, or usual batch norm (synchronised over GPUs)", choices=("frozen", "train")
    )


@dataclass(frozen=True, kw_only=True)
class _Method(Settings):
    """The switches between SIPE, AE-SIPE and the rows of the paper's Tables 2 and 3."""

    structure_features: str = setting(
        "hierarchical",
        "of the structure analysis: hierarchical (+HF) or stage 4 (SIPE)",
        choices=("hierarchical", "semantic"),
    )
    ae: bool = setting(True, "affinity enhancement: run --sequence after the first IS-CAM", kind=bool)
    sequence: tuple = setting(
        AE_SEQUENCE, "modules after the first IS-CAM, in order (Table 3)", choices=AE_SEQUENCE, many="+"
    )
    normalization: str = setting(
        "minmax", "of the last map, per class over the image", choices=("minmax", "max", "none")
    )
    cam_background: str = setting(
        "all", "background of the CAM: 1 - max over all classes, or over the image's own", choices=("all", "present")
    )
    affinity: str = setting("pamr", "the module that pamr in --sequence stands for", choices=AFFINITIES)

    def problem(self):
        if (
            self.ae
            and self.sequence
            and "is_cam" in self.sequence
            and "prototype" not in self.sequence[: self.sequence.index("is_cam")]
        ):
            return f"sequence {' '.join(self.sequence)}: is_cam needs a prototype step before it"
        return super().problem()


METHOD = tuple(item.name for item in fields(_Method) if item.name not in {each.name for each in fields(Settings)})


@dataclass(frozen=True, kw_only=True)
class _Training(_Data, _Precision):
    batch_size: int = setting(16, "over all processes together", kind=batch)
    crop_size: int = setting(512, "pixels", kind=side)
    lr: float = setting(0.01, "learning rate of pre-trained layers, per step", kind=rate)
    momentum: float = setting(0.9, "of SGD", kind=share)
    weight_decay: float = setting(1e-4, "of SGD", kind=rate)
    seed: int = setting(0, "of the weights that are drawn, the order of images and the crops", kind=natural)
    precision: str = setting(
        "auto",
        "of the networks; auto: bfloat16 where the GPU has it, else float16; float32 on the CPU",
        choices=PRECISIONS,
    )
    deterministic: bool = setting(
        False, "the same bits in every run on the same machine, slower on a GPU", kind=bool, decides=False
    )
    compile: bool = setting(
        False, "torch.compile the encoder: a minute at the start, faster steps on a GPU", kind=bool, decides=False
    )
    save_every: int = setting(200, "steps between saved states", kind=positive, decides=False)
    resume: str = setting(
        "auto",
        "auto: go on from this run's newest whole state, and skip what is trained; never: anew",
        choices=("auto", "never"),
        decides=False,
    )


@dataclass(frozen=True, kw_only=True)
class PrepareDataset(_Data):
    kind: str = setting(
        "folder",
        "toy: made from --seed; voc12: from official trees, archives or a download; folder: "
        "your own images (docs/own_data.md)",
        choices=("toy", "voc12", "folder"),
    )
    sources: tuple = setting(
        (),
        "voc12: folders with the archives VOCtrainval_11-May-2012.tar, VOC2012test.tar "
        "(optional) and benchmark.tgz (SBD) or their extracted trees, besides the data set's "
        "own folder",
        many="*",
        metavar="DIR",
        kind=text,
    )
    voc_root: str | None = setting(None, "voc12: the extracted VOCdevkit/VOC2012", kind=text)
    aug_dir: str | None = setting(None, "voc12: folder of augmented masks, index PNGs, instead of SBD", kind=text)
    download: bool = setting(False, "voc12: fetch trainval and SBD where they are not found (3.4 GB)", kind=bool)
    mirror: str | None = setting(
        None, "voc12: URL of a folder with the archives, to download from instead of their own hosts", kind=text
    )
    skip_difficult: bool = setting(False, "voc12: leave objects marked as difficult out of the image labels", kind=bool)
    check_counts: bool = setting(
        True,
        "voc12: refuse lists of another length than the official ones; --no-check_counts for a part of VOC 2012",
        kind=bool,
    )
    labels_from: str = setting(
        "text",
        "folder: image_labels.txt; Annotations/ID.xml; or images_by_class/CLASS/",
        choices=("text", "xml", "folders"),
    )
    overwrite: bool = setting(False, "folder: replace an image_labels.txt that says otherwise", kind=bool)
    train: int = setting(200, "toy: images with masks for evaluation", kind=whole(1, 1_000_000))
    train_aug: int = setting(400, "toy: training images", kind=whole(1, 1_000_000))
    val: int = setting(100, "toy: validation images", kind=whole(1, 1_000_000))
    size: int = setting(160, "toy: long side in pixels", kind=whole(1, 4096))
    seed: int = setting(0, "toy", kind=natural)


@dataclass(frozen=True, kw_only=True)
class TrainAesipe(_Training, _TrainableEncoder, _Method):
    """Settings of train_aesipe.py; in a record, all that builds the network: `net.aesipe.build`."""

    max_epochs: int = setting(5, "passes over the list", kind=whole(1, 100_000))
    lr_new: float = setting(0.1, "learning rate of new layers, per step", kind=rate)
    long_side: tuple = setting(
        (320, 640),
        "range of the image's longer side in training, pixels",
        kind=whole(1, 16384),
        many=2,
        metavar=("LOW", "HIGH"),
    )
    train_list: str = setting("train_aug", "lists/NAME.txt of the dataset", kind=text, decides=False)
    val_list: str = setting("train", "list with masks on which training is watched", kind=text, decides=False)
    val_every: int = setting(
        500,
        "steps between measurements of the maps' mIoU, the last step included; 0: never",
        kind=natural,
        decides=False,
    )
    val_images: int = setting(100, "how many, spread over val_list", kind=positive, decides=False)


@dataclass(frozen=True, kw_only=True)
class MakeCam(_Data, _Precision, _Method):
    structure_features: str | None = setting(
        None,
        "of the structure analysis; default, as of the five below: as trained",
        choices=("hierarchical", "semantic"),
    )
    ae: bool | None = setting(None, "affinity enhancement: run --sequence after the first IS-CAM", kind=bool)
    sequence: tuple | None = setting(
        None, "modules after the first IS-CAM, in order (Table 3)", choices=AE_SEQUENCE, many="+"
    )
    normalization: str | None = setting(
        None, "of the last map, per class over the image", choices=("minmax", "max", "none")
    )
    cam_background: str | None = setting(
        None, "background of the CAM: 1 - max over all classes, or over the image's own", choices=("all", "present")
    )
    affinity: str | None = setting(None, "the module that pamr in --sequence stands for", choices=AFFINITIES)
    list: str = setting("train_aug", "lists/NAME.txt of the dataset", kind=text, decides=False)
    scales: tuple = setting((1.0, 0.5, 1.5, 2.0), "factors of the image's size", kind=scale, many="+")
    maps: tuple = setting(
        ("ae_is_cam",),
        "what to export: ae_is_cam, the method's last map, into cam/; is_cam and cam "
        "(the classifier's) into is_cam/ and classifier_cam/",
        choices=MAPS,
        many="+",
        decides=False,
    )
    cam_bits: int = setting(16, "float16, or steps of 1/255", kind=natural, choices=(16, 8))


@dataclass(frozen=True, kw_only=True)
class EvalCam(_Data):
    list: str = setting("train", "lists/NAME.txt of the dataset", kind=text)
    maps: tuple = setting(("ae_is_cam",), "which of make_cam.py's exports", choices=MAPS, many="+")
    background_weight: tuple = setting(
        (0.8,), "factors on the background's score before the argmax, each evaluated", kind=rate, many="+"
    )
    sweep: tuple = setting((), "more factors, evaluated without CRF", kind=rate, many="*")
    crf: bool = setting(True, "evaluate the labels after dense CRF too", kind=bool)
    crf_maps: tuple | None = setting(
        None, "of --maps, those that dense CRF, the slow part, is run on; all when not given", choices=MAPS, many="+"
    )


@dataclass(frozen=True, kw_only=True)
class MakeIrLabels(_Data):
    list: str = setting("train_aug", "lists/NAME.txt of the dataset", kind=text, decides=False)
    background_weight: float = setting(
        0.8, "factor on the background's score for the labels that make the confident background", kind=rate
    )


@dataclass(frozen=True, kw_only=True)
class TrainIrn(_Training, _Encoder):
    """Settings of train_irn.py; in a record, all that builds the network: `net.irn.build`."""

    backbone: str = setting("resnet50", "the encoder, of torchvision or timm:NAME", kind=backbone_name)
    batch_size: int = setting(32, "over all processes together", kind=batch)
    lr: float = setting(
        0.1, "learning rate of the boundary head, per step; the displacement head's is ten times it", kind=rate
    )
    max_epochs: int = setting(3, "passes over the list", kind=whole(1, 100_000))
    list: str = setting("train_aug", "lists/NAME.txt of the dataset", kind=text, decides=False)
    scale: tuple = setting((0.5, 1.5), "range of the resizing in training", kind=scale, many=2, metavar=("LOW", "HIGH"))
    radius: int = setting(10, "of the pairs, pixels at stride 4", kind=whole(2, 256, ", or there is no pair"))

    def problem(self):
        stride = 4  # of IRN's maps
        if self.crop_size // stride < 2 * self.radius - 1:
            return (
                f"crop_size {self.crop_size} is too small for pairs within radius {self.radius} at stride {stride}: "
                f"at least {stride * (2 * self.radius - 1)} is needed"
            )
        return super().problem()


@dataclass(frozen=True, kw_only=True)
class MakeSegLabels(_Data, _Precision):
    list: str = setting("train_aug", "lists/NAME.txt of the dataset", kind=text, decides=False)
    power: float = setting(1.5, "exponent of the CAM before the walk", kind=number(0, 100))
    radius: int = setting(5, "of the pairs, pixels at stride 4", kind=whole(2, 256, ", or there is no pair"))
    beta: float = setting(10.0, "exponent of the affinities", kind=number(0, 1000))
    steps: int = setting(256, "of the random walk", kind=whole(1, 1_000_000))
    background_weight: float = setting(1.0, "factor on the background's score before the argmax", kind=rate)


@dataclass(frozen=True, kw_only=True)
class EvalSeg(_Data):
    list: str = setting("train_aug", "lists/NAME.txt of the dataset", kind=text)
    folder: str = setting("seg_label", "folder of label images in the run's folder", kind=text)


@dataclass(frozen=True, kw_only=True)
class DeeplabTrain(_Training, _TrainableEncoder):
    """Settings of deeplab/train.py; in a record, all that builds the network: `deeplab.model.build`."""

    frozen_stages: int = setting(
        0, "the stem and as many stages get no gradient; 0 trains all", kind=natural, choices=(0, 1, 2, 3, 4)
    )
    batch_norm: str = setting(
        "train", "running statistics fixed, or usual batch norm (synchronised over GPUs)", choices=("frozen", "train")
    )
    network: str = setting(
        "deeplabv3",
        "deeplabv3; torchvision:NAME, whose encoder is in its name, not --backbone; smp:NAME, such as smp:Unet",
        kind=known(NETWORKS, "smp"),
    )
    max_iters: int = setting(20_000, "training steps", kind=whole(1, 100_000_000))
    list: str = setting("train_aug", "lists/NAME.txt of the dataset", kind=text, decides=False)
    labels: str = setting(
        "seg_label", "folder of label images in the run's folder, or `truth` for full supervision", kind=text
    )
    scale: tuple = setting((0.5, 2.0), "range of the resizing in training", kind=scale, many=2, metavar=("LOW", "HIGH"))

    def problem(self):
        world = int(os.environ.get("WORLD_SIZE", 1))
        if self.batch_size < 2 * world:
            return (
                f"batch_size {self.batch_size} on {world} process(es): batch norm of DeepLab's image pooling needs "
                "two images or more on each"
            )
        if self.frozen_stages and ":" in self.network:
            return f"network {self.network} trains all of its encoder: frozen_stages must be 0"
        return super().problem()


@dataclass(frozen=True, kw_only=True)
class DeeplabTest(_Data, _Precision):
    list: str = setting("val", "lists/NAME.txt of the dataset", kind=text, decides=False, flags=("--list", "--split"))
    scales: tuple = setting((0.5, 0.75, 1.0, 1.25, 1.5, 1.75), "factors of the image's size", kind=scale, many="+")
    flip: bool = setting(True, "the mirror image too", kind=bool)
    crf: bool = setting(True, "refine by dense CRF", kind=bool, decides=False)  # into a folder of its own
    submission: str | None = setting(
        None,
        "archive for VOC's evaluation server to write, .tgz: of the labels after CRF, or with --no-crf of those before",
        kind=text,
        decides=False,
    )
    competition: str = setting(
        "comp6",
        "comp5: trained on VOC 2012's own data alone; comp6: on other data too",
        choices=("comp5", "comp6"),
        decides=False,
    )


@dataclass(frozen=True, kw_only=True)
class Report(_Data):
    dataset_root: str | None = setting(
        None, "dataset in VOC layout; default: the one that the run names in its settings", kind=text, decides=False
    )
    runs: tuple = setting(
        (),
        "folders of runs, before any flag that takes a list: the first is judged and gets the "
        "report, the second is its baseline, others are compared too; none: the run of --run_root "
        "and --session_name",
        many="*",
        kind=text,
        metavar="RUN",
        decides=False,
        flags=(),
    )
    list: str = setting("train", "list whose images are shown and counted", kind=text)
    images: int = setting(
        8, "number of images in panels.png, spread over the list, and in each group of the page", kind=whole(1, 10_000)
    )
    scales: tuple = setting((1.0,), "of the shown predictions", kind=scale, many="+")
    background_weight: float = setting(
        1.0, "factor on the background's score for the outlines in the maps and the order of images", kind=rate
    )
    per_class: bool = setting(True, "tables of IoU per class", kind=bool)
    failure_images: int = setting(
        300, "images, spread over the list, whose seeds before and after AE are counted; 0: none", kind=natural
    )
    figure: tuple = setting((), "draw the paper's figures 1 and 3 for these images", many="*", metavar="ID", kind=text)
    out: str | None = setting(None, "folder to write to instead of RUN/report", kind=text, decides=False)

    @property
    def run(self):
        return Path(self.runs[0]) if self.runs else super().run


@dataclass(frozen=True, kw_only=True)
class Predict(_Run, _Precision):
    image: tuple = setting((), "image files, and folders that are searched for them in depth", many="+", kind=text)
    out: str | None = setting(None, "folder to write into; default: predict in the run's folder", kind=text)
    network: str | None = setting(
        None,
        "deeplab: the segmentation; aesipe: CAM, IS-CAM and AE-IS-CAM; default: the first of the two that the run has",
        choices=("deeplab", "aesipe", "all"),
    )
    labels: str | None = setting(
        None,
        "the classes that the images show, with commas: cat,person; default: aesipe asks "
        "its classifier, deeplab takes all",
    )
    threshold: float = setting(
        0.5, "probability from which the classifier's class is taken; the strongest always is", kind=share
    )
    scales: tuple | None = setting(None, "default: those of the run's own export or test", kind=scale, many="+")
    background_weight: float = setting(0.8, "factor on the background's score for the labels of the maps", kind=rate)
    crf: bool = setting(False, "refine by dense CRF", kind=bool)
    max_side: int | None = setting(
        None,
        "larger images are seen at this longer side, and their labels resized back; "
        "default: the upper end of the run's train_aesipe.long_side, else 640",
        kind=whole(1, 16384),
    )


@dataclass(frozen=True, kw_only=True)
class Export(_Run):
    what: str | None = setting(
        None, "masks: the pseudo labels; aesipe, deeplab: the network", choices=("masks", "aesipe", "deeplab")
    )
    out: str | None = setting(None, "the folder, or the .pt2 or .onnx file, to write", kind=text)
    format: str = setting(
        "pt2",
        "of a network: pt2, a graph of torch.export; onnx, which needs the packages onnxscript and onnxruntime",
        choices=("pt2", "onnx"),
    )


def plain(settings):
    """Every setting as YAML and JSON can hold it: as section of a config file they give this call again."""
    values = {item.name: getattr(settings, item.name) for item in fields(settings) if item.metadata["flags"] != ()}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in sorted(values.items())}


def deciding(settings):
    """Those settings that decide what a stage computes, as plain values."""
    names = {item.name for item in fields(settings) if item.metadata["decides"]}
    return {key: value for key, value in plain(settings).items() if key in names}


def from_plain(kind, values):
    """Settings of a class from a record's plain values. A key that it lacks stands for its default; keys that the class
    does not have, of a record in another form, are left out. Raises ValueError for a value that is not allowed."""
    given = {}
    for item in fields(kind):
        if item.name in values:
            value, choices = values[item.name], item.metadata["choices"]
            given[item.name] = tuple(value) if isinstance(value, list) else value
            parts = value if isinstance(value, list) else [value]
            if choices and not (value is None or all(part in choices for part in parts)):
                raise ValueError(f"{item.name} is {brief(value)}, not one of {', '.join(map(str, choices))}")
            if isinstance(value, str):
                try:
                    item.metadata["kind"](value)
                except ValueError as error:
                    raise ValueError(f"{item.name}: {error}") from error
    return replace(kind(), **given)
