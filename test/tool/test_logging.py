import errno
import json
import re
import time

import cv2
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from errors import UserError
from tool.logging import StepLog
from tool.usage import StageUsage, append_json, peak_memory
from viz.runs import read_log


def start(folder, start=0, steps=40, show=True):
    return StepLog(folder / "log.jsonl", "tiny", start, steps, batch_size=4, show=show, stage="train_tiny")


def do_steps(log, first, last, loss=1.0):
    """Steps first..last, reported every 10."""
    for step in range(first, last + 1):
        log.add({"loss": torch.tensor(loss + step), "cls": torch.tensor(0.5)})
        if step % 10 == 0:
            log.report(step, lr=0.1)


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def points(folder):
    """{tag: {step: value}} as TensorBoard shows them."""
    board = EventAccumulator(str(folder / "tensorboard/tiny"))
    board.Reload()
    return {tag: {event.step: event.value for event in board.Scalars(tag)} for tag in board.Tags()["scalars"]}


def test_tensorboard_shows_what_the_json_lines_hold(tmp_path):
    log = start(tmp_path)
    do_steps(log, 1, 20)
    log.validation(20, {"cam": 0.25, "is_cam": 0.5})
    log.close()
    shown, (*reports, validation) = points(tmp_path), lines(tmp_path)
    assert validation["step"] == 20 and validation["val"] == {"cam": 0.25, "is_cam": 0.5}
    assert [line["loss"] for line in reports] == [6.5, 16.5]
    for name in ("loss", "cls", "lr", "images_per_second"):
        assert shown.pop(f"train/{name}") == pytest.approx({line["step"]: line[name] for line in reports})
    assert shown == {"val/cam": {20: 0.25}, "val/is_cam": {20: 0.5}}


def test_a_process_that_goes_on_replaces_the_points_after_its_start(tmp_path):
    """The first process was killed after step 30, the last state it saved is of step 15."""
    log = start(tmp_path)
    do_steps(log, 1, 30)
    log.validation(30, {"cam": 0.1})
    (file,) = (tmp_path / "tensorboard/tiny").iterdir()
    file.rename(
        file.with_name(file.name.replace("tfevents.1", "tfevents.0"))
    )  # their order is by the second in the name
    log = start(tmp_path, start=15)
    do_steps(log, 16, 40, loss=100.0)
    log.close()
    shown = points(tmp_path)
    assert shown["train/loss"] == pytest.approx({10: 6.5, 20: 118, 30: 125.5, 40: 135.5})
    assert "val/cam" not in shown or not shown["val/cam"]


def test_pictures_are_shown_as_they_are(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    log = start(tmp_path)
    log.picture("panels/a", picture, 3)
    log.close()
    board = EventAccumulator(str(tmp_path / "tensorboard/tiny"))
    board.Reload()
    (event,) = board.Images("panels/a")
    pixels = cv2.imdecode(np.frombuffer(event.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert event.step == 3 and (pixels[..., ::-1] == picture).all()


def test_other_processes_write_and_show_nothing(tmp_path, capsys):
    log = start(tmp_path, show=False)
    do_steps(log, 1, 10)
    log.validation(10, {"cam": 0.1})
    log.picture("panels/a", np.zeros((2, 2, 3), np.uint8), 10)
    log.close()
    said = capsys.readouterr()
    assert not list(tmp_path.iterdir()) and said.out == said.err == ""


@pytest.mark.parametrize("number, name", [("", "train_tiny"), ("2/11", "2/11 train_tiny")])
def test_the_bar_shows_stage_loss_speed_and_remaining_time(tmp_path, monkeypatch, capsys, number, name):
    monkeypatch.setenv("STAGE_NUMBER", number)
    log = start(tmp_path, start=10)
    for _step in range(11, 21):
        time.sleep(0.02)
        log.add({"loss": torch.tensor(0.25)})
    log.report(20, lr=0.1)
    log.validation(20, {"cam": 0.125})
    log.close()
    said = capsys.readouterr()
    bar = said.err.replace("\n", "\r").strip("\r").split("\r")[-1]
    assert re.match(rf"{name}:  50%\|.*\| 20/40 \[00:00<00:\d\d, +[\d.]+step/s, loss=0\.250, img/s=[\d.]+\]", bar), bar
    assert said.out.startswith(f"{name}, step 20: mIoU cam 12.50")


def test_a_report_writes_no_bar_of_its_own(tmp_path, capsys):
    """In a file each would be a line, every few seconds for days."""
    log = start(tmp_path)
    do_steps(log, 1, 40)
    log.close()
    first, last = capsys.readouterr().err.strip("\r\n").split("\r")
    assert " 0/40 " in first and " 40/40 " in last and "loss=36.500" in last


def test_a_pause_does_not_slow_the_reported_speed(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    log = start(tmp_path)
    do_steps(log, 1, 9)
    with log.paused():
        now += 60
    now += 2
    do_steps(log, 10, 10)
    log.close()
    assert lines(tmp_path)[0]["images_per_second"] == 20  # 40 images in 2 s


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"\(tracker tensorboard\): cannot be written"):
        start(tmp_path)
    with pytest.raises(UserError, match="log.jsonl: cannot be written"):
        append_json(tmp_path / "tensorboard" / "log.jsonl", {})


def test_a_full_disk_under_tensorboard_is_one_error(tmp_path, monkeypatch, capfd):
    """Its thread meets the error first and would print a traceback."""
    log = start(tmp_path)
    do_steps(log, 1, 10)
    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", full)
    with pytest.raises(UserError, match=r"tensorboard\): cannot be written: No space left on device: make room"):
        do_steps(log, 11, 100)
        log.close()
    assert "Traceback" not in capfd.readouterr().err


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_usage_of_a_stage(tmp_path):
    usage = StageUsage(tmp_path, "make_cam")
    time.sleep(0.1)
    usage.finish(did=3, of=5)
    (line,) = lines(tmp_path)
    assert 0.1 <= line.pop("seconds") < 5 and abs(line.pop("time") - time.time()) < 5
    assert line.pop("peak_memory_mb") == pytest.approx(peak_memory(), abs=50)
    assert line == {
        "stage": "make_cam",
        "finished": True,
        "did": 3,
        "of": 5,
        "peak_gpu_memory_mb": None,
        "device": "cpu",
        "processes": 1,
    }


def test_peak_memory_rises_by_what_is_held():
    before = peak_memory()
    held = bytearray(int((before + 100) * 2**20))  # zeroed in place: resident only once it is touched
    held[:: 2**12] = b"\1" * len(held[:: 2**12])
    assert before + 100 <= peak_memory() < 3 * before + 400


@pytest.mark.parametrize("did, rank", [(0, "0"), (3, "1")])
def test_nothing_done_and_other_processes_leave_no_record(tmp_path, monkeypatch, did, rank):
    monkeypatch.setenv("RANK", rank)
    StageUsage(tmp_path, "make_cam").finish(did, of=5)
    assert not list(tmp_path.iterdir())


def test_a_line_cut_by_a_kill_spoils_no_other(tmp_path):
    path = tmp_path / "log.jsonl"
    append_json(path, {"stage": "a"})
    with open(path, "a") as file:
        file.write('{"stage": "b", "st')
    append_json(path, {"stage": "c"})
    append_json(path, {"stage": "d"})
    assert [record["stage"] for record in read_log(path)] == ["a", "c", "d"]
    assert path.read_text().count("\n") == 4
