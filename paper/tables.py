"""The rows of the paper's Tables 1-3: what each trains, what it evaluates and the figures that the paper prints."""

from dataclasses import dataclass

_SIPE = {"structure_features": "semantic", "ae": False, "sequence": ["pamr", "prototype", "is_cam"],
         "normalization": "max"}
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
    """title: as printed. network: of NETWORKS, None for a published system. paper: its figures, by column, percent.

    background_weight: of the evaluation. source: of a published system, where the figures were published.
    """

    title: str
    network: str | None
    paper: dict
    background_weight: float = 1.0
    source: str = ""


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


def _published(title, val, test, source):
    return Row(title, None, {"val": val, "test": test}, source=source)


_CAM_COLUMNS = {"plain": "mIoU", "crf": "mIoU + CRF"}

TABLES = {
    1: Table("DeepLab trained on pseudo labels", True, {"val": "val", "test": "test"}, (
        _published("IRN (ResNet-50)", 63.5, 64.8, "Ahn et al., CVPR 2019"),
        _published("SEAM (ResNet-38)", 64.5, 65.7, "Wang et al., CVPR 2020"),
        _published("AdvCAM (ResNet-101)", 68.1, 68.0, "Lee et al., CVPR 2021"),
        _published("RIB (ResNet-101)", 68.3, 68.6, "Lee et al., NeurIPS 2021"),
        Row("SIPE", "baseline", {"val": 68.8, "test": 69.7}, source="Chen et al., CVPR 2022"),
        Row("AE-SIPE", "full", {"val": 71.0, "test": 71.1}),
    )),
    2: Table("ablation of the method's parts", False, _CAM_COLUMNS, (
        _cam_row("baseline (SIPE)", "baseline", 58.6, 64.7),
        _cam_row("+ AE", "ae", 64.2, 66.6),
        _cam_row("+ HF", "ae_hf", 65.4, 66.9),
        _cam_row("+ norm", "full", 65.4, 66.9),
        _cam_row("+ bg (x 0.8)", "full", 65.8, 67.8, background_weight=0.8),
    )),
    3: Table("sequence of modules after (Pr, IS)", False, _CAM_COLUMNS, (
        _cam_row("none (SIPE)", "baseline", 58.6, 64.7),
        _cam_row("(Pr, IS)", "pr_is", 59.5, 65.1),
        _cam_row("(Pr, IS, PAMR, Pr, IS)", "pr_is_pamr_pr_is", 56.6, 58.7),
        _cam_row("(PAMR, Pr, IS, Pr, IS)", "pamr_pr_is_pr_is", 62.3, 65.4),
        _cam_row("(PAMR, Pr, IS) = AE", "ae", 64.2, 66.6),
    )),
}
