"""A batch in parts: the update of the whole batch, for every network and loss."""

from functools import partial

import pytest
import torch

from deeplab.model import count_pixels, segmentation_loss
from module.irn_loss import affinity_displacement_loss, pair_counts
from net.aesipe import build as build_aesipe
from net.aesipe import step_losses as aesipe_losses
from net.irn import build as build_irn
from net.irn import count_pairs
from net.irn import step_losses as irn_losses
from tool.settings import TrainAesipe, TrainIrn
from tool.trainer import split_batch, train_step

K, N, SIDE = 4, 4, 64


def batch_of(seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(N, K - 1, generator=generator) < 0.5).float()
    labels[:, 0] = 1
    target = torch.randint(0, K, (N, SIDE // 16, SIDE // 16), generator=generator, dtype=torch.uint8)
    target = target.repeat_interleave(16, 1).repeat_interleave(16, 2)
    target[0] = 255  # so that the parts have unequally many pairs and pixels
    target[1, :20] = 255
    box = torch.tensor([[0, 0, SIDE, SIDE], [8, 0, SIDE, SIDE], [0, 0, 40, 50], [0, 0, SIDE, SIDE]])
    image = torch.rand(N, 3, SIDE, SIDE, generator=generator)
    ids = ["a", "b", "c", "d"]
    return {"image": image, "labels": labels, "box": box, "target": target, "id": ids, "most": K}


def aesipe():
    network, criterion = build_aesipe(TrainAesipe(backbone="resnet18"), K, "none")
    return network, partial(aesipe_losses, criterion), network.parameter_groups(0.01, 0.1), None


def irn():
    network = build_irn(TrainIrn(backbone="resnet18"), "none")
    return network, partial(irn_losses, 5), network.parameter_groups(0.1), partial(count_pairs, 5)


class Pixels(torch.nn.Module):
    """A segmentation network without batch norm, whose statistics are those of a part."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, K, 3, padding=1)

    def forward(self, image):
        return self.layer(image)


def segmentation():
    def losses(network, batch):
        return {"loss": segmentation_loss(network(batch["image"]), batch["target"], batch.get("count"))}

    network = Pixels()
    return network, losses, [{"params": list(network.parameters()), "lr": 0.1}], count_pixels


def trained(make, parts):
    torch.manual_seed(0)
    network, losses, groups, count = make()
    network.train()
    optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=1e-4)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for seed in range(2):
        batch = batch_of(seed)
        share = None if count is None or parts == 1 else count(batch) / parts
        terms, norm = train_step(network, losses, batch, optimizer, scaler, clip=1.0, parts=parts, count=share)
    return {**network.state_dict(), **terms, "norm": norm}


@pytest.mark.parametrize("make", [aesipe, irn, segmentation])
@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_makes_the_update_of_the_whole(make, parts):
    whole, in_parts = trained(make, 1), trained(make, parts)
    for name, value in whole.items():
        torch.testing.assert_close(in_parts[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_means_over_parts_alone_would_not(monkeypatch):
    """What the counts are for: the parts have unequally many pixels and pairs."""
    for make in (irn, segmentation):

        def uncounted(make=make):
            return *make()[:3], None

        whole, in_parts = trained(make, 1), trained(uncounted, 2)
        assert abs(float(whole["loss"] - in_parts["loss"])) > 1e-3


def test_the_pairs_are_those_of_the_loss():
    batch = batch_of()
    labels = batch["target"][:, ::4, ::4]
    counts = pair_counts(labels, 5)
    expected = [0, 0, 0]
    for image in labels.tolist():
        for y in range(len(image) - 4):
            for x in range(4, len(image[0]) - 4):
                for dy in range(5):
                    for dx in range(-4, 5):
                        if dy**2 + dx**2 >= 25 or (dy, dx) <= (0, 0):
                            continue
                        one, other = image[y][x], image[y + dy][x + dx]
                        if 255 not in (one, other):
                            expected[2 if one != other else int(one > 0)] += 1
    assert counts.tolist() == expected
    boundary, displacement = torch.rand(N, 1, 16, 16), torch.rand(N, 2, 16, 16)
    own, given = (affinity_displacement_loss(boundary, displacement, labels, 5, each) for each in (None, counts))
    assert all(torch.equal(own[name], given[name]) for name in own)


def test_parts_hold_every_image_once_and_share_what_is_of_the_batch():
    batch = batch_of()
    parts = split_batch(batch, 2, count_pixels(batch) / 2)
    assert [part["id"] for part in parts] == [["a", "b"], ["c", "d"]]
    assert all(part["most"] == K for part in parts)
    assert sum(part["count"] for part in parts) == (batch["target"] != 255).sum()
    assert torch.equal(torch.cat([part["image"] for part in parts]), batch["image"])
