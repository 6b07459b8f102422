"""The training loop of every stage: steps, schedule, mixed precision, several processes, saving and going on."""

import math
import random
import signal
from contextlib import closing, contextmanager, nullcontext

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import PolynomialLR

from errors import OtherProcessFailed, UserError
from files import remove_leftovers
from tool.checkpoint import StateFolder, revision, save_result
from tool.dist import init_dist, set_deterministic, set_precision
from tool.io import save_settings
from tool.logging import StepLog
from tool.record import ANEW, refuse_other, states_path
from tool.settings import plain

REPORT_EVERY = 10  # steps
POWER = 0.9  # of the polynomial decay


def start_training(settings, section):
    """Join the processes, seed the weights that are to be drawn, and keep the settings in the run's config.yaml."""
    torch.backends.cudnn.benchmark = True  # crops are all of one size
    if settings.deterministic:
        set_deterministic()
    dist = init_dist()
    if dist.main:
        save_settings(settings.run, section, plain(settings))
    torch.manual_seed(settings.seed)
    return dist


def fit(
    model,
    losses,
    groups,
    make_loader,
    steps,
    args,
    dist,
    path,
    record,
    clip=math.inf,
    after=None,
    watch=None,
    watch_every=1,
):
    """Train a network and write the result to path.

    losses: function (network, batch) -> dict of scalars with `loss`. groups: of the optimiser.
    make_loader: function from the first step to an iterable of batches. steps: of the whole training.
    args: the stage's settings. record: of `tool.record`, which must agree for going on. clip: bound on the gradient
    norm.
    after: function called with the network once it is trained.
    watch: function (step, network in eval mode, StepLog) -> score, the higher the better, called in every process
    after each `watch_every` steps and the last; training goes on as if it had not been called.
    The schedule is lr * (1 - step / steps)^0.9. The full state is saved every `save_every` steps and when the process
    is told to stop (SIGINT, SIGTERM); a later call goes on from the newest. With a watch, the weights of the best saved
    state that is not the last are kept as STEM_best.pt. Returns how many steps this call did.
    Raises UserError at a loss or gradient that is not finite; what is saved by then is from before it.
    """
    model = _synchronised(model, args, dist).to(dist.device, memory_format=torch.channels_last)
    model.train()
    optimizer = torch.optim.SGD(groups, momentum=args.momentum, weight_decay=args.weight_decay)
    schedule = PolynomialLR(optimizer, total_iters=steps, power=POWER)
    dtype = set_precision(args.precision, dist.device)
    scaler = torch.amp.GradScaler(dist.device.type, enabled=dtype == torch.float16)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "scaler": scaler}
    states = StateFolder(states_path(path))
    start = _restore(parts, states, record, args.resume, dist, path)
    if args.compile:
        model.encoder.compile()
    network = DistributedDataParallel(model) if dist.world > 1 else model
    log = StepLog(args.run / "log.jsonl", path.stem, start, steps, args.batch_size, dist.main, args.tracker)
    guard = LossGuard(dist)
    with closing(log), _stop_signal(dist) as told_to_stop:
        for step, batch in enumerate(make_loader(start), start + 1):
            seed_step(args.seed, step, dist.rank)
            terms, norm = train_step(network, losses, to_device(batch, dist.device), optimizer, scaler, dtype, clip)
            guard.add(step, schedule.get_last_lr()[0], batch["id"], terms["loss"], norm)
            schedule.step()
            log.add(terms)
            stop, last = told_to_stop(step), step == steps
            saving = stop or (after is not None if last else step % args.save_every == 0)
            if step % REPORT_EVERY == 0 or last or saving:
                guard.check()
            if step % REPORT_EVERY == 0 or last:
                log.report(step, lr=schedule.get_last_lr()[0])
            score = None
            if watch is not None and not stop and (step % watch_every == 0 or last):
                with log.paused(), _set_aside(model, args.compile):
                    score = watch(step, model, log)
            if saving and dist.main:
                states.save(
                    step,
                    {key: part.state_dict() for key, part in parts.items()} | {"record": record},
                    score if watch is not None else -guard.mean_loss(),
                )
            if stop:
                raise KeyboardInterrupt
    if after is not None:
        after(model.eval())
    if dist.main:
        if watch is not None and states.best is not None and states.best["step"] < steps:
            save_result(_best_path(path), states.best_weights(), record, **states.best)
        # Last: once it is there, later calls take all as done and clear the states.
        save_result(path, model.state_dict(), record, step=steps)
        states.clear()
        remove_leftovers(path.parent)
    return steps - start


def seed_step(seed, step, rank):
    """Set every random generator of this process from the step's number.

    So the states of Python's, NumPy's, torch's and CUDA's generators follow from seed, step and process alone: a run
    that goes on draws what one that was not stopped draws, in each of its processes, whatever their number was.
    """
    number = ((seed * 1_000_003 + step) * 1_000_003 + rank) % 2**63
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)  # of all devices


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


def train_step(network, losses, batch, optimizer, scaler, dtype=None, clip=math.inf):
    """One update of the network by a batch that is on its device.

    Returns (dict of losses, the gradient's norm before clipping; 0 where a scaler watches over the gradients itself).
    """
    with torch.autocast(batch["image"].device.type, dtype, enabled=dtype is not None):
        terms = losses(network, batch)
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(terms["loss"]).backward()
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    scaler.step(optimizer)
    scaler.update()
    return terms, torch.zeros_like(norm) if scaler.is_enabled() else norm


def to_device(batch, device):
    """Move a batch; images become float in [0,1] there, four times the bytes that travelled."""
    moved = {
        key: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for key, value in batch.items()
    }
    moved["image"] = (moved["image"].float() / 255).contiguous(memory_format=torch.channels_last)
    return moved


def _synchronised(model, args, dist):
    if dist.world > 1 and dist.device.type == "cuda" and getattr(args, "batch_norm", None) == "train":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model


def _best_path(path):
    return path.with_name(f"{path.stem}_best.pt")


def _restore(parts, states, record, resume, dist, path):
    """Go on from the newest state that is whole. Returns its step, 0 for none.

    Training that begins removes what an earlier one left, the result first: while it is there, it counts as finished.
    """
    saved = states.newest(dist.device) if resume == "auto" else None
    if saved is None:
        dist.barrier()  # or another process would find no state where the main one has just removed them
        if dist.main:
            for old in (path, path.with_suffix(".yaml"), _best_path(path)):
                old.unlink(missing_ok=True)
            states.clear()
        return 0
    refuse_other(states.path, saved["record"], record, ANEW)
    for key, part in parts.items():
        part.load_state_dict(saved[key])
    if dist.main:
        other = f", saved by revision {saved['revision']}" if saved["revision"] != revision() else ""
        print(f"{states.path}: going on after step {saved['step']}{other}", flush=True)
    return saved["step"]


@contextmanager
def _set_aside(model, compiled):
    """The model in eval mode, for images of any size; then as it was. Random draws need no care: each step is seeded.

    The encoder runs uncompiled: other sizes would have it compiled anew, and training might go on with that.
    """
    benchmark, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
    model.eval()
    with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        yield
    model.train()
    torch.backends.cudnn.benchmark = benchmark


@contextmanager
def _stop_signal(dist):
    """Yields a function of the step that tells whether SIGINT or SIGTERM came: the step in hand is finished first.

    Several processes must stop at the same step, or those that go on wait for the others; they agree every so often.
    """
    received = []

    def note(number, frame):
        if received.count(signal.SIGINT) > 1:  # whoever presses Ctrl-C a third time does not want to wait
            raise KeyboardInterrupt
        received.append(number)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}

    def told_to_stop(step):
        if dist.world == 1:
            return bool(received)
        if step % REPORT_EVERY:
            return False
        return bool(dist.sum(torch.tensor(len(received), device=dist.device)))

    try:
        yield told_to_stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
