import json
import re
from dataclasses import replace

import pytest
import torch
import yaml
from torch import nn

from conventions import VERSION
from errors import UserError
from tool.checkpoint import load_state, save_result, save_state, tensors_digest
from tool.json_file import save_json
from tool.record import INPUTS, checkpoint_record, difference, make_record, weights_input
from tool.run import Run, is_made, keep_record
from tool.settings import MakeCam, TrainAesipe, TrainIrn

DATA = {"classes": "c1", "list": "17 images, l1", "labels": "b1", "images": "i1", "weights": "none"}
TRAINED = make_record("train_aesipe", TrainAesipe(), DATA)


def weights():
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 3).state_dict()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_where_and_how_a_stage_runs_is_no_part_of_its_record():
    elsewhere = replace(
        TrainAesipe(),
        dataset_root="/x",
        run_root="/y",
        session_name="z",
        num_workers=0,
        save_every=3,
        resume="never",
        compile=True,
        weights="/w/a.pth",
        train_list="other",
        val_every=0,
        skip_bad=True,
    )
    assert difference(TRAINED, make_record("train_aesipe", elsewhere, DATA)) is None


def older(record, version):
    """A record and those that it was made from, of another version, or of one that recorded none."""
    sources = {name: older(source, version) for name, source in record["sources"].items()}
    rest = {key: value for key, value in record.items() if key != "version"}
    return {**rest, **({"version": version} if version else {}), "sources": sources}


@pytest.mark.parametrize("version", ["0.2.9", None])
def test_the_version_is_recorded_and_is_no_difference(tmp_path, version):
    cams = make_record("make_cam", MakeCam(), {"classes": "c1"}, {"ckpt/aesipe.pt": {**TRAINED, "result": "r1"}})
    assert cams["version"] == cams["sources"]["ckpt/aesipe.pt"]["version"] == VERSION
    earlier, run = older(cams, version), Run(tmp_path)
    assert earlier != cams and difference(earlier, cams) is None and difference(cams, earlier) is None
    keep_record(tmp_path / "cam", {**earlier, "output": "cam"})
    before = (tmp_path / "cam/settings.yaml").read_bytes()
    run.claim("cam", cams)
    assert (tmp_path / "cam/settings.yaml").read_bytes() == before and is_made(tmp_path / "cam", cams)
    save_json(tmp_path / "cam.json", {"miou": 0.5, "record": earlier})
    assert run.evaluated("cam.json", cams)["miou"] == 0.5
    save_result(tmp_path / "aesipe.pt", weights(), older(TRAINED, version))
    assert run.is_trained("aesipe.pt", TRAINED, "auto")
    as_input = weights_input(replace(TrainAesipe(), weights=str(tmp_path / "aesipe.pt")))
    assert as_input == {"weights": tensors_digest(weights())}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"lr": 0.5}, r"with other settings \(lr: 0.01 there, 0.5 now\)"),
        (
            {"sequence": ("prototype", "is_cam"), "ae": False},
            "with other settings .ae: True there, False now, sequence: ",
        ),
    ],
)
def test_settings_that_decide_are_named(change, message):
    assert re.match(message, difference(TRAINED, make_record("train_aesipe", replace(TrainAesipe(), **change), DATA)))


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("classes", "c2", "from other data (the class names: c1 there, c2 now)"),
        ("list", "9 images, l2", "from other data (the list of images: 17 images, l1 there, 9 images, l2 now)"),
        ("labels", "b2", "from other data (the image labels: b1 there, b2 now)"),
        ("images", "i2", "from other data (the images: i1 there, i2 now)"),
        ("weights", "w2", "from other data (the initial weights: none there, w2 now)"),
    ],
)
def test_other_content_is_named(key, value, message):
    assert difference(TRAINED, make_record("train_aesipe", TrainAesipe(), {**DATA, key: value})) == message


@pytest.mark.parametrize("key", INPUTS)
def test_content_of_which_one_record_says_nothing_is_other_content(key):
    whole = make_record("train_aesipe", TrainAesipe(), dict.fromkeys(INPUTS, "x"))
    part = {**whole, "inputs": {name: "x" for name in INPUTS if name != key}}
    assert f"{INPUTS[key]}: None there, x now" in difference(part, whole)
    assert f"{INPUTS[key]}: x there, None now" in difference(whole, part)


def test_a_setting_that_a_record_lacks_stands_for_its_default():
    older = json.loads(json.dumps(TRAINED))
    del older["settings"]["cam_background"]
    assert difference(older, TRAINED) is None and difference(TRAINED, older) is None
    other = make_record("train_aesipe", replace(TrainAesipe(), cam_background="present"), DATA)
    assert "cam_background: all there, present now" in difference(older, other)


def test_a_setting_that_is_unknown_here_is_another_setting():
    newer = {**TRAINED, "settings": {**TRAINED["settings"], "temperature": 2}}
    assert "temperature: 2 there, None now" in difference(newer, TRAINED)


def test_what_was_made_from_it_belongs_to_a_record(tmp_path):
    """A network that is trained anew or otherwise two stages above is noticed."""

    def labels(result, **settings):
        trained = {**make_record("train_aesipe", replace(TrainAesipe(), **settings), DATA), "result": result}
        cams = make_record("make_cam", MakeCam(), {"classes": "c1"}, {"ckpt/aesipe.pt": trained})
        return make_record("tiny", TrainIrn(), {}, {"cam": {**cams, "output": "cam"}})

    assert difference(labels("r1"), labels("r1")) is None
    assert difference(labels("r1"), labels("r2")) == (
        "from another cam, which was made from another ckpt/aesipe.pt, which has been trained anew since"
    )
    assert difference(labels("r1"), labels("r1", lr=2.0)) == (
        "from another cam, which was made from another ckpt/aesipe.pt, which was made with other settings (lr: 0.01 "
        "there, 2.0 now)"
    )
    assert difference(labels("r1"), make_record("tiny", TrainIrn(), {})) == "from cam, not from nothing"


def test_a_folder_can_be_claimed_again_for_the_same(tmp_path):
    Run(tmp_path).claim("cam", TRAINED)
    before = (tmp_path / "cam/settings.yaml").stat().st_mtime_ns
    Run(tmp_path).claim("cam", json.loads(json.dumps(TRAINED)))
    assert (tmp_path / "cam/settings.yaml").stat().st_mtime_ns == before and names(tmp_path / "cam") == [
        "settings.yaml"
    ]
    with pytest.raises(UserError, match="cam was made from other data .the images.* choose another session_name"):
        Run(tmp_path).claim("cam", make_record("train_aesipe", TrainAesipe(), {**DATA, "images": "i2"}))
    Run(tmp_path).claim("cam", TRAINED)  # the refusal changed nothing


def test_outputs_that_have_lost_their_record_are_refused(tmp_path):
    """They may be of other settings, and a claim would say that they are of these."""
    Run(tmp_path).claim("cam", TRAINED)
    (tmp_path / "cam/a.npz").write_bytes(b"")
    (tmp_path / "cam/settings.yaml").unlink()
    with pytest.raises(UserError, match="cam: holds files, but settings.yaml, .* is gone: delete it"):
        Run(tmp_path).claim("cam", TRAINED)
    assert names(tmp_path / "cam") == ["a.npz"]


def test_a_claimed_folder_is_cleared_of_what_a_killed_process_left(tmp_path):
    Run(tmp_path.parent).claim(tmp_path.name, TRAINED)
    (tmp_path / ".a.npz.999999999.tmp").write_bytes(b"half")
    Run(tmp_path.parent).claim(tmp_path.name, TRAINED)
    assert names(tmp_path) == ["settings.yaml"]


def test_a_folder_of_an_earlier_version_is_refused_as_such(tmp_path):
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({"lr": 0.01, "source": None}))
    with pytest.raises(UserError, match="was made by an earlier version, which did not record its data: delete it"):
        Run(tmp_path.parent).claim(tmp_path.name, TRAINED)


@pytest.mark.parametrize("part", ["settings", "inputs", "sources"])
def test_a_folder_whose_record_lost_a_part_is_refused_as_such(tmp_path, part):
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(TRAINED | {part: None}))
    with pytest.raises(UserError, match="was made by settings that are not known, since its record is damaged: delete"):
        Run(tmp_path.parent).claim(tmp_path.name, TRAINED)


def test_a_source_that_is_not_made_is_named(tmp_path):
    (tmp_path / "cam").mkdir()
    for name in ("cam", "ckpt/aesipe.pt"):
        with pytest.raises(UserError, match=f"{tmp_path / name}:? is missing or unfinished"):
            Run(tmp_path).sources(name)


def test_a_checkpoint_and_its_record_are_one_file(tmp_path):
    path = tmp_path / "aesipe.pt"
    save_result(path, weights(), TRAINED, step=3)
    record = checkpoint_record(path)
    assert record.pop("result") == tensors_digest(weights()) and difference(record, TRAINED) is None
    assert names(tmp_path) == ["aesipe.pt"] and Run(tmp_path).sources("aesipe.pt").keys() == {"aesipe.pt"}
    assert Run(tmp_path).trained_settings("aesipe.pt", "train_aesipe") == TrainAesipe()
    assert all(torch.equal(value, load_state(path)["model"][key]) for key, value in weights().items())
    again = tmp_path / "again" / "other.pt"
    save_result(again, weights(), TRAINED, step=3)
    assert again.read_bytes() == path.read_bytes()  # neither its name nor the process nor the time is in it


def test_a_checkpoint_of_an_earlier_version_keeps_its_settings(tmp_path):
    """They lay in a flat YAML file beside it, and newer settings are not in there."""
    path = tmp_path / "aesipe.pt"
    torch.save({"model": weights(), "step": 3}, path)
    assert checkpoint_record(path) is None
    settings = {
        "backbone": "resnet18",
        "sequence": ["pamr", "prototype", "is_cam"],
        "long_side": [56, 80],
        "ae": True,
        "lr": 0.5,
        "weights": "/w/a.pth",
    }
    path.with_suffix(".yaml").write_text(yaml.safe_dump(settings))
    assert Run(tmp_path).trained_settings("aesipe.pt", "train_aesipe") == replace(
        TrainAesipe(), backbone="resnet18", long_side=(56, 80), lr=0.5, weights="/w/a.pth"
    )
    with pytest.raises(UserError, match="aesipe.pt was made by an earlier version"):
        Run(tmp_path).is_trained("aesipe.pt", TRAINED, "auto")
    path.with_suffix(".yaml").write_text(yaml.safe_dump({**settings, "backbone": "vgg"}))
    with pytest.raises(UserError, match="its record is damaged .backbone must be one of resnet101"):
        Run(tmp_path).trained_settings("aesipe.pt", "train_aesipe")


@pytest.mark.parametrize("record", [None, TRAINED])
def test_every_flipped_byte_of_a_checkpoint_is_found_or_harmless(tmp_path, record):
    path = tmp_path / "a.pt"
    save_state(path, {"model": weights(), "step": 7}, record)
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole), 17):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            state = load_state(path)
            found = checkpoint_record(path)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
            continue
        assert state["step"] == 7 and found == record
        assert all(torch.equal(value, state["model"][key]) for key, value in weights().items())
    assert refused > len(whole) / 17 / 3  # the rest are the zip's dates, padding and the like


def test_a_flipped_weight_is_named(tmp_path):
    path = tmp_path / "a.pt"
    save_state(path, {"model": {"w": torch.arange(1000.0)}})
    content = path.read_bytes()
    place = content.index(torch.arange(1000.0).numpy().tobytes()) + 2000
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(UserError, match="a.pt: archive/data/0 has changed since it was written: delete it"):
        load_state(path)


def test_initial_weights_are_told_by_content(tmp_path):
    settings = TrainAesipe(run_root=str(tmp_path), session_name="run", weights="{run}/a.pt")
    assert weights_input(replace(settings, weights="imagenet")) == {"weights": "imagenet"}
    with pytest.raises(UserError, match="a.pt: no such file"):
        weights_input(settings)
    (tmp_path / "run").mkdir()
    torch.save(weights(), tmp_path / "run/a.pt")
    one = weights_input(settings)
    (tmp_path / "run/a.pt").rename(tmp_path / "b.pth")
    assert weights_input(replace(settings, weights=str(tmp_path / "b.pth"))) == one
    (tmp_path / "b.pth").write_bytes(b"\0" + (tmp_path / "b.pth").read_bytes())
    assert weights_input(replace(settings, weights=str(tmp_path / "b.pth"))) != one
    save_result(tmp_path / "run/a.pt", weights(), TRAINED)
    assert weights_input(settings) == {"weights": tensors_digest(weights())}


def test_an_evaluation_is_used_again_for_just_the_same(tmp_path):
    run, path = Run(tmp_path), tmp_path / "cam.json"
    assert run.evaluated("cam.json", TRAINED) is None
    save_json(path, {"miou": 0.5, "record": TRAINED})
    assert run.evaluated("cam.json", TRAINED)["miou"] == 0.5
    assert run.evaluated("cam.json", make_record("train_aesipe", TrainAesipe(), {**DATA, "images": "i2"})) is None
    path.write_text(path.read_text().replace("0.5", "0.6", 1))
    assert run.evaluated("cam.json", TRAINED) is None


def test_a_page_whose_record_differs_loses_it_before_it_is_made_anew(tmp_path):
    assert not is_made(tmp_path, TRAINED)
    keep_record(tmp_path, TRAINED)
    assert is_made(tmp_path, TRAINED)
    assert not is_made(tmp_path, {**TRAINED, "inputs": {}}) and names(tmp_path) == []
