import json
import math
import random
import signal
from argparse import Namespace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from errors import UserError
from tool.checkpoint import StateFolder, load_model, load_state, revision, save_result
from tool.dist import Dist
from tool.guard import LossGuard
from tool.record import checkpoint_record
from tool.run import Run
from tool.trainer import Task, Trainer, to_device

ALONE = Dist(0, 1, torch.device("cpu"))
STEPS = 12


class Stopped(Exception):
    """As if the machine had gone down."""


def tiny_network(dropout=0.5):
    """Batch norm and dropout, so that running statistics and random draws have to be carried over a stop."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout), nn.Conv2d(4, 1, 3))


def batches(start, steps=STEPS):
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(step)
        image = torch.randint(0, 256, (2, 3, 9, 8), dtype=torch.uint8, generator=generator)
        yield {"image": image, "id": [f"a{step}", f"b{step}"]}


def squares(network, batch):
    loss = (network(batch["image"]) - 1).square().mean()
    return {"loss": loss, "half": loss / 2}


def record_of(images="13 images, 0123", **settings):
    return {"stage": "tiny", "settings": {"lr": 0.05, **settings}, "inputs": {"images": images}, "sources": {}}


def settings_of(run, **changes):
    return Namespace(
        **{
            **{
                "run": run,
                "resume": "auto",
                "momentum": 0.9,
                "weight_decay": 1e-4,
                "precision": "float32",
                "save_every": 4,
                "tracker": "tensorboard",
                "seed": 3,
                "batch_size": 2,
                "compile": False,
                "accumulate": 1,
                "deterministic": False,
            },
            **changes,
        }
    )


def train(
    run,
    losses=squares,
    record=None,
    steps=STEPS,
    after=None,
    loader=batches,
    clip=math.inf,
    dropout=0.5,
    watch=None,
    watch_every=1,
    **changes,
):
    model = tiny_network(dropout)
    groups = [
        {"params": model[0].parameters(), "lr": 0.05},
        {"params": [*model[1].parameters(), *model[4].parameters()], "lr": 0.2},
    ]
    task = Task(model, losses, groups, loader, steps, clip, after, watch, watch_every)
    trainer = Trainer(task, settings_of(run, **changes), ALONE, run / "ckpt" / "tiny.pt", record or record_of())
    model.steps_done = trainer.train()
    return model


def weights(run):
    return load_state(run / "ckpt" / "tiny.pt")["model"]


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def counted(seen, at=None, do=None):
    """Losses that note their batch's image IDs and at one batch do something first."""

    def losses(network, batch):
        seen.append(batch["id"][0])
        if batch["id"][0] == at:
            do()
        return squares(network, batch)

    return losses


def stop():
    raise Stopped


@pytest.mark.parametrize("last", [2, 6, 8, 11])
def test_a_stopped_run_ends_as_one_that_was_not(tmp_path, last):
    """Bitwise: weights, batch norm's statistics, momentum, schedule and dropout all go on where they were."""
    train(tmp_path / "whole")
    with pytest.raises(Stopped):
        train(tmp_path / "parts", counted([], at=f"a{last}", do=stop))
    assert checkpoint_record(tmp_path / "parts/ckpt/tiny.pt") is None
    seen = []
    train(tmp_path / "parts", counted(seen))
    assert seen == [f"a{step}" for step in range(last // 4 * 4, STEPS)]
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert [path.name for path in sorted((tmp_path / "parts/ckpt").iterdir())] == ["tiny.pt"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_and_saves(tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", counted([], at="a5", do=partial(signal.raise_signal, number)), save_every=1000)
    assert signal.getsignal(number) is before
    assert StateFolder(tmp_path / "parts/ckpt/tiny_state").newest("cpu")["step"] == 6
    seen = []
    train(tmp_path / "parts", counted(seen))
    assert seen[0] == "a6"
    train(tmp_path / "whole")
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_a_signal_in_the_last_step_loses_nothing(tmp_path):
    last = f"a{STEPS - 1}"
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, counted([], at=last, do=partial(signal.raise_signal, signal.SIGTERM)), save_every=1000)
    seen = []
    train(tmp_path, counted(seen))
    assert seen == []


def state_steps(run):
    return StateFolder(run / "ckpt/tiny_state").steps()


def test_the_last_two_states_and_the_best_are_kept(tmp_path):
    """Every step a state, scored by a watch; step 3 is the best."""
    kept = {}

    def watch(step, network, log):
        kept[step] = state_steps(tmp_path)  # before this step's own
        return {3: 0.9, 7: 0.5}.get(step, 0.1)

    with pytest.raises(Stopped):
        train(tmp_path, counted([], at="a9", do=stop), save_every=1, watch=watch)
    assert kept == {
        1: [],
        2: [1],
        3: [1, 2],
        4: [2, 3],
        5: [3, 4],
        6: [3, 4, 5],
        7: [3, 5, 6],
        8: [3, 6, 7],
        9: [3, 7, 8],
    }
    train(tmp_path, save_every=1, watch=watch)
    assert kept[12] == [3, 10, 11]
    assert sorted(path.name for path in (tmp_path / "ckpt").iterdir()) == ["tiny.pt", "tiny_best.pt"]
    best = load_state(tmp_path / "ckpt/tiny_best.pt")
    assert (best["step"], best["score"]) == (3, 0.9)
    with pytest.raises(Stopped):
        train(tmp_path / "three", counted([], at="a3", do=stop), save_every=3)
    assert_equal(best["model"], StateFolder(tmp_path / "three/ckpt/tiny_state").newest("cpu")["model"])


def test_without_a_watch_the_state_of_the_lowest_loss_is_the_best(tmp_path):
    def losses(network, batch):
        return {"loss": squares(network, batch)["loss"] * 0 + abs(int(batch["id"][0][1:]) - 4)}  # 0 in the fifth step

    with pytest.raises(Stopped):
        train(
            tmp_path,
            lambda network, batch: stop() if batch["id"] == ["a9", "b9"] else losses(network, batch),
            save_every=1,
        )
    assert state_steps(tmp_path) == [5, 8, 9]


def test_a_damaged_state_gives_way_to_the_one_before_it(tmp_path, capsys):
    train(tmp_path / "whole")
    with pytest.raises(Stopped):
        train(tmp_path / "parts", counted([], at="a10", do=stop))
    folder = StateFolder(tmp_path / "parts/ckpt/tiny_state")
    assert folder.steps() == [4, 8]
    folder.file(8).write_bytes(folder.file(8).read_bytes()[:-300])
    seen = []
    train(tmp_path / "parts", counted(seen))
    assert seen[0] == "a4" and "00000008.pt: is no whole checkpoint" in capsys.readouterr().out
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_states_of_which_none_is_whole_are_not_passed_over_in_silence(tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, counted([], at="a6", do=stop))
    StateFolder(tmp_path / "ckpt/tiny_state").file(4).write_bytes(b"")
    with pytest.raises(UserError, match="tiny_state: holds no whole state: delete it to train anew"):
        train(tmp_path)


def test_going_on_with_another_list_of_images_is_refused(tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, counted([], at="a6", do=stop))
    with pytest.raises(
        UserError, match="tiny_state was made from other data .the images: 13 images, 0123 there, 12 ima"
    ):
        train(tmp_path, record=record_of(images="12 images, 4567"))


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


def test_a_full_disk_ends_training_with_one_line_and_keeps_the_state_before(tmp_path, monkeypatch):
    def full(state, file):
        if state["step"] == 8:
            file.write(b"half")
            raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")
        original(state, file)

    original = torch.save
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="00000008.pt: cannot be written: is the disk full"):
        train(tmp_path)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "ckpt/tiny_state").iterdir()] == ["00000004.pt"]
    seen = []
    train(tmp_path, counted(seen))
    assert seen[0] == "a4"


def test_states_and_results_name_the_revision_of_the_code(tmp_path):
    train(tmp_path)
    assert load_state(tmp_path / "ckpt/tiny.pt")["revision"] == revision()


def test_no_resume_starts_anew(tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, counted([], at="a6", do=stop))
    seen = []
    train(tmp_path, counted(seen), record=record_of(lr=0.1), resume="never")
    assert seen[0] == "a0" and len(seen) == STEPS


def test_going_on_with_other_settings_is_refused_by_name(tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, counted([], at="a6", do=stop), record=record_of(crop=8))
    with pytest.raises(UserError, match=r"other settings \(crop: 8 there, 16 now\)"):
        train(tmp_path, record=record_of(crop=16))
    with pytest.raises(UserError, match="crop: 8 there, None now"):
        train(tmp_path)


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


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_training_with_the_step(tmp_path, value):
    def losses(network, batch):
        terms = squares(network, batch)
        return {**terms, "loss": terms["loss"] * (value if batch["id"][0] == "a7" else 1)}

    with pytest.raises(UserError, match=r"^step 8: the loss is (nan|inf) at learning rate 0\.0227, images a7, b7: "):
        train(tmp_path, losses, save_every=4)
    assert checkpoint_record(tmp_path / "ckpt/tiny.pt") is None
    kept = StateFolder(tmp_path / "ckpt/tiny_state").newest("cpu")
    assert kept["step"] == 4 and all(value.isfinite().all() for value in kept["model"].values())


def test_a_gradient_that_is_no_number_is_found_in_its_own_step(tmp_path):
    """The loss is finite in that step; only the next one's would tell, of other images."""

    def losses(network, batch):
        terms = squares(network, batch)
        root = (0 * terms["loss"]).sqrt() if batch["id"][0] == "a3" else 0  # its derivative is infinite: 0 * inf
        return {**terms, "loss": terms["loss"] + root}

    with pytest.raises(UserError, match="^step 4: the gradient's norm is nan at learning rate .* images a3, b3: "):
        train(tmp_path, losses)
    assert StateFolder(tmp_path / "ckpt/tiny_state").steps() == []


class TwoProcesses(Dist):
    """The other process reports what `other` says: [steps that are not finite, of these by the loss]."""

    def sum(self, values):
        return values + torch.tensor(self.other)


@pytest.mark.parametrize(
    "loss, norm, other, message",
    [
        (1.0, float("nan"), [1, 1], "stopped, because the loss of another process is not finite"),
        (float("nan"), float("nan"), [1, 0], "step 5: the loss is nan .* images a, b: "),
        (1.0, float("inf"), [1, 0], "step 5: the gradient's norm is inf"),
        (1.0, 1.0, [1, 1], "stopped, because the loss of another process"),
    ],
)
def test_the_process_whose_loss_is_no_number_names_its_images(loss, norm, other, message):
    dist = TwoProcesses(0, 2, torch.device("cpu"))
    object.__setattr__(dist, "other", other)
    guard = LossGuard(dist)
    guard.add(4, 0.1, ["c", "d"], torch.tensor(1.0), torch.tensor(2.0))
    guard.add(5, 0.1, ["a", "b"], torch.tensor(loss), torch.tensor(norm))
    with pytest.raises(UserError, match=message):
        guard.check()


def test_steps_written_out(tmp_path):
    """SGD with momentum, weight decay, a clipped gradient and the polynomial schedule, by hand."""
    trained = train(tmp_path, clip=0.1, dropout=0).state_dict()
    model = tiny_network(dropout=0).train()
    rates = {name: 0.05 if name.startswith("0.") else 0.2 for name, _ in model.named_parameters()}
    velocity = {}
    for step, batch in enumerate(batches(0), 1):
        (model(batch["image"].float() / 255) - 1).square().mean().backward()
        norm = torch.sqrt(sum(p.grad.square().sum() for p in model.parameters()))
        with torch.no_grad():
            for name, p in model.named_parameters():
                gradient = p.grad * min(1, 0.1 / norm) + 1e-4 * p
                velocity[name] = 0.9 * velocity[name] + gradient if name in velocity else gradient
                p -= rates[name] * (1 - (step - 1) / STEPS) ** 0.9 * velocity[name]
                p.grad = None
    for name, value in model.state_dict().items():
        torch.testing.assert_close(trained[name], value, atol=1e-5, rtol=1e-4)


def test_the_log_holds_means_and_the_rate(tmp_path):
    losses = []

    def noted(network, batch):
        losses.append(squares(network, batch))
        return losses[-1]

    train(tmp_path, noted)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [("tiny", 10), ("tiny", 12)]
    first, last = (sum(terms["loss"].item() for terms in part) / len(part) for part in (losses[:10], losses[10:]))
    assert lines[0]["loss"] == pytest.approx(first) and lines[1]["loss"] == pytest.approx(last)
    assert lines[0]["half"] == pytest.approx(first / 2)
    assert lines[0]["lr"] == pytest.approx(0.05 * (1 - 10 / 12) ** 0.9) and lines[1]["lr"] == 0


def test_after_sees_the_trained_network_in_eval_mode_and_its_changes_are_saved(tmp_path):
    def after(network):
        assert not network.training
        network[4].bias.data.fill_(5)

    train(tmp_path, after=after)
    assert weights(tmp_path)["4.bias"].item() == 5


def disturbing(seen):
    """A watch that draws random numbers and runs the network, which in training mode would move batch norm."""

    def watch(step, network, log):
        seen.append(step)
        assert not any(part.training for part in network.modules())
        torch.manual_seed(step)
        with torch.inference_mode():
            network(torch.rand(3, 3, 11, 7) * 9)
        log.validation(step, {"cam": step / 100})

    return watch


@pytest.mark.parametrize("last", [None, 5, 8])
def test_training_that_is_watched_ends_as_if_it_were_not(tmp_path, last):
    """Bitwise, whether it is stopped or not."""
    train(tmp_path / "alone")
    seen = []
    watch = disturbing(seen)
    if last is not None:
        with pytest.raises(Stopped):
            train(tmp_path / "watched", counted([], at=f"a{last}", do=stop), watch=watch, watch_every=5)
    assert train(tmp_path / "watched", watch=watch, watch_every=5).training
    assert_equal(weights(tmp_path / "alone"), weights(tmp_path / "watched"))
    assert seen == {None: [5, 10, 12], 5: [5, 5, 10, 12], 8: [5, 10, 12]}[last]
    lines = [json.loads(line) for line in (tmp_path / "watched/log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["val"]) for line in lines if "val" in line] == [
        (step, {"cam": step / 100}) for step in seen
    ]


def test_fit_tells_how_many_steps_it_did(tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, counted([], at="a6", do=stop))
    assert train(tmp_path).steps_done == STEPS - 4
    assert train(tmp_path / "whole").steps_done == STEPS


def test_half_precision_trains(tmp_path):
    train(tmp_path, precision="bfloat16")
    assert all(value.dtype == torch.float32 for key, value in weights(tmp_path).items() if "tracked" not in key)
    assert all(value.isfinite().all() for value in weights(tmp_path).values())


@pytest.mark.parametrize("seed", [20240101, 2**31])
def test_a_date_can_be_the_seed(tmp_path, seed):
    train(tmp_path, steps=2, loader=partial(batches, steps=2), seed=seed)


def test_images_become_floats_in_0_to_1():
    moved = to_device(
        {
            "image": torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8),
            "id": ["a"],
            "target": torch.tensor([255], dtype=torch.uint8),
        },
        torch.device("cpu"),
    )
    torch.testing.assert_close(moved["image"], torch.tensor([[[[0, 0.2, 1]]]]))
    assert moved["target"].dtype == torch.uint8 and moved["id"] == ["a"]


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
