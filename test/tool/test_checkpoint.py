import copy

import pytest
import torch
from tiny_training import tiny_network
from torch import nn

from errors import UserError
from net.backbone import build_backbone
from tool.checkpoint import fold_batch_norm, load_model, load_state, save_result, save_state, tensors_digest


def trained_like(model):
    """Statistics and affine parts as far from those of a new network as training makes them."""
    generator = torch.Generator().manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, low, high in (
                (layer.running_mean, -0.2, 0.2),
                (layer.running_var, 0.5, 2),
                (layer.weight.data, 0.5, 1.5),
                (layer.bias.data, -0.2, 0.2),
            ):
                tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize("backbone", ["resnet50", "resnet18", "mobilenet_v2", "mobilenet_v3_small"])
def test_folding_batch_norm_keeps_every_map(backbone):
    torch.manual_seed(0)
    encoder = trained_like(build_backbone(backbone, "none"))
    folded = fold_batch_norm(copy.deepcopy(encoder))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    with torch.no_grad():
        image = torch.rand(1, 3, 65, 49)
        for before, after in zip(encoder(image), folded(image)):
            assert (after - before).abs().max() < 1e-5 * before.abs().max()


def test_batch_norm_after_something_else_stays():
    torch.manual_seed(0)
    model = trained_like(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)))
    image = torch.rand(2, 3, 4, 4)
    expected = model(image)
    assert torch.equal(fold_batch_norm(model)(image), expected) and isinstance(model[2], nn.BatchNorm2d)


def test_a_norm_that_does_more_than_normalise_stays():
    class NormAct(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    torch.manual_seed(0)
    model = trained_like(nn.Sequential(nn.Conv2d(3, 3, 1), NormAct(3)))
    image = torch.rand(2, 3, 4, 4)
    expected = model(image)
    assert torch.equal(fold_batch_norm(model)(image), expected) and isinstance(model[1], NormAct)


def test_an_entry_marked_as_a_folder_is_refused(tmp_path):
    """torch.load would hand out memory that nobody wrote, in place of its tensor."""
    path = tmp_path / "a.pt"
    save_state(path, {"model": {"weight": torch.ones(5)}})
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"archive/data/0") - 46  # in the archive's directory
    content[entry + 38] ^= 0x10  # of the attributes of MS-DOS
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"archive/data/0 has changed since it was written: delete it"):
        load_state(path)


def test_a_digest_is_of_names_shapes_types_and_every_value():
    """By it the next stages know a network that was trained anew with the same settings."""
    values = torch.arange(6.0)
    last = values.clone()
    last[-1] += 1e-6
    ways = ({"a": values}, {"b": values}, {"a": values.view(2, 3)}, {"a": values.double()}, {"a": last})
    digests = [tensors_digest(way) for way in ways]
    assert len({*digests}) == len(ways) and tensors_digest({"a": values.clone()}) == digests[0]


def test_checkpoints_that_are_broken_or_do_not_fit_are_named(tmp_path):
    path = tmp_path / "a.pt"
    with pytest.raises(UserError, match="a.pt: no such checkpoint"):
        load_state(path)
    save_result(path, tiny_network().state_dict(), {"lr": 1})
    model = load_model(tiny_network(), path, torch.device("cpu"))
    image = torch.rand(1, 3, 9, 8)
    torch.testing.assert_close(model(image), tiny_network().eval()(image))
    assert not model.training
    with pytest.raises(UserError, match="a.pt: does not fit the network") as error:
        load_model(nn.Conv2d(3, 4, 3), path, torch.device("cpu"))
    assert "\n" not in str(error.value)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="a.pt: is no whole checkpoint"):
        load_state(path)
