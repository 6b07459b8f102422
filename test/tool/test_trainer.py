"""The steps of a training, what it logs, and what watches it."""

import json
import random
from argparse import Namespace
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from tiny_training import (
    STEPS,
    Stopped,
    assert_equal,
    batches,
    counted,
    squares,
    stop,
    tiny_network,
    train,
    trainer_of,
    weights,
)

from tool.dist import Dist
from tool.trainer import make_optimizer, to_device, train_step

CPU = torch.device("cpu")


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

    train(tmp_path, noted, tracker="tensorboard")
    assert (tmp_path / "tensorboard/tiny").is_dir()
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
def test_training_that_is_watched_ends_as_if_it_were_not(tmp_path, whole, last):
    """Bitwise, whether it is stopped or not."""
    seen = []
    watch = disturbing(seen)
    if last is not None:
        with pytest.raises(Stopped):
            train(tmp_path / "watched", counted([], at=f"a{last}", do=stop), watch=watch, watch_every=5)
    assert train(tmp_path / "watched", watch=watch, watch_every=5).training
    assert_equal(whole, weights(tmp_path / "watched"))
    assert seen == {None: [5, 10, 12], 5: [5, 5, 10, 12], 8: [5, 10, 12]}[last]
    lines = [json.loads(line) for line in (tmp_path / "watched/log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["val"]) for line in lines if "val" in line] == [
        (step, {"cam": step / 100}) for step in seen
    ]


def test_half_precision_trains(tmp_path):
    train(tmp_path, precision="bfloat16")
    assert all(value.dtype == torch.float32 for key, value in weights(tmp_path).items() if "tracked" not in key)
    assert all(value.isfinite().all() for value in weights(tmp_path).values())


@pytest.mark.parametrize("seed", [20240101, 2**31])
def test_a_date_can_be_the_seed(tmp_path, seed):
    train(tmp_path, steps=2, loader=partial(batches, steps=2), seed=seed)


def test_every_seed_process_and_step_draws_numbers_of_its_own(tmp_path):
    drawn = []

    def losses(network, batch):
        drawn.append((random.random(), np.random.rand(), torch.rand(()).item()))
        return squares(network, batch)

    for seed, rank in ((0, 0), (0, 1), (1, 0), (1, 1)):
        trainer_of(tmp_path / f"{seed}{rank}", losses, Dist(rank, 1, CPU), seed=seed).train()
    assert [len({*numbers}) for numbers in zip(*drawn)] == [8, 8, 8]


def test_a_loss_of_a_share_divides_by_its_part_of_what_all_processes_count(tmp_path, monkeypatch):
    """DDP takes the mean of the gradients: of three processes, in two parts each, each divides by a sixth."""
    monkeypatch.setattr(Dist, "sum", lambda dist, values: values + 20)  # of the others
    seen = []

    def losses(network, batch):
        seen.append(batch["count"].item())
        return squares(network, batch)

    trainer = trainer_of(tmp_path, losses, Dist(0, 3, CPU), count=lambda batch: torch.tensor(10.0), accumulate=2)
    trainer._step(trainer.model, 1, to_device(next(batches(0)), CPU), first=True)
    assert seen == [5.0, 5.0]


def test_gradients_are_sent_with_the_last_part_alone():
    """Sent with each they would cost, never sent the processes' networks would part."""
    told, network = [], tiny_network()

    @contextmanager
    def unsent():
        told.append("unsent")
        yield

    def losses(network, batch):
        told.append(batch["id"][0])
        return squares(network, batch)

    optimizer, scaler = torch.optim.SGD(network.parameters(), lr=0.1), torch.amp.GradScaler("cpu", enabled=False)
    train_step(network, losses, to_device(next(batches(0)), CPU), optimizer, scaler, parts=2, unsent=unsent)
    assert told == ["unsent", "a0", "b0"]


def test_the_gradient_is_clipped_as_it_is_without_the_scale_of_float16():
    updated = []
    for enabled in (False, True):
        network = tiny_network(dropout=0)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=enabled)
        train_step(network, squares, to_device(next(batches(0)), CPU), optimizer, scaler, clip=0.1)
        updated.append(network[0].weight)
    torch.testing.assert_close(*updated)
    assert (updated[0] - tiny_network()[0].weight).abs().max() > 1e-4


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


def updated(fused, gradients, scaler=None):
    """(weights, optimiser) after an update with each of the gradients."""
    weight = torch.nn.Parameter(torch.ones(100_000))
    settings = Namespace(momentum=0.9, weight_decay=0.01)
    optimizer = make_optimizer([{"params": [weight], "lr": 0.1}], settings, fused)
    for gradient in gradients:
        weight.grad = torch.full_like(weight, gradient)
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
    return weight.detach(), optimizer.state[weight]["momentum_buffer"]


def test_the_fused_update_of_a_gpu_is_that_of_a_cpu():
    for one, other in zip(updated(True, [1.0, -2.0, 0.5]), updated(False, [1.0, -2.0, 0.5])):
        torch.testing.assert_close(one, other)


def test_a_first_step_that_float16_skips_leaves_no_momentum():
    """Found: fused SGD makes the buffers by torch.empty, and a step that is skipped leaves in them what lay there."""
    for _ in range(3):
        torch.full((100_000,), 7.0)  # memory that is given back, for the buffers
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(torch.ones(1))
    weight, momentum = updated(True, [float("inf")], scaler)
    assert (momentum == 0).all() and (weight == 1).all()
    weight, _ = updated(True, [float("inf"), 3.0], scaler)
    expected, _ = updated(False, [3.0 / scaler.get_scale()])
    torch.testing.assert_close(weight, expected)
