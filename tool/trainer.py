"""The training of every stage: a Task says what is trained, the Trainer how; stopped at any moment, it continues."""

import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import PolynomialLR

from conventions import unit_range
from files import remove_leftovers
from tool.checkpoint import StateFolder, load_state, revision, save_result
from tool.device import keep_memory, resolve_precision, set_precision
from tool.guard import LossGuard, stop_signal
from tool.logging import StepLog
from tool.record import ANEW, refuse_other
from tool.run import states_path

REPORT_EVERY = 10  # steps
POWER = 0.9  # of the polynomial decay: lr * (1 - step / steps)^0.9


@dataclass(frozen=True)
class Task:
    """What a stage trains.

    losses: function (network, batch) -> dict of scalars with `loss`. groups: of the optimiser.
    batches: function from the first step to an iterable of batches. steps: of the whole training.
    clip: bound on the gradient norm. finish: function called with the network in eval mode once it is trained.
    watch: function (step, network in eval mode, StepLog) -> score, the higher the better, called in every process
    after each `watch_every` steps and the last; training continues as if it had not been called.
    compiled: the parts of the network that --compile compiles.
    count: function of a batch that gives a tensor of the numbers which the losses' means divide by. Where a batch is
    taken in parts or by several processes, each part divides by its share of the whole batch's, batch["count"], or the
    update would not be the whole batch's. None where all images weigh the same.
    """

    network: nn.Module
    losses: Callable
    groups: list
    batches: Callable[[int], Iterable]
    steps: int
    clip: float = math.inf
    finish: Callable | None = None
    watch: Callable | None = None
    watch_every: int = 1
    compiled: tuple = ()
    count: Callable | None = None


class Trainer:
    """Trains a Task and writes its network to path.

    settings: batch_size, accumulate, momentum, weight_decay, seed, precision, compile, deterministic, save_every,
    resume and tracker of the stage. record: of `tool.record`, which must agree for continuing, as must the precision
    in use.
    """

    def __init__(self, task, settings, dist, path, record):
        self.task, self.settings, self.dist, self.path = task, settings, dist, path
        self.precision = resolve_precision(settings.precision, dist.device)
        self.record = {**record, "precision": self.precision}
        self.model = _synchronised(task.network.train(), dist).to(dist.device, memory_format=torch.channels_last)
        self.optimizer = make_optimizer(task.groups, settings, fused=dist.device.type == "cuda")
        self.schedule = PolynomialLR(self.optimizer, total_iters=task.steps, power=POWER)
        self.dtype = set_precision(self.precision, dist.device)
        self.scaler = torch.amp.GradScaler(dist.device.type, enabled=self.dtype == torch.float16)
        self.guard = LossGuard(dist)
        self.states = StateFolder(states_path(path))
        self.unscored = False  # whether the state that it continues from has no score

    def train(self, start=None):
        """The steps that are missing, then the result. Returns how many they were.

        start: what `restore` returned, if it has been called.

        The full state is saved every `save_every` steps and when the process is told to stop (SIGINT, SIGTERM); a
        later call continues from the newest. With a watch, it is saved after each step that scores best so far, and the
        weights of the best, if it is not the last step, are kept as STEM_best.pt. Raises UserError at a loss or
        gradient that is not finite; what is saved by then is from before it.
        """
        start = self.restore() if start is None else start
        network = self._network()
        torch.backends.cudnn.benchmark = not self.settings.deterministic  # crops are all of one size
        keep_memory(self.dist.device)
        with closing(self._log(start)) as log, stop_signal(self.dist, REPORT_EVERY) as told_to_stop:
            if self.unscored:
                score = self._watch(start, log)
                if self.states.is_best(score):
                    self._save(start, score)
            for step, batch in enumerate(on_device(self.task.batches(start), self.dist.device), start + 1):
                terms = self._step(network, step, batch, first=step == start + 1)
                log.add(terms)
                stop = told_to_stop(step)
                self._report(step, log, stop)
                score = None if stop else self._watch(step, log)
                if self._is_saving(step, stop) or self.states.is_best(score):
                    self._save(step, score)
                if stop:
                    raise KeyboardInterrupt
        if self.task.finish is not None:
            with _set_aside(self.model, self.settings.compile):
                self.task.finish(self.model)
        if self.dist.main:
            self._keep_result()
        return self.task.steps - start

    def _network(self):
        """The model as it is called in training."""
        if self.settings.compile:
            for part in self.task.compiled:
                part.compile()
        if self.dist.world == 1:
            return self.model
        return DistributedDataParallel(
            self.model,
            broadcast_buffers=_has_own_statistics(self.model),
            gradient_as_bucket_view=True,
            static_graph=True,
        )

    def _log(self, start):
        run = self.path.parents[1]
        return StepLog(
            run / "log.jsonl",
            self.path.stem,
            start,
            self.task.steps,
            self.settings.batch_size,
            self.dist.main,
            self.settings.tracker,
            stage=self.record["stage"],
        )

    def _step(self, network, step, batch, first):
        """One update. Returns the dict of losses. first: of this process, in which DDP learns what has gradients."""
        seed_step(self.settings.seed, step, self.dist.rank)
        parts, count = self.settings.accumulate, None
        if self.task.count is not None and parts * self.dist.world > 1:
            count = self.dist.sum(self.task.count(batch)) / (parts * self.dist.world)
        terms, norm = train_step(
            network,
            self.task.losses,
            batch,
            self.optimizer,
            self.scaler,
            self.dtype,
            self.task.clip,
            parts,
            count,
            nullcontext if first or self.dist.world == 1 else network.no_sync,
        )
        self.guard.add(step, self.schedule.get_last_lr()[0], batch["id"], terms["loss"], norm)
        self.schedule.step()
        return terms

    def _report(self, step, log, stop):
        due = step % REPORT_EVERY == 0 or step == self.task.steps
        if due or self._is_saving(step, stop) or self._is_watched(step):
            self.guard.check()
        if due:
            log.report(step, lr=self.schedule.get_last_lr()[0])

    def _is_saving(self, step, stop):
        if step == self.task.steps and not stop:
            return self.task.finish is not None  # which may take long; without it the result follows at once
        return stop or step % self.settings.save_every == 0

    def _is_watched(self, step):
        task = self.task
        return task.watch is not None and (step % task.watch_every == 0 or step == task.steps)

    def _watch(self, step, log):
        """The score of the network as it is, None where none is due."""
        if not self._is_watched(step):
            return None
        with log.paused(), _set_aside(self.model, self.settings.compile):
            return self.task.watch(step, self.model, log)

    def _parts(self):
        return {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule, "scaler": self.scaler}

    def _save(self, step, score):
        if self.dist.main:
            score = score if self.task.watch is not None else -self.guard.mean_loss()
            state = {key: part.state_dict() for key, part in self._parts().items()}
            self.states.save(step, state | {"record": self.record}, score)

    def restore(self):
        """Continue from the newest state that is whole. Returns its step, 0 for none.

        Training that begins removes what an earlier one left, the result first: while it is there, it counts as
        finished.
        """
        states = self.states
        saved = states.newest(self.dist.device) if self.settings.resume == "auto" else None
        if saved is None:
            self.dist.barrier()  # or another process would find no state where the main one has just removed them
            if self.dist.main:
                for old in (self.path, self.path.with_suffix(".yaml"), _best_path(self.path)):
                    old.unlink(missing_ok=True)
                states.clear()
            return 0
        refuse_other(states.path, saved["record"], self.record, ANEW)
        for key, part in self._parts().items():
            if saved[key]:  # the scaler of a training without one has no state: float16 begins with a new one
                part.load_state_dict(saved[key])
        self.unscored = saved.get("score") is None  # it may have been told to stop where a score was due
        if self.dist.main:
            other = f", saved by revision {saved['revision']}" if saved["revision"] != revision() else ""
            print(f"{states.path}: continuing after step {saved['step']}{other}", flush=True)
        return saved["step"]

    def _keep_result(self):
        best = self.states.best
        if self.task.watch is not None and best is not None and best["step"] < self.task.steps:
            weights = load_state(self.states.file(best["step"]))["model"]
            save_result(_best_path(self.path), weights, self.record, **best)
        # Last: once it is there, later calls take all as done and clear the states.
        save_result(self.path, self.model.state_dict(), self.record, step=self.task.steps)
        self.states.clear()
        remove_leftovers(self.path.parent)


def make_optimizer(groups, settings, fused=False, **how):
    """SGD with the momentum and weight_decay of the settings.

    fused: for a GPU, where the update then takes one pass, and a GradScaler's skips need no word to the CPU.
    how: more of torch.optim.SGD's arguments.
    """
    optimizer = torch.optim.SGD(
        groups, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=fused or None, **how
    )
    if fused and settings.momentum:  # a first step that a GradScaler skips would leave them as torch.empty made them
        for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def seed_step(seed, step, rank):
    """Set every random generator of this process from the step's number.

    So the states of Python's, NumPy's, torch's and CUDA's generators follow from seed, step and process alone: a run
    that continues draws what one that was not stopped draws, in each of its processes, whatever their number was.
    """
    number = ((seed * 1_000_003 + step) * 1_000_003 + rank) % 2**63
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)  # of all devices


def train_step(
    network, losses, batch, optimizer, scaler, dtype=None, clip=math.inf, parts=1, count=None, unsent=nullcontext
):
    """One update of the network by a batch that is on its device.

    parts: in which the batch is taken, one after the other: less memory for the same update, but for what the network
    itself draws from the whole batch, as batch norm does. count: a part's batch["count"], see Task, None for none.
    unsent: for the backward passes of all parts but the last, whose gradients hold theirs: DDP's no_sync.
    Returns (dict of losses, the gradient's norm before clipping; 0 where a scaler watches over the gradients itself).
    """
    optimizer.zero_grad(set_to_none=True)
    total: dict = {}
    for number, part in enumerate(split_batch(batch, parts, count), 1):
        with unsent() if number < parts else nullcontext():
            with torch.autocast(batch["image"].device.type, dtype, enabled=dtype is not None):
                terms = losses(network, part)
            scaler.scale(terms["loss"] / parts).backward()
        total = {name: total.get(name, 0) + value.detach() / parts for name, value in terms.items()}
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    scaler.step(optimizer)
    scaler.update()
    return total, torch.zeros_like(norm) if scaler.is_enabled() else norm


def split_batch(batch, parts, count=None):
    """The batch in parts of equally many images. count: of `train_step`."""
    shared = {key: value for key, value in batch.items() if isinstance(value, int)}
    if count is not None:
        shared["count"] = count
    size = len(batch["id"]) // parts
    return [
        {key: value[start : start + size] for key, value in batch.items() if key not in shared} | shared
        for start in range(0, size * parts, size)
    ]


def on_device(batches, device):
    """The batches on their device. A GPU gets each while it works on the one before."""
    if device.type != "cuda":
        yield from (to_device(batch, device) for batch in batches)
        return
    copying, coming = torch.cuda.Stream(device), deque()
    for batch in batches:
        with torch.cuda.stream(copying):
            coming.append((to_device(batch, device), copying.record_event()))
        if len(coming) == 2:
            yield _arrived(*coming.popleft())
    for each in coming:
        yield _arrived(*each)


def _arrived(batch, event):
    """The batch for the stream that works on it, which waits until it is there."""
    stream = torch.cuda.current_stream()
    stream.wait_event(event)
    for value in batch.values():
        if isinstance(value, torch.Tensor):
            value.record_stream(stream)  # or the copies of the next batch might take its memory too early
    return batch


def to_device(batch, device):
    """Move a batch; images become float in [0,1] there, four times the bytes that travelled."""
    moved = {
        key: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for key, value in batch.items()
    }
    moved["image"] = unit_range(moved["image"]).contiguous(memory_format=torch.channels_last)
    return moved


def _synchronised(model, dist):
    """The model in train mode, whose batch norm gathers its statistics from all processes, if they are on GPUs."""
    if dist.world > 1 and dist.device.type == "cuda" and _has_own_statistics(model):
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model


def _has_own_statistics(model):
    """Whether a batch norm of the model in train mode gathers statistics that other processes do not know of."""
    return any(
        isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training and type(layer) is not nn.SyncBatchNorm
        for layer in model.modules()
    )


def _best_path(path):
    return path.with_name(f"{path.stem}_best.pt")


@contextmanager
def _set_aside(model, compiled):
    """The model in eval mode, for images of any size; then as it was. Random draws need no care: each step is seeded.

    The encoder runs uncompiled: other sizes would have it compiled anew, and training might continue with that.
    """
    benchmark, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
    model.eval()
    with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        yield
    model.train()
    torch.backends.cudnn.benchmark = benchmark
