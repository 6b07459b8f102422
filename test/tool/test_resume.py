"""A training that is stopped continues as if it had not been; one of other settings is refused."""

import random
import signal
from functools import partial

import numpy as np
import pytest
import torch
from tiny_training import STEPS, Stopped, assert_equal, counted, record_of, squares, stop, train, weights

from errors import UserError
from tool.checkpoint import StateFolder
from tool.record import checkpoint_record
from tool.run import Run


@pytest.mark.parametrize("last", [2, 6, 8, 11])
def test_a_stopped_run_ends_as_one_that_was_not(tmp_path, whole, last):
    """Bitwise: weights, batch norm's statistics, momentum, schedule and dropout all continue where they were."""
    with pytest.raises(Stopped):
        train(tmp_path / "parts", counted([], at=f"a{last}", do=stop))
    assert checkpoint_record(tmp_path / "parts/ckpt/tiny.pt") is None
    seen = []
    train(tmp_path / "parts", counted(seen))
    assert seen == [f"a{step}" for step in range(last // 4 * 4, STEPS)]
    assert_equal(whole, weights(tmp_path / "parts"))
    assert [path.name for path in sorted((tmp_path / "parts/ckpt").iterdir())] == ["tiny.pt"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_and_saves(tmp_path, whole, number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", counted([], at="a5", do=partial(signal.raise_signal, number)), save_every=1000)
    assert signal.getsignal(number) is before
    assert StateFolder(tmp_path / "parts/ckpt/tiny_state").newest("cpu")["step"] == 6
    seen = []
    train(tmp_path / "parts", counted(seen))
    assert seen[0] == "a6"
    assert_equal(whole, weights(tmp_path / "parts"))


def test_a_signal_in_the_last_step_loses_nothing(tmp_path):
    last = f"a{STEPS - 1}"
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, counted([], at=last, do=partial(signal.raise_signal, signal.SIGTERM)), save_every=1000)
    seen = []
    train(tmp_path, counted(seen))
    assert seen == []


def test_python_numpy_and_torch_draw_in_a_resumed_run_what_they_would_have(tmp_path):
    def noisy(network, batch):
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        terms = squares(network, batch)
        return {"loss": terms["loss"] * (1 + noise / 100)}

    def stopped(network, batch):
        return stop() if batch["id"][0] == "a6" else noisy(network, batch)

    train(tmp_path / "whole", noisy)
    with pytest.raises(Stopped):
        train(tmp_path / "parts", stopped)
    random.seed(9)  # as another process would come to it
    train(tmp_path / "parts", noisy)
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_no_resume_starts_anew(tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, counted([], at="a6", do=stop))
    seen = []
    train(tmp_path, counted(seen), record=record_of(lr=0.1), resume="never")
    assert seen[0] == "a0" and len(seen) == STEPS


def test_going_on_with_other_settings_or_images_is_refused_by_name(tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, counted([], at="a6", do=stop), record=record_of(crop=8))
    for record, message in (
        (record_of(crop=16), r"other settings \(crop: 8 there, 16 now\)"),
        (record_of(), "crop: 8 there, None now"),
        (record_of("12 images, 4567", crop=8), "other data .the images: 13 images, 0123 there, 12 images, 4567 now"),
    ):
        with pytest.raises(UserError, match=f"tiny_state was made .*{message}"):
            train(tmp_path, record=record)


def test_finished_training_is_skipped_or_refused(tmp_path):
    assert not Run(tmp_path).is_trained("ckpt/tiny.pt", record_of(scale=[0.5, 1.5]), "auto")
    train(tmp_path, record=record_of(scale=[0.5, 1.5]))
    assert Run(tmp_path).is_trained("ckpt/tiny.pt", record_of(scale=[0.5, 1.5]), "auto")
    assert not Run(tmp_path).is_trained("ckpt/tiny.pt", record_of(lr=1), "never")
    for key, value in {"lr": 0.1, "scale": [0.5, 2.0], "seed": 0}.items():
        with pytest.raises(UserError, match=rf"tiny\.pt was made with other settings \({key}: "):
            Run(tmp_path).is_trained("ckpt/tiny.pt", record_of(**{"scale": [0.5, 1.5], key: value}), "auto")


def test_what_a_killed_call_left_beside_its_result_is_cleared(tmp_path):
    train(tmp_path)
    left = tmp_path / "ckpt/tiny_state/00000012.pt"
    left.parent.mkdir()
    left.write_bytes(b"")
    assert Run(tmp_path).is_trained("ckpt/tiny.pt", record_of(), "auto") and not left.parent.exists()


def test_training_anew_leaves_no_result_of_the_old_one_behind(tmp_path):
    """Else the next call would take a half-trained network's predecessor for its result."""
    train(tmp_path, save_every=1, watch=lambda step, network, log: -step)
    assert {path.name for path in (tmp_path / "ckpt").iterdir()} == {"tiny.pt", "tiny_best.pt"}
    with pytest.raises(Stopped):
        train(tmp_path, counted([], at="a6", do=stop), resume="never")
    assert {path.name for path in (tmp_path / "ckpt").iterdir()} == {"tiny_state"}


def test_training_tells_how_many_steps_it_did(tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, counted([], at="a6", do=stop))
    assert train(tmp_path).steps_done == STEPS - 4
