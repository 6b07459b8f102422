"""THE table of stages: what the pipeline is made of, in order. Adding a stage is one row and one script."""

from dataclasses import dataclass

from tool import settings

# Map of AESIPE.forward -> folder of the run. The method's last map is the one that the later stages read.
CAM_FOLDERS = {"ae_is_cam": "cam", "is_cam": "is_cam", "cam": "classifier_cam"}


@dataclass(frozen=True)
class Stage:
    """name: its section of a config file. script: its file. settings: its class of `tool.settings`.

    reads: the stages whose outputs it needs of every image of its list, and "ckpt" ones it needs once.
    """

    name: str
    script: str
    settings: type
    reads: tuple = ()


STAGES = (
    Stage("dataset", "prepare_dataset.py", settings.PrepareDataset),
    Stage("train_aesipe", "train_aesipe.py", settings.TrainAesipe),
    Stage("make_cam", "make_cam.py", settings.MakeCam),
    Stage("eval_cam", "eval_cam.py", settings.EvalCam, reads=("make_cam",)),
    Stage("make_ir_labels", "make_ir_labels.py", settings.MakeIrLabels, reads=("make_cam",)),
    Stage("train_irn", "train_irn.py", settings.TrainIrn, reads=("make_ir_labels",)),
    Stage("make_seg_labels", "make_seg_labels.py", settings.MakeSegLabels, reads=("make_cam",)),
    Stage("eval_seg", "eval_seg.py", settings.EvalSeg, reads=("make_seg_labels",)),
    Stage("deeplab_train", "deeplab/train.py", settings.DeeplabTrain, reads=("make_seg_labels",)),
    Stage("deeplab_test", "deeplab/test.py", settings.DeeplabTest),
    Stage("report", "report.py", settings.Report),
)
TOOLS = (  # not of the driver
    Stage("predict", "predict.py", settings.Predict),
    Stage("export", "export.py", settings.Export),
)
BY_NAME = {stage.name: stage for stage in (*STAGES, *TOOLS)}
