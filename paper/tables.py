"""The rows of the paper's Tables 1-3: what each trains, what it evaluates and the figures that the paper prints."""

from dataclasses import dataclass

_SIPE = {
    "structure_features": "semantic",
    "ae": False,
    "sequence": ["pamr", "prototype", "is_cam"],
    "normalization": "max",
}
_AE = {**_SIPE, "ae": True}

# Every network of the tables: its settings of train_aesipe.py. Rows that name the same network share one run.
NETWORKS = {
    "baseline": _SIPE,
    "ae": _AE,
    "ae_hf": {**_AE, "structure_features": "hierarchical"},
    "full": {**_AE, "structure_features": "hierarchical", "normalization": "minmax"},
    "pr_is": {**_AE, "sequence": ["prototype", "is_cam"]},
    "pr_is_pamr_pr_is": {**_AE, "sequence": ["prototype", "is_cam", "pamr", "prototype", "is_cam"]},
    "pamr_pr_is_pr_is": {**_AE, "sequence": ["pamr", "prototype", "is_cam", "prototype", "is_cam"]},
}


@dataclass(frozen=True)
class Row:
    """A row of the paper: its method's title, its printed figures by column in percent, and how it is repeated here.

    network: of NETWORKS, None for a system of others, which is not repeated. background_weight: of the evaluation.
    """

    title: str
    network: str | None
    paper: dict
    background_weight: float = 1.0


@dataclass(frozen=True)
class Table:
    """columns: {name: title}, each a figure of a row in percent. segmentation: whether it is of the last network."""

    title: str
    segmentation: bool
    columns: dict
    rows: tuple

    @property
    def networks(self):
        """The networks that the table needs, each once, in order."""
        return tuple(dict.fromkeys(row.network for row in self.rows if row.network))


def _cam_row(title, network, plain, crf, background_weight=1.0):
    return Row(title, network, {"plain": plain, "crf": crf}, background_weight)


def _published(title, val, test):
    return Row(title, None, {"val": val, "test": test})


_CAM_COLUMNS = {"plain": "mIoU", "crf": "mIoU + CRF"}

TABLES = {
    1: Table(
        "DeepLab trained on pseudo labels",
        True,
        {"val": "val", "test": "test"},
        (
            _published("SSWS (WideResNet-38)", 62.7, 64.3),
            _published("SEAM (ResNet-38)", 64.5, 65.7),
            _published("AdvCAM (ResNet-101)", 68.1, 68.0),
            _published("CSE (ResNet-38)", 68.4, 68.2),
            _published("CPN (ResNet-38)", 67.8, 68.5),
            _published("PPC (ResNet-38)", 67.7, 67.4),
            _published("AMN (ResNet-101)", 69.5, 69.6),
            _published("RecurSeed (ResNet-101)", 72.8, 72.8),
            _published("SIPE (ResNet-38)", 68.2, 69.5),
            Row("SIPE (ResNet-101)", "baseline", {"val": 68.8, "test": 69.7}),
            Row("AE-SIPE (ResNet-101)", "full", {"val": 71.0, "test": 71.1}),
        ),
    ),
    2: Table(
        "ablation of the method's parts",
        False,
        _CAM_COLUMNS,
        (
            _cam_row("baseline (SIPE)", "baseline", 58.6, 64.7),
            _cam_row("+ AE", "ae", 64.2, 66.6),
            _cam_row("+ HF", "ae_hf", 65.4, 66.9),
            _cam_row("+ norm", "full", 65.4, 66.9),
            _cam_row("+ bg (x 0.8)", "full", 65.8, 67.8, background_weight=0.8),
        ),
    ),
    3: Table(
        "sequence of modules after (Pr, IS)",
        False,
        _CAM_COLUMNS,
        (
            _cam_row("none (SIPE)", "baseline", 58.6, 64.7),
            _cam_row("(Pr, IS)", "pr_is", 59.5, 65.1),
            _cam_row("(Pr, IS, PAMR, Pr, IS)", "pr_is_pamr_pr_is", 56.6, 58.7),
            _cam_row("(PAMR, Pr, IS, Pr, IS)", "pamr_pr_is_pr_is", 62.3, 65.4),
            _cam_row("(PAMR, Pr, IS) = AE", "ae", 64.2, 66.6),
        ),
    ),
}
