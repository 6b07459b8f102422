"""The rows of the paper's Tables 1-3, and of two that the paper has not, of the whole pipeline and of COCO 2014: what
each trains, what it evaluates and the figures that are published."""

from dataclasses import dataclass

_SEQUENCE = ["pamr", "prototype", "is_cam"]
_SIPE = {"structure_features": "semantic", "ae": False, "sequence": _SEQUENCE, "normalization": "max"}
_AE = {**_SIPE, "ae": True}

# Every network of the tables: its settings of train_aesipe.py. Rows that name the same network share one run.
NETWORKS = {
    "baseline": _SIPE,
    "ae": _AE,
    "ae_hf": {**_AE, "structure_features": "hierarchical"},
    "full": {**_AE, "structure_features": "hierarchical", "normalization": "minmax"},
    "pr_is": {**_AE, "sequence": _SEQUENCE[1:]},
    "pr_is_pamr_pr_is": {**_AE, "sequence": _SEQUENCE[1:] + _SEQUENCE},
    "pamr_pr_is_pr_is": {**_AE, "sequence": _SEQUENCE + _SEQUENCE[1:]},
}
SUPERVISED = "supervised"  # no network of the method: DeepLabV3 on the data set's own masks, what labels could reach


@dataclass(frozen=True)
class Row:
    """A row of the paper: its method's title, its printed figures by column in percent, and how it is repeated here.

    network: of NETWORKS, None for a system of others, which is not repeated. background_weight: of the evaluation.
    source: who printed the figures, where that is not the paper. initialisation: of the segmentation network behind
    the printed figures, where it is known to us.
    """

    title: str
    network: str | None
    paper: dict
    background_weight: float = 1.0
    source: str = ""
    initialisation: str = ""


@dataclass(frozen=True)
class Table:
    """columns: {name: title}, each a figure of a row in percent: the names are those of `paper.plan.Job.scores`.
    segmentation: whether it is of the last network. kind: of the data set, as prepare_dataset.py calls it. note: where
    the figures beside ours are from. gains: (title of a row, that of the row it is compared with), see `paper.gains`.
    """

    title: str
    segmentation: bool
    columns: dict
    rows: tuple
    kind: str = "voc12"
    note: str = ""
    gains: tuple = ()

    @property
    def networks(self):
        """The networks that the table needs, each once, in order."""
        return tuple(dict.fromkeys(row.network for row in self.rows if row.network))


def _table(title, segmentation, columns, *rows, gains=()):
    """rows: (title, network, the figures of the columns, and what other fields of a Row are given)."""
    made = (Row(title, network, dict(zip(columns, paper)), *others) for title, network, paper, *others in rows)
    return Table(title, segmentation, columns, tuple(made), gains=gains)


def _coco_table(*rows):
    """rows: (title, network, figure on val or None, its source)."""
    made = (
        Row(title, network, {} if val is None else {"val": val}, source=source) for title, network, val, source in rows
    )
    note = "paper: as each system's own publication reports it on COCO 2014 val; AE-SIPE's has no figure of COCO"
    return Table("COCO 2014, segmentation trained on pseudo labels", True, {"val": "val"}, tuple(made), "coco14", note)


_CAM_COLUMNS = {"plain": "mIoU", "crf": "mIoU + CRF"}
_END_COLUMNS = {
    "cam": "CAM",
    "is_cam": "IS-CAM",
    "plain": "last map",
    "crf": "+ CRF",
    "pseudo": "pseudo labels",
    "seg": "DeepLabV3",
    "seg_crf": "+ CRF",
}

TABLES = {
    1: _table(
        "DeepLab trained on pseudo labels",
        True,
        {"val": "val", "test": "test"},
        ("SSWS (WideResNet-38)", None, (62.7, 64.3)),
        ("SEAM (ResNet-38)", None, (64.5, 65.7)),
        ("AdvCAM (ResNet-101)", None, (68.1, 68.0)),
        ("CSE (ResNet-38)", None, (68.4, 68.2)),
        ("CPN (ResNet-38)", None, (67.8, 68.5)),
        ("PPC (ResNet-38)", None, (67.7, 67.4)),
        ("AMN (ResNet-101)", None, (69.5, 69.6)),
        ("RecurSeed (ResNet-101)", None, (72.8, 72.8)),
        ("SIPE (ResNet-38)", None, (68.2, 69.5)),
        ("SIPE (ResNet-101)", "baseline", (68.8, 69.7), 1.0, "", "COCO"),
        ("AE-SIPE (ResNet-101)", "full", (71.0, 71.1)),
    ),
    2: _table(
        "ablation of the method's parts",
        False,
        _CAM_COLUMNS,
        ("baseline (SIPE)", "baseline", (58.6, 64.7)),
        ("+ AE", "ae", (64.2, 66.6)),
        ("+ HF", "ae_hf", (65.4, 66.9)),
        ("+ norm", "full", (65.4, 66.9)),
        ("+ bg (x 0.8)", "full", (65.8, 67.8), 0.8),
        gains=(("+ AE", "baseline (SIPE)"), ("+ HF", "+ AE"), ("+ norm", "+ HF"), ("+ bg (x 0.8)", "+ norm")),
    ),
    3: _table(
        "sequence of modules after (Pr, IS)",
        False,
        _CAM_COLUMNS,
        ("none (SIPE)", "baseline", (58.6, 64.7)),
        ("(Pr, IS)", "pr_is", (59.5, 65.1)),
        ("(Pr, IS, PAMR, Pr, IS)", "pr_is_pamr_pr_is", (56.6, 58.7)),
        ("(PAMR, Pr, IS, Pr, IS)", "pamr_pr_is_pr_is", (62.3, 65.4)),
        ("(PAMR, Pr, IS) = AE", "ae", (64.2, 66.6)),
        gains=(
            ("(Pr, IS)", "none (SIPE)"),
            ("(PAMR, Pr, IS) = AE", "(Pr, IS)"),
            ("(PAMR, Pr, IS) = AE", "(PAMR, Pr, IS, Pr, IS)"),
            ("(PAMR, Pr, IS) = AE", "(Pr, IS, PAMR, Pr, IS)"),
        ),
    ),
    "end": Table(
        "from the maps to the last network",
        True,
        _END_COLUMNS,
        (Row("SIPE", "baseline", {}), Row("AE-SIPE", "full", {}), Row("full supervision", SUPERVISED, {})),
        note="maps and pseudo labels on the lists of eval_cam and eval_seg, DeepLabV3 on that of deeplab_test",
        gains=(("AE-SIPE", "SIPE"),),
    ),
    "coco": _coco_table(
        ("MCTformer (ResNet-38)", None, 42.0, "Xu et al., CVPR 2022"),
        ("RIB (ResNet-101)", None, 43.8, "Lee et al., NeurIPS 2021"),
        ("L2G (ResNet-101, saliency maps too)", None, 44.2, "Jiang et al., CVPR 2022"),
        ("ReCAM (AdvCAM + IRN, ResNet-101)", None, 45.0, "Chen et al., CVPR 2022, Class Re-Activation Maps"),
        ("CLIP-ES (ResNet-101, CLIP too)", None, 45.4, "Lin et al., CVPR 2023"),
        ("SIPE (ResNet-38)", None, 43.6, "Chen et al., CVPR 2022, Image-specific Prototype Exploration"),
        ("SIPE (ResNet-101)", "baseline", 40.6, "the same; there with dense CRF, common.refine=crf"),
        ("AE-SIPE (ResNet-101)", "full", None, ""),
    ),
}
