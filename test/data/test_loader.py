import gc
import os
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image

from data.layout import Layout
from data.loader import StepSampler, TrainingSet, image_loader, steps_per_epoch, training_loader
from data.transforms import CropTransform
from errors import UserError

IDS = [f"image{number}" for number in range(7)]


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    root = tmp_path_factory.mktemp("set")
    (root / "JPEGImages").mkdir()
    (root / "classes.txt").write_text("background\ncat\ndog\n")
    (root / "image_labels.txt").write_text(
        "".join(f"{name} {'cat' if i % 2 else 'dog'}\n" for i, name in enumerate(IDS))
    )
    rng = np.random.default_rng(0)
    for name in IDS:
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(root / f"JPEGImages/{name}.png")
    return Layout(root)


def training_set(layout, seed=0, target=None):
    return TrainingSet(layout, IDS, CropTransform(16, long_side=(12, 40)), seed, target)


def batches(*arguments, **options):
    return list(StepSampler(*arguments, **options))


def test_an_epoch_shows_no_image_twice():
    drawn = batches(10, 3, steps=9, seed=1)
    for epoch in range(3):
        keys = [key for batch in drawn[3 * epoch : 3 * epoch + 3] for key in batch]
        assert {key[0] for key in keys} == {epoch}
        indices = [key[1] for key in keys]
        assert len(set(indices)) == 9 and set(indices) <= set(range(10))


def test_whole_epochs_are_permutations_that_differ_by_epoch_and_seed():
    def order(seed, epoch):
        return [index for batch in batches(12, 4, steps=6, seed=seed)[3 * epoch : 3 * epoch + 3] for _, index in batch]

    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(one) == list(range(12)) for one in orders)
    assert len({tuple(one) for one in orders}) == 4


@pytest.mark.parametrize("start", [1, 3, 4, 11, 12])
def test_going_on_gives_the_batches_that_were_left(start):
    sampler = StepSampler(10, 3, 12, 5, start=start)
    assert list(sampler) == batches(10, 3, 12, 5)[start:] and len(sampler) == 12 - start


@pytest.mark.parametrize("world", [2, 3])
def test_shares_of_the_processes_make_up_the_batch(world):
    whole = batches(20, 6, 7, 2)
    shares = [batches(20, 6, 7, 2, rank=rank, world=world) for rank in range(world)]
    for step, batch in enumerate(whole):
        assert [share[step][i] for i in range(6 // world) for share in shares] == batch


def test_fewer_images_than_a_batch_are_repeated_evenly():
    assert steps_per_epoch(3, 8) == 1
    for epoch, batch in enumerate(batches(3, 8, 4, 0)):
        assert {key[0] for key in batch} == {epoch}
        assert sorted(np.bincount([index for _, index in batch])) == [2, 3, 3]


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(UserError, match="batch_size 5 .* 2 processes"):
        StepSampler(10, 5, 1, 0, world=2)


def test_samples_do_not_depend_on_the_workers(layout):
    def samples(workers, start=0):
        loader = training_loader(training_set(layout), 3, steps=5, start=start, rank=0, world=1, workers=workers)
        return list(loader)

    alone, shared = samples(0), samples(2)
    assert len(alone) == 5
    for one, other in zip(alone + alone[3:], shared + samples(1, start=3), strict=True):
        assert one["id"] == other["id"]
        assert all(torch.equal(one[key], other[key]) for key in ("image", "box", "labels"))


def test_a_batch_tells_the_most_classes_of_an_image_with_the_background(layout, monkeypatch):
    present = {name: [0, 1][: 1 + (name == "image4")] for name in IDS}
    monkeypatch.setattr(layout, "present", present.get)
    loader = training_loader(training_set(layout), 3, steps=8, start=0, rank=0, world=1, workers=0)
    found = [(batch["most"], "image4" in batch["id"]) for batch in loader]
    assert {*found} == {(2, False), (3, True)}


def test_samples_of_two_processes_are_those_of_one(layout):
    def samples(rank, world):
        return list(training_loader(training_set(layout), 4, steps=2, start=0, rank=rank, world=world, workers=0))

    for whole, *parts in zip(samples(0, 1), samples(0, 2), samples(1, 2)):
        for rank, part in enumerate(parts):
            assert part["id"] == whole["id"][rank::2] and torch.equal(part["image"], whole["image"][rank::2])


def test_crops_change_with_epoch_image_and_seed(layout):
    first, other_epoch = training_set(layout)[0, 2], training_set(layout)[1, 2]
    other_seed = training_set(layout, seed=1)[0, 2]
    assert first["id"] == "image2" and first["labels"].tolist() == [0, 1]
    assert not any(torch.equal(first["image"], other["image"]) for other in (other_epoch, other_seed))
    boxes = {tuple(training_set(layout)[0, index]["box"].tolist()) for index in range(len(IDS))}
    assert len(boxes) > 1


@pytest.mark.parametrize("seed", [20240101, 2**31])
def test_a_date_can_be_the_seed(layout, seed):
    loader = training_loader(training_set(layout, seed=seed), 2, steps=1, start=0, rank=0, world=1, workers=0)
    assert len(list(loader)) == 1


def test_label_maps_travel_with_their_images(layout):
    sample = training_set(layout, target=lambda name: np.full((24, 32), IDS.index(name), np.uint8))[0, 3]
    assert set(sample["target"].unique().tolist()) <= {3, 255} and (sample["target"] == 3).any()


def test_label_map_of_another_size_is_refused(layout):
    with pytest.raises(UserError, match=r"image3: its label map is 24 x 32 \(width x height\), its image 32 x 24$"):
        training_set(layout, target=lambda name: np.zeros((32, 24), np.uint8))[0, 3]


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A layout with one JPEG, 600x900 as stored and 900x600 as shown, and what it shows as a label map."""
    root = tmp_path_factory.mktemp("photo")
    (root / "JPEGImages").mkdir()
    (root / "classes.txt").write_text("background\ncat\n")
    (root / "image_labels.txt").write_text("photo cat\n")
    labels = np.zeros((900, 600), np.uint8)
    labels[100:500, 50:250], labels[650:800, 300:580] = 1, 2
    shown = np.array([(20, 20, 20), (230, 40, 40), (40, 60, 240)], np.uint8)[labels]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(shown)).save(root / "JPEGImages/photo.jpg", exif=exif, quality=95)
    return Layout(root), labels


def test_label_maps_of_large_photos_lie_where_their_images_do(photo, monkeypatch):
    layout, labels = photo
    decoded, image = [], layout.image
    monkeypatch.setattr(
        layout, "image", lambda *given, **options: decoded.append(image(*given, **options)) or decoded[-1]
    )
    dataset = TrainingSet(layout, ["photo"], CropTransform(128, long_side=(100, 400)), 0, lambda _: labels)
    for epoch in range(20):
        sample = dataset[epoch, 0]
        top, left, bottom, right = sample["box"].tolist()
        shown, target = (sample[key][..., top:bottom, left:right] for key in ("image", "target"))
        bright = (shown > 130)[[0, 2]]
        seen = bright[0] * 1 + bright[1] * 2
        edge = (target[1:, 1:] != target[:-1, 1:]) | (target[1:, 1:] != target[1:, :-1])
        assert (seen != target).sum() <= edge.sum()  # a pixel along the outlines at most
        assert (sample["target"] == 255).sum() == 128 * 128 - target.numel()
    assert {tuple(each.shape[1:]) for each in decoded} == {(113, 75), (225, 150), (450, 300)}


def test_label_map_of_a_large_photo_must_have_its_whole_size(photo):
    layout, labels = photo
    for given in (labels[::2, ::2], np.rot90(labels).copy()):
        dataset = TrainingSet(layout, ["photo"], CropTransform(64, long_side=(60, 60)), 0, lambda _: given)
        height, width = given.shape
        with pytest.raises(UserError, match=rf"photo: its label map is {width} x {height} .*, its image 600 x 900$"):
            dataset[0, 0]


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_images_end_the_loading_with_one_line(layout, workers, monkeypatch):
    """A worker's exception is raised again with its traceback as message, which is not for users."""
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)  # it waits so long for such a worker
    with pytest.raises(UserError, match="missing.jpg: no such image") as error:
        list(image_loader(layout, ["missing"], workers))
    assert "\n" not in str(error.value)
    del error  # and with it the loader, while it still waits as short
    gc.collect()


def test_a_worker_outlives_the_first_sigterm_alone(layout):
    """A scheduler may send it to every process of a job; what the parent ends must still end."""
    loader = iter(image_loader(layout, IDS, workers=1))
    (worker,) = loader._workers
    loaded = [next(loader)]
    os.kill(worker.pid, signal.SIGTERM)
    loaded += [next(loader) for _ in IDS[1:-1]]
    assert [name for name, _ in loaded] == IDS[:-1]
    with pytest.raises(RuntimeError, match="is killed by signal: Terminated"):
        os.kill(worker.pid, signal.SIGTERM)
        time.sleep(10)  # which PyTorch's look at its workers breaks off


@pytest.mark.parametrize("workers", [0, 1])
def test_whole_images_come_once_and_in_order(layout, workers):
    loaded = list(image_loader(layout, IDS, workers))
    assert [name for name, _ in loaded] == IDS
    assert all(torch.equal(image, layout.image(name)) for name, image in loaded)
