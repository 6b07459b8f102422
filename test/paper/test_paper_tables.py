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
