"""The weights that an encoder begins with: files of every kind, and torchvision's downloads."""

import hashlib
import io
import pickle
from urllib.error import URLError

import pytest
import torch
import torchvision
from nets import refusal, saved

from errors import UserError
from net.backbone import HEADS, build_backbone


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("head", [True, False])
def test_torchvision_file_round_trip(tmp_path, name, head):
    torch.manual_seed(2)
    state = torchvision.models.get_model(name).state_dict()
    state = {key: value for key, value in state.items() if head or not key.startswith(HEADS)}
    encoder = build_backbone(name, saved(tmp_path / "w.pth", state))
    loaded = list(encoder.state_dict().values())
    expected = [value for key, value in state.items() if not key.startswith(HEADS)]
    assert len(loaded) == len(expected) and all(torch.equal(x, y) for x, y in zip(loaded, expected))


def test_the_encoder_of_a_segmentation_network_of_torchvision_is_taken(tmp_path):
    network = torchvision.models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=True)
    loaded = list(build_backbone("resnet50", saved(tmp_path / "coco.pth", network.state_dict())).state_dict().values())
    expected = list(network.backbone.state_dict().values())
    assert len(loaded) == len(expected) and all(torch.equal(x, y) for x, y in zip(loaded, expected))
    assert "another backbone" in refusal("resnet18", tmp_path / "coco.pth")


def test_checkpoint_of_this_project_round_trip(tmp_path):
    encoder = build_backbone("resnet18", "none")
    model = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    model["classifier.weight"] = torch.zeros(4, 512, 1, 1)
    path = saved(tmp_path / "last.pth", {"model": model, "step": 3})
    loaded = build_backbone("resnet18", path).state_dict()
    assert loaded.keys() == encoder.state_dict().keys()
    assert all(torch.equal(value, loaded[key]) for key, value in encoder.state_dict().items())


def test_file_without_batch_counters_is_read(resnet18, tmp_path):
    state = {key: value for key, value in resnet18.state_dict().items() if "num_batches_tracked" not in key}
    encoder = build_backbone("resnet18", saved(tmp_path / "old.pth", state))
    assert torch.equal(encoder.stages[4][1].bn2.running_var, state["layer4.1.bn2.running_var"])


def test_missing_file_is_refused(tmp_path):
    assert "no such file" in refusal("resnet18", tmp_path / "none.pth")


@pytest.mark.parametrize("name, key", [("resnet34", "layer1.2.conv1.weight"), ("mobilenet_v2", "features.0.0.weight")])
def test_weights_of_another_backbone_are_refused_by_the_first_key(resnet18, tmp_path, name, key):
    message = refusal(name, saved(tmp_path / "w.pth", resnet18.state_dict()))
    assert f": {key} " in message and "another backbone" in message


def test_checkpoint_of_another_backbone_is_refused_by_the_first_key(tmp_path):
    state = build_backbone("mobilenet_v2", "none").state_dict()
    path = saved(tmp_path / "w.pth", {"model": {f"encoder.{key}": value for key, value in state.items()}})
    assert ": stages.0.0.weight " in refusal("resnet18", path)


def test_wrong_shape_is_refused(resnet18, tmp_path):
    state = dict(resnet18.state_dict())
    state["layer3.1.bn1.bias"] = torch.zeros(7)
    message = refusal("resnet18", saved(tmp_path / "w.pth", state))
    assert "layer3.1.bn1.bias has shape [7], not [256]" in message


def test_extra_key_is_refused(resnet18, tmp_path):
    state = {**resnet18.state_dict(), "layer5.weight": torch.zeros(1)}
    assert ": layer5.weight " in refusal("resnet18", saved(tmp_path / "w.pth", state))


class Payload:
    """Runs code when it is unpickled: it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))])
def test_file_with_code_is_refused_and_its_code_not_run(tmp_path, save):
    path, trace = tmp_path / "w.pth", tmp_path / "trace"
    save({"conv1.weight": Payload(str(trace))}, path)
    assert "not a readable" in refusal("resnet18", path)
    assert not trace.exists()


def test_file_that_is_no_state_is_refused(tmp_path):
    (tmp_path / "text.pth").write_text("not weights\n" * 3)
    assert refusal("resnet18", tmp_path / "text.pth").endswith("give imagenet, none, or a file of a state dict")


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(1)],
        torch.zeros(2),
        {"conv1.weight": 1.0},
        {"model": {"conv1.weight": [1.0]}},
        {},
        {0: torch.zeros(1)},
    ],
)
def test_content_that_is_no_state_dict_is_refused(tmp_path, content):
    refusal("resnet18", saved(tmp_path / "w.pth", content))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torchvision's cache of downloads, empty, with no network behind it."""

    def no_network(request):
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    return tmp_path / "hub" / "checkpoints"


NAMES = {"resnet18": "resnet18-f37072fd.pth", "mobilenet_v2": "mobilenet_v2-b0353104.pth"}


@pytest.mark.parametrize("name", NAMES)
def test_a_download_that_is_impossible_says_which_file_to_put_where(cache, name):
    with pytest.raises(UserError) as error:
        build_backbone(name, "imagenet")
    message = str(error.value)
    assert f"fetch https://download.pytorch.org/models/{NAMES[name]} on another machine" in message
    assert f"put it into {cache} as {NAMES[name]}" in message and "Name or service not known" in message


def test_a_download_of_something_else_is_refused_and_not_kept(cache, monkeypatch):
    class Response(io.BytesIO):
        def info(self):
            return type("Info", (), {"get_all": lambda self, key: None})()

    monkeypatch.setattr(torch.hub, "urlopen", lambda request: Response(b"<html>log in first</html>"))
    with pytest.raises(UserError, match=f"invalid hash value.*as {NAMES['resnet18']}$"):
        build_backbone("resnet18", "imagenet")
    assert not list(cache.iterdir())


def test_a_cached_file_whose_hash_does_not_fit_is_refused(cache):
    """torch.hub would read it as it is."""
    cache.mkdir(parents=True)
    path = cache / NAMES["resnet18"]
    path.write_bytes(b"half of it")
    with pytest.raises(UserError) as error:
        build_backbone("resnet18", "imagenet")
    found = hashlib.sha256(b"half of it").hexdigest()[:8]
    assert str(error.value).startswith(f"{path}: its SHA-256 begins with {found}, not f37072fd: it is cut short or")
    assert f"put https://download.pytorch.org/models/{NAMES['resnet18']} there" in str(error.value)


def test_a_cached_file_whose_hash_fits_is_read_without_a_network(cache, resnet18, monkeypatch):
    content = io.BytesIO()
    torch.save(resnet18.state_dict(), content)
    name = f"net-{hashlib.sha256(content.getvalue()).hexdigest()[:8]}.pth"
    cache.mkdir(parents=True)
    (cache / name).write_bytes(content.getvalue())
    member = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    monkeypatch.setattr(
        member,
        "_value_",
        member.value.__class__(url=f"https://host/{name}", transforms=member.value.transforms, meta=member.value.meta),
    )
    encoder = build_backbone("resnet18", "imagenet")
    assert torch.equal(encoder.stages[4][1].bn2.running_var, resnet18.layer4[1].bn2.running_var)
