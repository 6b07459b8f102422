"""Figures of finished runs: read from their folders, written as CSV and read again."""

import json
from types import SimpleNamespace

import pytest

from errors import UserError
from paper.figure import learning_curves
from paper.runs import Runs, finished, published
from paper.tables import TABLES

CAT = {"background": 0.75, "cat": 0.5, "bus": None}


def scores(miou):
    return {"miou": miou, "iou": CAT, "initialisation": "ImageNet", "settings": "0123abcd"}


class FakeJob:
    """A job whose scores and log are given. scores: {(column, weight): mIoU}."""

    figures = (("plain", 1.0), ("crf", 1.0))

    def __init__(self, network, seed, run, scores=()):
        self.network, self.seed, self.run, self.known = network, seed, run, dict(scores)

    def scores(self, column, weight=1.0):
        miou = self.known.get((column, weight))
        return miou and {"miou": miou, "iou": CAT, "list": "train"}

    def initialisation(self, column):
        return "ImageNet"

    def settings(self, column):
        return "0123abcd"

    def arguments(self, stage):
        assert stage == "train_aesipe"
        return SimpleNamespace(run=self.run)

    def log(self, *records):
        self.run.mkdir()
        lines = [json.dumps({"stage": "aesipe", "step": step, "val": val}) for step, val in records]
        (self.run / "log.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
def runs(tmp_path):
    first = FakeJob("full", 0, tmp_path / "0", {("plain", 1.0): 0.4567891, ("plain", 0.8): 0.5, ("cam", 1.0): 0.3})
    second = FakeJob("full", 1, tmp_path / "1", {("plain", 1.0): 0.4})
    other = FakeJob("baseline", 0, tmp_path / "2")
    first.log((10, {"cam": 0.9}), (10, {"cam": 0.2, "ae_is_cam": 0.4}), (20, {"cam": 0.3, "ae_is_cam": 0.5}))
    second.log((10, {"cam": 0.4, "is_cam": 0.25, "ae_is_cam": 0.4}))
    return finished([second, first, other], [TABLES[2]])


def test_the_figures_of_a_table_and_the_last_training_are_read(runs):
    assert {key: value["miou"] for key, value in runs.figures.items()} == {
        ("full", 0, "plain", 1.0): pytest.approx(0.456789, abs=1e-9),
        ("full", 0, "plain", 0.8): 0.5,
        ("full", 1, "plain", 1.0): 0.4,
    }  # Table 2 has no column of the CAM
    assert runs.curves == {
        ("full", 0, 10): {"cam": 0.2, "ae_is_cam": 0.4},
        ("full", 0, 20): {"cam": 0.3, "ae_is_cam": 0.5},
        ("full", 1, 10): {"cam": 0.4, "is_cam": 0.25, "ae_is_cam": 0.4},
    }
    assert [value["miou"] for value in runs.of("full", "plain", 1.0)] == [
        pytest.approx(0.456789, abs=1e-9),
        0.4,
    ]  # by seed


def test_curves_and_their_figure_are_the_same_before_and_after_the_csv(tmp_path):
    job = FakeJob("full", 0, tmp_path / "0")
    job.log((10, {"cam": 0.2345678, "is_cam": 1 / 3}), (20, {"cam": 2 / 7}))
    runs = finished([job], [TABLES[2]])
    (tmp_path / "curves.csv").write_text(runs.texts()["curves.csv"])
    again = published(tmp_path, "")
    assert again.curves == runs.curves and runs.curves["full", 0, 20] == {"cam": pytest.approx(0.286)}
    assert learning_curves(again.curves, {}) == learning_curves(runs.curves, {})


def test_what_is_written_is_read_again(runs, tmp_path):
    texts = runs.texts()
    assert texts["runs.csv"].splitlines()[:2] == [
        "network,seed,column,weight,initialisation,settings,mIoU,background,cat,bus",
        "full,1,plain,1.0,ImageNet,0123abcd,40.0,75.0,50.0,",
    ]
    assert texts["curves.csv"].splitlines()[:3] == [
        "network,seed,step,CAM,IS-CAM,AE-IS-CAM",
        "full,1,10,40.0,25.0,40.0",
        "full,0,10,20.0,,40.0",
    ]
    for name, text in texts.items():
        (tmp_path / f"photos_{name}").write_text(text)
    again = published(tmp_path, "photos_")
    assert again.texts() == texts and again == runs
    assert again.figures["full", 0, "plain", 1.0] == scores(pytest.approx(0.456789, abs=1e-9))
    assert published(tmp_path, "other_") == Runs()


def test_a_run_of_ones_own_takes_the_place_of_a_published_one(runs):
    own = Runs({("full", 0, "plain", 1.0): scores(0.6), ("ae", 0, "plain", 1.0): scores(0.7)})
    both = runs | own
    assert [value["miou"] for value in both.of("full", "plain", 1.0)] == [0.6, 0.4]
    assert len(both.figures) == 4 and both.curves == runs.curves


def test_a_job_is_complete_with_all_its_figures(runs, tmp_path):
    job = FakeJob("full", 0, tmp_path)
    assert not runs.complete(job)
    assert (runs | Runs({("full", 0, "crf", 1.0): scores(0.5)})).complete(job)
    assert not runs.complete(FakeJob("full", 1, tmp_path))


def test_a_figure_of_other_settings_is_found(runs, tmp_path):
    job = FakeJob("full", 0, tmp_path)
    assert runs.of_other_settings(job) is None and runs.of_other_settings(FakeJob("ae", 0, tmp_path)) is None
    other = runs | Runs({("full", 0, "crf", 1.0): scores(0.5) | {"settings": "ffffffff"}})
    assert other.of_other_settings(job) == "crf" and other.of_other_settings(FakeJob("full", 1, tmp_path)) is None


def test_a_class_may_have_the_name_of_a_column(tmp_path):
    iou = {"background": 0.5, "seed": 0.25, "network": 0.75}
    runs = Runs({("full", 0, "plain", 1.0): scores(0.5) | {"iou": iou}})
    (tmp_path / "runs.csv").write_text(runs.texts()["runs.csv"])
    assert published(tmp_path, "") == runs


@pytest.mark.parametrize("text", ["", "network,step,CAM\nfull,10,20.0\n", "network,seed,step,CAM\nfull,0\n"])
def test_another_file_of_the_name_is_refused(tmp_path, text):
    (tmp_path / "curves.csv").write_text(text)
    with pytest.raises(UserError, match="curves.csv: is no table with the columns network, seed, step: take it away"):
        published(tmp_path, "")
