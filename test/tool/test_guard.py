"""A loss or a gradient that is not finite ends training with the step and its images."""

import signal

import pytest
import torch
from tiny_training import squares, train

from errors import UserError
from tool.checkpoint import StateFolder
from tool.dist import Dist
from tool.guard import LossGuard, stop_signal
from tool.record import checkpoint_record


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


def test_processes_stop_at_the_same_step_and_do_not_ask_at_every_one():
    asked = []

    class Two(Dist):
        """The other process has had no signal."""

        def sum(self, values):
            asked.append(values.item())
            return values

    with stop_signal(Two(0, 2, torch.device("cpu")), every=10) as told_to_stop:
        assert not any(told_to_stop(step) for step in range(1, 13))
        signal.raise_signal(signal.SIGTERM)
        assert [step for step in range(13, 31) if told_to_stop(step)] == [20, 30] and asked == [0, 1, 1]

    class Told(Two):
        def sum(self, values):
            return values + 1

    with stop_signal(Told(0, 2, torch.device("cpu")), every=10) as told_to_stop:
        assert [step for step in range(1, 13) if told_to_stop(step)] == [10]
