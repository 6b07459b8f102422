"""What watches over a training: losses that are no numbers, and signals that ask it to stop."""

import math
import signal
from contextlib import contextmanager

import torch

from errors import OtherProcessFailed, UserError
from tool.signals import stop_signals_go_to


class LossGuard:
    """Finds the step whose loss or gradient is not finite, without holding up a GPU at every step."""

    def __init__(self, dist):
        self.dist, self.waiting, self.losses = dist, [], []

    def add(self, step, lr, ids, loss, norm):
        """loss: scalar tensor. norm: the gradient's, scalar tensor. lr and ids: of this step."""
        self.waiting.append((step, lr, ids, torch.stack([loss.detach().float(), norm.float()])))

    def check(self):
        """Raises UserError in every process if a step since the last check was not finite in any of them."""
        values = torch.stack([pair for *_, pair in self.waiting]).tolist() if self.waiting else []
        bad = next((i for i, pair in enumerate(values) if not all(map(math.isfinite, pair))), None)
        by_loss = bad is not None and not math.isfinite(values[bad][0])
        counts = self.dist.sum(torch.tensor([bad is not None, by_loss], dtype=torch.int64, device=self.dist.device))
        anywhere, losses = counts.tolist()
        # Processes share their gradients: a loss that is no number in one spoils the gradient in all of them.
        if anywhere and (bad is None or (losses and not by_loss)):
            raise OtherProcessFailed("stopped, because the loss of another process is not finite: see its message")
        if anywhere:
            step, lr, ids, _ = self.waiting[bad]
            what = f"the loss is {values[bad][0]}" if by_loss else f"the gradient's norm is {values[bad][1]}"
            raise UserError(
                f"step {step}: {what} at learning rate {lr:.3g}, images {', '.join(ids)}: lower --lr, or "
                "look at these images; the state saved last is from before it"
            )
        self.losses += [loss for loss, _ in values]
        self.waiting = []

    def mean_loss(self):
        """Mean loss of this process's steps that were checked since the last call."""
        losses, self.losses = self.losses, []
        return sum(losses) / max(1, len(losses))


@contextmanager
def stop_signal(dist, every):
    """Yields a function of the step that tells whether SIGINT or SIGTERM came: the step in hand is finished first.

    Several processes must stop at the same step, or those that continue wait for the others; they agree
    each `every` steps.
    """
    received = []

    def note(number, frame):
        if received.count(signal.SIGINT) > 1:  # whoever presses Ctrl-C a third time does not want to wait
            raise KeyboardInterrupt
        received.append(number)

    def told_to_stop(step):
        if dist.world == 1:
            return bool(received)
        if step % every:
            return False
        return bool(dist.sum(torch.tensor(len(received), device=dist.device)))

    with stop_signals_go_to(note):
        yield told_to_stop
