"""THE table of stages: what the pipeline is made of, in order. Adding a stage is one row and one script."""

from dataclasses import dataclass, field

from tool import settings

# Map of AESIPE.forward -> folder of the run. The method's last map is the one that the later stages read.
CAM_FOLDERS = {"ae_is_cam": "cam", "is_cam": "is_cam", "cam": "classifier_cam"}


@dataclass(frozen=True)
class Stage:
    """name: its section of a config file. script: its file. settings: its class of `tool.settings`.

    writes: what it leaves in the run's folder. reads: {what it reads there: whether of every image of its list}; a part
    in braces is a setting's value.
    """

    name: str
    script: str
    settings: type
    writes: tuple = ()
    reads: dict = field(default_factory=dict)


STAGES = (
    Stage("dataset", "prepare_dataset.py", settings.PrepareDataset),
    Stage("train_aesipe", "train_aesipe.py", settings.TrainAesipe, ("ckpt/aesipe.pt",)),
    Stage("make_cam", "make_cam.py", settings.MakeCam, tuple(CAM_FOLDERS.values()), {"ckpt/aesipe.pt": False}),
    Stage("eval_cam", "eval_cam.py", settings.EvalCam, ("eval/cam.json",), {"cam": True}),
    Stage("make_ir_labels", "make_ir_labels.py", settings.MakeIrLabels, ("ir_label",), {"cam": True}),
    Stage("train_irn", "train_irn.py", settings.TrainIrn, ("ckpt/irn.pt",), {"ir_label": True}),
    Stage(
        "make_seg_labels",
        "make_seg_labels.py",
        settings.MakeSegLabels,
        ("seg_label",),
        {"ckpt/irn.pt": False, "cam": True},
    ),
    Stage("eval_seg", "eval_seg.py", settings.EvalSeg, ("eval/seg.json",), {"{folder}": True}),
    Stage("deeplab_train", "deeplab/train.py", settings.DeeplabTrain, ("ckpt/deeplab.pt",), {"{labels}": True}),
    Stage("deeplab_test", "deeplab/test.py", settings.DeeplabTest, ("deeplab",), {"ckpt/deeplab.pt": False}),
    Stage("report", "report.py", settings.Report, ("report",)),
)
TOOLS = (  # not of the driver
    Stage("predict", "predict.py", settings.Predict),
    Stage("export", "export.py", settings.Export),
)
BY_NAME = {stage.name: stage for stage in (*STAGES, *TOOLS)}
