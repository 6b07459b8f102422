"""How long the processes of a stage wait for one another."""

import sys

import pytest
import torch

import tool.dist
from tool.frame import StageCall


def test_shares_of_a_list_are_waited_for_longer_than_steps_of_a_training(tmp_path, monkeypatch):
    def init_dist(choice, minutes):
        asked.append(minutes)
        return tool.dist.Dist(0, 1, torch.device(choice))

    asked = []
    monkeypatch.setattr(tool.dist, "init_dist", init_dist)
    monkeypatch.setattr(sys, "argv", ["x", "--run_root", str(tmp_path), "--device", "cpu"])
    with StageCall("make_cam", "").processes():
        pass
    with pytest.raises(ZeroDivisionError):
        StageCall("train_irn", "").train("ckpt/irn.pt", {}, lambda dist: 1 / 0, [])
    assert asked == [7 * 24 * 60, 60]
