"""Files that run code where pickle, or YAML with tags, reads them: a line that names the file, and no code runs."""

import os
import pickle

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scripts import error_lines, run
from trained_run import CLASSES, METHOD, NETWORK

from data.toy import make_toy
from errors import UserError
from tool.cam_file import load_cam
from tool.config import override, parse, read_config
from tool.json_file import load_json
from tool.run import Run
from viz.runs import read_runs


class Payload:
    """Runs a command when it is unpickled: it makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


def yaml_payload(marker):
    return f"backbone: !!python/object/apply:os.system [\"touch '{marker}'\"]\n"


@pytest.fixture
def marker(tmp_path):
    """The file that hostile files make; it must not be there at the end."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


def write_zip(content, path):
    torch.save(content, path)


def write_old(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_plain(content, path):
    path.write_bytes(pickle.dumps(content, 2))


WRITERS = [write_zip, write_old, write_plain]


def refused(done, *parts):
    lines = error_lines(done.err)
    assert done.status == 2 and len(lines) == 1 and "Traceback" not in done.err, done.err
    for part in parts:
        assert str(part) in lines[0]


@pytest.fixture
def image(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture
def made(tmp_path):
    """A run whose checkpoints are still to be written, with the settings beside them."""
    (tmp_path / "run/ckpt").mkdir(parents=True)
    (tmp_path / "run/classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    for name, more in (("aesipe", METHOD), ("deeplab", {})):
        (tmp_path / f"run/ckpt/{name}.yaml").write_text(yaml.safe_dump(NETWORK | more))
    return tmp_path / "run"


@pytest.fixture
def toy(tmp_path):
    make_toy(tmp_path / "toy", train=2, train_aug=4, val=2, size=64)
    return tmp_path / "toy"


def training(toy, *more):
    return (
        "--dataset_root",
        toy,
        "--run_root",
        toy.parent,
        "--session_name",
        "run",
        "--backbone",
        "mobilenet_v2",
        "--batch_size",
        2,
        "--crop_size",
        32,
        "--max_epochs",
        1,
        "--num_workers",
        0,
        "--val_every",
        0,
        *more,
    )


def test_the_payloads_would_run(tmp_path):
    """Or nothing here could fail."""
    for number, write in enumerate(WRITERS):
        write({"model": {"x": Payload(tmp_path / str(number))}}, tmp_path / "a.pt")
        if write is write_plain:
            pickle.loads((tmp_path / "a.pt").read_bytes())
        else:
            torch.load(tmp_path / "a.pt", weights_only=False)
        assert (tmp_path / str(number)).exists()
    yaml.unsafe_load(yaml_payload(tmp_path / "yaml"))
    np.savez(tmp_path / "a.npz", cam=np.array([Payload(tmp_path / "npz")], object))
    assert np.load(tmp_path / "a.npz", allow_pickle=True)["cam"].shape == (1,)
    assert (tmp_path / "yaml").exists() and (tmp_path / "npz").exists()


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("name", ["aesipe", "deeplab"])
def test_checkpoints_with_code(made, marker, image, script, name, write):
    write({"model": {"encoder.x": Payload(marker)}}, made / f"ckpt/{name}.pt")
    done = script("predict.py", "--run", made, "--image", image, "--network", name)
    refused(done, made / f"ckpt/{name}.pt")


@pytest.mark.parametrize("write", WRITERS)
def test_weights_with_code(marker, toy, script, write):
    write({"features.0.0.weight": Payload(marker)}, toy.parent / "w.pth")
    refused(script("train_aesipe.py", *training(toy, "--weights", toy.parent / "w.pth")), toy.parent / "w.pth")


@pytest.mark.parametrize("write", WRITERS)
def test_training_states_with_code(made, marker, toy, script, write):
    for name in ("aesipe.pt", "aesipe.yaml", "deeplab.yaml"):
        (made / "ckpt" / name).unlink(missing_ok=True)
    states = [made / "ckpt/aesipe_state.pt", made / "ckpt/aesipe_state/00000001.pt"]  # one file, or a folder of them
    states[1].parent.mkdir()
    for path in states:
        write({"settings": {}, "step": 1, "model": Payload(marker)}, path)
    refused(script("train_aesipe.py", *training(toy, "--weights", "none")), made / "ckpt/aesipe_state")


def test_maps_with_code(marker, tmp_path):
    np.savez(tmp_path / "a.npz", keys=np.array([0], np.uint8), cam=np.array([Payload(marker)], object))
    np.savez(tmp_path / "b.npz", keys=np.array([Payload(marker)], object), cam=np.zeros((1, 2, 2), np.float16))
    write_plain({"keys": [0], "cam": Payload(marker)}, tmp_path / "c.npz")
    np.save(tmp_path / "d.npy", np.array([Payload(marker)], object))
    (tmp_path / "d.npy").rename(tmp_path / "d.npz")
    for name in "abcd":
        with pytest.raises(UserError, match=rf"{name}\.npz: ") as caught:
            load_cam(tmp_path / f"{name}.npz")
        assert "\n" not in str(caught.value)


def test_a_run_with_code_in_its_config(made, marker, image, script):
    (made / "config.yaml").write_text(f"make_cam:\n  {yaml_payload(marker)}")
    (made / "ckpt").mkdir(exist_ok=True)
    (made / "ckpt/aesipe.pt").touch()  # or there would be nothing to predict with
    for read in (lambda path: Run(path).config(), lambda path: read_runs([path])):
        with pytest.raises(UserError, match=r"config\.yaml: "):
            read(made)
    refused(script("predict.py", "--run", made, "--image", image), made / "config.yaml")


def test_a_config_with_code(marker, tmp_path, script):
    path = tmp_path / "c.yaml"
    path.write_text(f"common:\n  {yaml_payload(marker)}")
    with pytest.raises(UserError, match=r"c\.yaml: is not valid YAML"):
        read_config(path)
    with pytest.raises(UserError, match=r"c\.yaml: is not valid YAML"):
        parse("train_aesipe", argv=["--config", str(path)])
    with pytest.raises(UserError, match="is not a YAML value"):
        override({}, [f"common.backbone={yaml_payload(marker).partition(': ')[2]}"])
    refused(script("make_cam.py", "--config", path), path)


@pytest.mark.parametrize("name", ["aesipe", "deeplab"])
def test_settings_beside_a_checkpoint_with_code(made, marker, image, script, name):
    torch.save({"model": {}}, made / f"ckpt/{name}.pt")
    (made / f"ckpt/{name}.yaml").write_text(yaml_payload(marker))
    refused(script("predict.py", "--run", made, "--image", image, "--network", name), made / f"ckpt/{name}.yaml")


def test_settings_of_a_folder_with_code(made, marker, toy, script):
    (made / "ae_is_cam").mkdir()
    (made / "ae_is_cam/settings.yaml").write_text(yaml_payload(marker))
    done = script(
        "make_ir_labels.py",
        "--dataset_root",
        toy,
        "--run_root",
        toy.parent,
        "--session_name",
        "run",
        "--num_workers",
        0,
    )
    refused(done, made / "ae_is_cam/settings.yaml")


def test_text_and_json_with_code(made, marker, image, script, toy):
    for content in (pickle.dumps(Payload(marker), 0), pickle.dumps(Payload(marker), 4)):
        (made / "scores.json").write_bytes(content)
        with pytest.raises(UserError, match=r"scores\.json: is not valid JSON"):
            load_json(made / "scores.json")
        (made / "classes.txt").write_bytes(content)
        done = script("predict.py", "--run", made, "--image", image)
        assert done.status == 2 and len(error_lines(done.err)) == 1
        (toy / "toy.json").write_bytes(content)
        done = script("prepare_dataset.py", "--kind", "toy", "--dataset_root", toy)
        refused(done, toy)


def test_names_are_never_run(tmp_path):
    """As session_name and in dataset_root, through the driver and the dataset's stage."""
    name = "a $(touch marker) `touch marker`; touch marker; \" b' c & ${HOME} {0.__class__} %(x)s"
    config = tmp_path / f"c {name}.yaml"
    config.write_text(yaml.safe_dump({"common": {"dataset_root": str(tmp_path / f"set {name}")}}))
    done = run(
        "bash",
        "run_pipeline.sh",
        config,
        "--to",
        "dataset",
        "dataset.kind=toy",
        "dataset.train=2",
        "dataset.train_aug=4",
        "dataset.val=2",
        "dataset.size=64",
        f"common.run_root={tmp_path / 'runs'}",
        f"common.session_name='{name.replace(chr(39), 2 * chr(39))}'",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"set {name}/toy.json").exists()
    assert not list(tmp_path.rglob("marker")) and not os.path.exists("marker")
