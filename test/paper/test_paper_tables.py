"""The rows are one setting away from the next, as the paper's tables say."""

import pytest

from paper.tables import NETWORKS, TABLES


def differences(first, second):
    return {key for key in NETWORKS[first] if NETWORKS[first][key] != NETWORKS[second][key]}


def test_rows_of_table_2_add_one_part_each():
    assert [row.network for row in TABLES[2].rows] == ["baseline", "ae", "ae_hf", "full", "full"]
    assert differences("baseline", "ae") == {"ae"}
    assert differences("ae", "ae_hf") == {"structure_features"}
    assert differences("ae_hf", "full") == {"normalization"}
    assert [row.background_weight for row in TABLES[2].rows] == [1, 1, 1, 1, 0.8]


@pytest.mark.parametrize("network", ["pr_is", "pr_is_pamr_pr_is", "pamr_pr_is_pr_is"])
def test_rows_of_table_3_differ_in_the_sequence_alone(network):
    assert differences("ae", network) == {"sequence"}


def test_tables_share_networks():
    assert set(TABLES[2].networks) & set(TABLES[3].networks) == {"baseline", "ae"}
    assert set(TABLES[1].networks) == {"baseline", "full"}


def test_table_1_is_as_the_paper_prints_it():
    printed = """
        SSWS (WideResNet-38) 62.7 64.3
        SEAM (ResNet-38) 64.5 65.7
        AdvCAM (ResNet-101) 68.1 68.0
        CSE (ResNet-38) 68.4 68.2
        CPN (ResNet-38) 67.8 68.5
        PPC (ResNet-38) 67.7 67.4
        AMN (ResNet-101) 69.5 69.6
        RecurSeed (ResNet-101) 72.8 72.8
        SIPE (ResNet-38) 68.2 69.5
        SIPE (ResNet-101) 68.8 69.7
        AE-SIPE (ResNet-101) 71.0 71.1"""
    rows = [f"{row.title} {row.paper['val']} {row.paper['test']}" for row in TABLES[1].rows]
    assert rows == [line.strip() for line in printed.strip().splitlines()]
    assert [row.network for row in TABLES[1].rows] == 9 * [None] + ["baseline", "full"]


def test_cocos_table_has_published_figures_alone_each_with_its_source():
    """The paper has no figure of COCO, and nothing is claimed for its row."""
    figures = {row.title: row.paper.get("val") for row in TABLES["coco"].rows}
    assert figures == {
        "MCTformer (ResNet-38)": 42.0,
        "RIB (ResNet-101)": 43.8,
        "L2G (ResNet-101, saliency maps too)": 44.2,
        "ReCAM (AdvCAM + IRN, ResNet-101)": 45.0,
        "CLIP-ES (ResNet-101, CLIP too)": 45.4,
        "SIPE (ResNet-38)": 43.6,
        "SIPE (ResNet-101)": 40.6,
        "AE-SIPE (ResNet-101)": None,
    }
    assert all(row.source for row in TABLES["coco"].rows if row.paper)
    assert TABLES["coco"].networks == ("baseline", "full")
