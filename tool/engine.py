"""The training loop of every stage: steps, schedule, mixed precision, several processes, saving and going on."""

import math
import signal
from contextlib import closing, contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import PolynomialLR

from errors import UserError
from tool.checkpoint import load_state, result_settings, save_result, save_state
from tool.config import used_settings
from tool.dist import init_dist, set_deterministic, set_precision
from tool.io import brief, differing_settings, save_settings
from tool.logging import StepLog

REPORT_EVERY = 10  # steps
POWER = 0.9  # of the polynomial decay


def finished(path, record, resume):
    """Whether the result at path was trained with just these settings. Raises UserError if with others."""
    known = result_settings(path) if resume else None
    if known is None:
        return False
    refuse_other_settings(path, known, record)
    return True


def start_training(args, section, path, record):
    """Join the processes and seed the weights that are to be drawn; None if the result is already there."""
    if finished(path, record, args.resume):
        print(f"{path}: already trained with these settings")
        return None
    torch.backends.cudnn.benchmark = True  # crops are all of one size
    if args.deterministic:
        set_deterministic()
    dist = init_dist()
    if dist.main:
        save_settings(args.run, section, used_settings(args))
    torch.manual_seed(args.seed)
    return dist


def refuse_other_settings(path, known, record):
    differing = differing_settings(known, record)
    if differing:
        values = ", ".join(f"{key}: {brief(known.get(key))} there, {brief(record.get(key))} now"
                           for key in differing)
        raise UserError(f"{path} was trained with other settings ({values}): choose another session_name, or give "
                        "--no-resume to train it anew")


def fit(model, losses, groups, make_loader, steps, args, dist, path, record, clip=math.inf, after=None,
        watch=None, watch_every=1):
    """Train a network and write the result to path.

    losses: function (network, batch) -> dict of scalars with `loss`. groups: of the optimiser.
    make_loader: function from the first step to an iterable of batches. steps: of the whole training.
    args: settings of `tool.config.add_training_flags`. record: settings that must agree for going on.
    clip: bound on the gradient norm. after: function called with the network once it is trained.
    watch: function (step, network in eval mode, StepLog) called in every process after each `watch_every` steps and
    the last; training goes on as if it had not been called.
    The schedule is lr * (1 - step / steps)^0.9. The full state is saved every `save_every` steps and when the process
    is told to stop (SIGINT, SIGTERM); a later call goes on from it. Returns how many steps this call did.
    """
    model = _synchronised(model, args, dist).to(dist.device, memory_format=torch.channels_last)
    model.train()
    optimizer = torch.optim.SGD(groups, momentum=args.momentum, weight_decay=args.weight_decay)
    schedule = PolynomialLR(optimizer, total_iters=steps, power=POWER)
    dtype = set_precision(args.precision, dist.device)
    scaler = torch.amp.GradScaler(dist.device.type, enabled=dtype == torch.float16)
    state = {"model": model, "optimizer": optimizer, "schedule": schedule, "scaler": scaler}
    state_path = path.with_name(f"{path.stem}_state.pt")
    start = _restore(state, state_path, record, dist) if args.resume else 0
    if args.compile:
        model.encoder.compile()
    network = DistributedDataParallel(model) if dist.world > 1 else model
    log = StepLog(args.run / "log.jsonl", path.stem, start, steps, args.batch_size, dist.main)
    with closing(log), _stop_signal(dist) as told_to_stop:
        for step, batch in enumerate(make_loader(start), start + 1):
            # Seeded by the step, dropout draws the same numbers in a run that was stopped and in one that was not.
            torch.manual_seed(((args.seed * 1_000_003 + step) * 1_000_003 + dist.rank) % 2**63)
            terms = train_step(network, losses, to_device(batch, dist.device), optimizer, scaler, dtype, clip)
            schedule.step()
            log.add(terms)
            if step % REPORT_EVERY == 0 or step == steps:
                means = log.report(step, lr=schedule.get_last_lr()[0])
                if not math.isfinite(means["loss"]):
                    raise UserError(f"step {step}: the loss is {means['loss']} at learning rate "
                                    f"{schedule.get_last_lr()[0]:.3g}, images {', '.join(batch['id'])}: lower --lr")
            stop = told_to_stop(step)
            if dist.main and (stop or step % args.save_every == 0 and step < steps):
                save_state(state_path, {key: part.state_dict() for key, part in state.items()}
                           | {"step": step, "settings": record})
            if stop:
                raise KeyboardInterrupt
            if watch is not None and (step % watch_every == 0 or step == steps):
                with log.paused(), _set_aside(model, args.compile):
                    watch(step, model, log)
    if after is not None:
        after(model.eval())
    if dist.main:
        save_result(path, model, record)
        state_path.unlink(missing_ok=True)
    return steps - start


def train_step(network, losses, batch, optimizer, scaler, dtype=None, clip=math.inf):
    """One update of the network by a batch that is on its device. Returns the dict of losses."""
    with torch.autocast(batch["image"].device.type, dtype, enabled=dtype is not None):
        terms = losses(network, batch)
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(terms["loss"]).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    scaler.step(optimizer)
    scaler.update()
    return terms


def to_device(batch, device):
    """Move a batch; images become float in [0,1] there, four times the bytes that travelled."""
    moved = {key: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
             for key, value in batch.items()}
    moved["image"] = (moved["image"].float() / 255).contiguous(memory_format=torch.channels_last)
    return moved


def _synchronised(model, args, dist):
    if dist.world > 1 and dist.device.type == "cuda" and getattr(args, "batch_norm", None) == "train":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model


def _restore(state, path, record, dist):
    if not path.exists():
        return 0
    saved = load_state(path, dist.device)
    refuse_other_settings(path, saved["settings"], record)
    for key, part in state.items():
        part.load_state_dict(saved[key])
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
    previous = {number: signal.signal(number, lambda number, frame: received.append(number))
                for number in (signal.SIGINT, signal.SIGTERM)}

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
