"""Watching AE-SIPE's and DeepLabV3's training, with the stages' own main on a toy set."""

import json
import shutil
import sys
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import net.aesipe
import train_aesipe
from data.dataset import Dataset
from data.label_png import save_label_png, voc_palette
from data.layout import Layout
from data.toy import make_toy
from errors import UserError
from net.aesipe import build
from tool.checkpoint import load_state
from tool.dist import Dist
from tool.record import checkpoint_record
from tool.run import Run
from viz.watch import MAPS, MapWatch, panel, spread, watch_labels, watch_maps

CPU = torch.device("cpu")
FLAGS = (
    "--backbone",
    "mobilenet_v3_small",
    "--weights",
    "none",
    "--frozen_stages",
    "0",
    "--batch_norm",
    "train",
    "--crop_size",
    "64",
    "--long_side",
    "56",
    "80",
    "--batch_size",
    "2",
    "--max_epochs",
    "2",
    "--num_workers",
    "0",
    "--save_every",
    "2",
    "--val_list",
    "train",
)


class Stopped(Exception):
    """As if the machine had gone down."""


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Six images to train on, five of them in `train`; 6 steps with FLAGS."""
    root = tmp_path_factory.mktemp("watch") / "toy"
    make_toy(root, train=5, train_aug=6, val=1, size=72)
    return Layout(root)


def train(root, run, *flags, stop_at=None):
    """train_aesipe.py in this process, broken off in step `stop_at` if there is one. Returns the run's folder."""
    steps = []

    def losses(criterion, network, batch):
        steps.append(batch["id"])
        if len(steps) == stop_at:
            raise Stopped
        return criterion(network(batch["image"], batch["labels"], batch["box"]), batch["labels"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(net.aesipe, "step_losses", losses)
        patch.setattr(
            sys,
            "argv",
            [
                "train_aesipe.py",
                "--dataset_root",
                str(root),
                "--run_root",
                str(run.parent),
                "--session_name",
                run.name,
                *FLAGS,
                *map(str, flags),
            ],
        )
        train_aesipe.main()
    return run


@pytest.fixture(scope="module")
def unwatched(layout):
    return train(layout.root, layout.root.parent / "unwatched", "--val_every", 0)


@pytest.fixture(scope="module")
def watched(layout):
    return train(layout.root, layout.root.parent / "watched", "--val_every", 4)


def weights(run, name="aesipe"):
    return load_state(run / f"ckpt/{name}.pt")["model"]


def logged(run, key):
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [(line.get("step"), line[key]) for line in lines if key in line]


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_validation_leaves_training_as_it_is_stopped_or_not(layout, unwatched, watched, tmp_path):
    """Bitwise: weights, batch norm's statistics and the settings by which the next stages know the result."""
    parts = tmp_path / "parts"
    with pytest.raises(Stopped):
        train(layout.root, parts, "--val_every", 1, stop_at=4)
    assert checkpoint_record(parts / "ckpt/aesipe.pt") is None
    train(layout.root, parts, "--val_every", 3, "--val_images", 2)  # it may be watched otherwise when it continues
    for run in (watched, parts):
        assert_equal(weights(run), weights(unwatched))
        assert checkpoint_record(run / "ckpt/aesipe.pt") == checkpoint_record(unwatched / "ckpt/aesipe.pt")
    assert [[step for step, _ in logged(run, "val")] for run in (unwatched, watched, parts)] == [
        [],
        [4, 6],
        [1, 2, 3, 3, 6],
    ]
    assert logged(parts, "did") == [(None, 4)] and logged(watched, "did") == [(None, 6)]


def test_the_mious_counted_anew(layout, watched):
    *_, (step, found) = logged(watched, "val")
    assert step == 6 and list(found) == list(MAPS)
    assert (watched / "classes.txt").read_text().splitlines() == layout.class_names  # what predict.py reads
    model, _ = build(Run(watched).trained_settings("ckpt/aesipe.pt", "train_aesipe"), layout.n_classes, "none")
    model.load_state_dict(weights(watched))
    pairs = {name: [] for name in MAPS}
    for image_id in layout.ids("train"):
        image, labels = layout.image(image_id)[None].float() / 255, layout.labels(image_id)[None]
        with torch.no_grad():
            output = model.eval()(image, labels)
        absent = torch.cat([torch.tensor([False]), labels[0] == 0])
        for name in MAPS:
            cam = F.interpolate(output[name], image.shape[2:], mode="bilinear", align_corners=True)[0]
            cam = cam / (cam.amax(dim=(1, 2), keepdim=True) + 1e-5)
            cam[absent] = -1
            pairs[name].append((layout.mask(image_id).ravel(), cam.argmax(dim=0).numpy().ravel()))
    for name in MAPS:
        truth, labels = (np.concatenate(part) for part in zip(*pairs[name]))
        ious = [((truth == k) & (labels == k)).sum() / ((truth == k) | (labels == k)).sum() for k in np.unique(truth)]
        assert found[name] == pytest.approx(np.mean(ious))
    board = EventAccumulator(str(watched / "tensorboard/aesipe"))
    board.Reload()
    assert {name: board.Scalars(f"val/{name}")[-1].value for name in MAPS} == pytest.approx(found)
    ids = layout.ids("train")
    assert board.Tags()["images"] == [f"panels/{ids[index]}" for index in (0, 1, 2, 3)]


@pytest.mark.parametrize(
    "lost, message", [("lists/train.txt", "has no list train"), ("SegmentationClassAug", "has no masks of train")]
)
def test_without_list_or_masks_a_line_says_so(layout, tmp_path, capsys, lost, message):
    """Nothing is watched then, as with --val_every 0, of which nothing is said."""
    root = tmp_path / "data"
    shutil.copytree(layout.root, root)
    shutil.rmtree(root / lost) if (root / lost).is_dir() else (root / lost).unlink()
    assert watch_maps(Layout(root), settings_of(), None, Dist(0, 1, CPU)) is None
    assert capsys.readouterr().out == f"train_aesipe: {root} {message}, trained without validation\n"
    assert watch_maps(Layout(root), settings_of(val_every=0), None, Dist(0, 1, CPU)) is None
    assert not capsys.readouterr().out


def test_a_data_set_of_another_form_is_watched_too(layout, tmp_path):
    """Found: its lists were looked for as files, which it may not have."""

    class Other(Layout):
        has_list = Dataset.has_list

        def ids(self, list_name):
            return layout.ids(list_name)

    shutil.copytree(layout.root, tmp_path / "data")
    shutil.rmtree(tmp_path / "data/lists")
    assert watch_maps(Other(tmp_path / "data"), settings_of(), None, Dist(0, 1, CPU)).ids == layout.ids("train")
    assert watch_maps(Other(tmp_path / "data"), settings_of(val_list="other"), None, Dist(0, 1, CPU)) is None


def settings_of(**changes):
    settings = {"val_list": "train", "val_every": 1, "val_images": 100, "long_side": (56, 80), "skip_bad": False}
    return Namespace(**{**settings, **changes})


def test_a_wrong_mask_is_named_before_training(layout, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(layout.root, root)
    image_id = layout.ids("train")[2]
    mask = layout.mask(image_id)
    for wrong in (mask[1:], np.where(mask == 0, 9, mask)):
        save_label_png(root / f"SegmentationClassAug/{image_id}.png", wrong)
        with pytest.raises(UserError, match=f"{image_id}.png: "):
            watch_maps(Layout(root), settings_of(), None, Dist(0, 1, CPU))


def test_only_the_images_that_are_watched_are_looked_at(layout, tmp_path, monkeypatch, capsys):
    """Found: every process looked at each image and mask of COCO's 82,081, for 100 of them."""
    root = tmp_path / "data"
    shutil.copytree(layout.root, root)
    (root / ".aesipe_index.json").unlink(missing_ok=True)
    ids, data = layout.ids("train"), Layout(root)
    looked, look = [], data.index.look
    monkeypatch.setattr(data.index, "look", lambda path, find: looked.append(path.stem) or look(path, find))
    assert watch_maps(data, settings_of(val_images=2), None, Dist(0, 1, CPU)).ids == [ids[0], ids[2]]
    assert {*looked} == {ids[0], ids[2]}
    save_label_png(root / f"SegmentationClassAug/{ids[0]}.png", layout.mask(ids[0])[1:])
    skipping = settings_of(val_images=2, skip_bad=True)
    assert watch_maps(Layout(root), skipping, None, Dist(0, 1, CPU)).ids == [ids[2]]
    said = capsys.readouterr().err
    assert said.startswith(f"left out 1 of the 5 images in {root / 'lists/train.txt'}:\n  {ids[0]}: ")


def test_processes_share_the_images_and_the_first_shows_some(layout):
    ids = layout.ids("train")
    parts = [MapWatch(layout, ids, 80, None, Dist(rank, 2, CPU)) for rank in range(2)]
    assert [part.ids for part in parts] == [ids[::2], ids[1::2]] and [part.shown for part in parts] == [ids[::2], []]


class Network(torch.nn.Module):
    """As AESIPE, with maps that say that the right half is the image's first class."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, image, labels):
        self.seen = image
        cam = torch.zeros(1, labels.shape[1] + 1, 5, 8)
        cam[:, 0, :, :4], cam[:, 1 + labels[0].argmax(), :, 4:] = 1, 0.6
        return dict.fromkeys((*MAPS, "seeds", "ae_seeds"), cam)


def test_large_images_are_shrunk_and_the_sums_are_of_all_processes(layout):
    class Two(Dist):
        def sum(self, values):
            totals.append(values.clone())
            return values + values

    totals, said = [], []
    network, ids = Network(), layout.ids("train")[:1]
    log = SimpleNamespace(
        validation=lambda step, scores: said.append((step, scores)),
        picture=lambda name, image, step: said.append((name, image.shape, step)),
    )
    MapWatch(layout, ids, 36, None, Two(0, 2, CPU))(7, network, log)
    height, width = layout.size(ids[0])
    small = [round(side * 36 / max(height, width)) for side in (height, width)]
    assert list(network.seen.shape[2:]) == small and max(small) == 36
    (shown, (step, scores)), (total,) = said, totals
    assert shown[0] == f"panels/{ids[0]}" and shown[2] == 7 and shown[1] == (small[0] + 8, 5 * (small[1] + 4) + 4, 3)
    assert step == 7 and len(set(scores.values())) == 1 and 0 < scores["cam"] < 1
    assert total.shape == (3, layout.n_classes, layout.n_classes + 1) and total[0].sum() == small[0] * small[1]


def test_the_best_step_is_that_of_the_last_map(layout):
    """The one that the next stages are made of; the CAM peaks earlier."""

    class Apart(Network):
        def forward(self, image, labels):
            output, truth = super().forward(image, labels), torch.zeros(1, labels.shape[1] + 1, 5, 8)
            truth[:, 0] = 1
            return output | {"cam": truth, "is_cam": truth}

    said = []
    log = SimpleNamespace(validation=lambda step, scores: said.append(scores), picture=lambda *given: None)
    score = MapWatch(layout, layout.ids("train")[:1], 80, None, Dist(0, 1, CPU))(7, Apart(), log)
    assert score == said[0]["ae_is_cam"] != said[0]["cam"]


class Labels(torch.nn.Module):
    """As DeepLabV3, with logits by which the right half is class 1."""

    def forward(self, image):
        self.seen = image
        logits = torch.zeros(len(image), 6, 4, 8)
        logits[:, 0, :, :4], logits[:, 1, :, 4:] = 9, 9
        return logits


def test_deeplab_is_watched_by_the_miou_of_its_labels(layout):
    said, pictures, network = [], [], Labels()
    log = SimpleNamespace(
        validation=lambda step, scores: said.append((step, scores)),
        picture=lambda name, image, step: pictures.append((name, image.shape)),
    )
    watch = watch_labels(layout, settings_of(val_images=2), None, Dist(0, 1, CPU))
    score = watch(7, network, log)
    pairs = []
    for image_id in watch.ids:
        truth = layout.mask(image_id)
        labels = np.zeros_like(truth)
        labels[:, truth.shape[1] // 2 :] = 1
        pairs.append((truth.ravel(), labels.ravel()))
    truth, labels = (np.concatenate(part) for part in zip(*pairs))
    ious = [((truth == k) & (labels == k)).sum() / ((truth == k) | (labels == k)).sum() for k in np.unique(truth)]
    assert len(watch.ids) == 2 and said == [(7, {"deeplab": score})] and 0 < score == pytest.approx(np.mean(ious))
    assert tuple(network.seen.shape[2:]) == layout.size(watch.ids[1])  # at its own size
    height, width = layout.size(watch.ids[0])
    assert pictures[0] == (f"panels/{watch.ids[0]}", (height + 8, 3 * (width + 4) + 4, 3))


def test_deeplab_needs_masks_but_no_image_labels_to_be_watched(layout, tmp_path, capsys):
    root = tmp_path / "data"
    shutil.copytree(layout.root, root)
    (root / "image_labels.txt").write_text("")
    assert watch_labels(Layout(root), settings_of(), None, Dist(0, 1, CPU)).ids == layout.ids("train")
    assert watch_maps(Layout(root), settings_of(), None, Dist(0, 1, CPU)) is None
    shutil.rmtree(root / "SegmentationClassAug")
    capsys.readouterr()
    assert watch_labels(Layout(root), settings_of(), None, Dist(0, 1, CPU)) is None
    assert capsys.readouterr().out == f"deeplab_train: {root} has no masks of train, trained without validation\n"


def test_deeplab_is_trained_to_the_same_bits_when_it_is_watched(moved):
    before = weights(moved.run, "deeplab")
    (moved.run / "ckpt/deeplab.pt").unlink()
    done = moved.stage("deeplab/train.py", "--val_every", 1)
    assert done.status == 0, done.err
    assert_equal(weights(moved.run, "deeplab"), before)
    seen = [(step, {*scores}) for step, scores in logged(moved.run, "val")]
    assert seen[-2:] == [(1, {"deeplab"}), (2, {"deeplab"})]


def test_a_panel_shows_image_maps_and_truth():
    image = np.full((6, 8, 3), 90, np.uint8)
    truth = np.zeros((6, 8), np.uint8)
    truth[:, 4:] = 2
    maps = [np.stack([np.zeros((6, 8)), np.full((6, 8), value)]).astype(np.float32) for value in (0.25, 0.5, 1.0)]
    row = panel(image, np.array([0, 2]), maps, truth)
    pictures = [row[4:-4, start : start + 8] for start in range(4, row.shape[1], 12)]
    assert (pictures[0] == image).all() and (pictures[4] == voc_palette()[truth]).all()
    for value, picture in zip((0.25, 0.5, 1.0), pictures[1:4]):
        np.testing.assert_allclose(picture[2, 2], (1 - value) * 90 + value * voc_palette()[2], atol=1)


def test_spread():
    assert spread([*range(10)], 3) == [0, 3, 6] and spread([1, 2], 5) == [1, 2] and spread([], 4) == []
