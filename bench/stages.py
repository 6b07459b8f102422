"""Whole stages: images a second in training, export and refinement, on a set drawn at a photograph's size."""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.forecast import forecast
from bench.measure import MIB, compare, peak_of_tensors, process_memory
from bench.training import TRAINED, build_training, train_briefly
from data.layout import Layout
from data.loader import TrainingSet, training_loader
from data.toy import make_toy
from errors import UserError
from infer.maps import load_aesipe, multi_scale_maps
from infer.pseudo import load_irn, mean_boundary
from infer.segmentation import load_deeplab, multi_scale_probabilities
from tool.checkpoint import save_result
from tool.config import parse
from tool.device import keep_memory, set_precision
from tool.record import make_record
from tool.trainer import to_device, train_step
from tool.yaml_file import dump_yaml

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("train_aesipe", "make_cam", "make_ir_labels", "train_irn", "make_seg_labels", "deeplab_train", "deeplab_test")
# Images that each stage takes on VOC 2012 with the paper's settings.
VOC_IMAGES = {
    "train_aesipe": 5 * 10_582,
    "make_cam": 10_582,
    "make_ir_labels": 10_582,
    "train_irn": 3 * 10_582,
    "make_seg_labels": 10_582,
    "deeplab_train": 20_000 * 16,
    "deeplab_test": 1_449,
}


def time_stages(names, shape, device, args, facts):
    """Print and return {stage: {images_per_second, ...}}.

    names: of STAGES. shape: `bench.operations.Shape`. args: settings of `python -m bench`; in a folder that is kept,
    what these stages read is taken to be there. facts: of `bench.measure.machine`.
    """
    report = {}
    with nullcontext(args.folder) if args.folder else tempfile.TemporaryDirectory() as folder:
        config = _prepare(Path(folder), shape, args)
        layout = Layout(Path(folder) / "set")
        needed = any(name not in TRAINED for name in names) and not args.folder  # what exports read is to be made
        for name in STAGES:
            if name not in names and not needed:
                continue
            if name in TRAINED:
                report[name] = _time_training(name, config, layout, device, args, facts)
            else:
                report[name] = _time_export(name, config, layout, device, args)
            print(f"{name:16s} " + ", ".join(f"{key} {value:.4g}" for key, value in report[name].items()), flush=True)
    hours = voc_hours(report)
    print(
        "VOC 2012 with the paper's settings at these rates, hours: "
        + ", ".join(f"{name} {value:.2f}" for name, value in hours.items())
        + f", all {sum(hours.values()):.2f}"
    )
    return report


def voc_hours(report):
    """{stage: hours on VOC 2012} at the rates of `time_stages`."""
    return {name: VOC_IMAGES[name] / row["images_per_second"] / 3600 for name, row in report.items()}


def _prepare(folder, shape, args):
    """Draw the images and write the settings, unless that is done. Returns the path of the config file."""
    path = folder / "bench.yaml"
    if path.exists():
        return path
    make_toy(folder / "set", train=1, train_aug=args.images, val=args.images, size=shape.width, seed=0)
    names = (folder / "set" / "classes.txt").read_text().split()
    names += [f"unused{number}" for number in range(len(names), shape.n_classes)]
    (folder / "set" / "classes.txt").write_text("\n".join(names) + "\n")
    training = {"batch_size": shape.batch_size, "crop_size": shape.crop_size, "compile": args.compile}
    config = {
        "common": {
            "dataset_root": str(folder / "set"),
            "run_root": str(folder),
            "session_name": "run",
            "backbone": shape.backbone,
            "weights": "none",
            "device": args.device,
            **({"precision": args.precision} if args.precision else {}),
        },
        "train_aesipe": training,
        "train_irn": {**training, "backbone": args.irn_backbone},
        "deeplab_train": training,
    }
    path.write_text(dump_yaml(config))
    return path


def _encoder_loss(network, batch):
    return {"loss": network.encoder(batch["image"])[-1].float().mean()}


def _time_training(name, config, layout, device, bench, facts):
    """Rates of one training stage: the encoder alone, the whole step, and the loader alone; saves the network.

    floor is the rate at which the step's matrix products and convolutions alone, `operations` an image, would run as
    fast as a large matrix product does on this machine; memory is the peak of a step above its start, peak that of all
    tensors and forecast what was to be expected of it, MiB. On a GPU also reserved, by PyTorch in this process, and
    synchronisations, of a step.
    """
    args = parse(name, argv=["--config", str(config)])
    torch.backends.cudnn.benchmark = True  # as in training
    torch.manual_seed(args.seed)
    training = build_training(name, args, layout.n_classes)
    model = training.network.to(device, memory_format=torch.channels_last).train()
    dtype = set_precision(args.precision, device)
    keep_memory(device)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    optimizer = training.optimizer(args, fused=device.type == "cuda")
    images = TrainingSet(
        layout, layout.ids("train_aug"), training.transform, args.seed, target=layout.mask if training.masked else None
    )
    loader = training_loader(images, args.batch_size, 10_000, 0, 0, 1, args.num_workers)
    loading, loaded = _time_loading(loader, args)
    batch = to_device(loaded, device)

    def update(criterion, batch):
        return train_step(model, criterion, batch, optimizer, scaler, dtype)[0]["loss"]

    def step(criterion):
        return update(criterion, batch).item()

    with FlopCounterMode(display=False) as counter:
        step(training.losses)
    if args.compile:
        model.encoder.compile()
        step(training.losses)  # compiles, which is no part of a step
    ways = {"step": partial(step, training.losses)}
    if any(parameter.requires_grad for parameter in model.encoder.parameters()):
        ways["encoder"] = partial(step, _encoder_loss)
    results, _ = compare(ways, device, bench.runs, bench.budget)
    peak = _peak_of_training(name, args, layout.n_classes, device, dtype)
    save_result(args.run / "ckpt" / f"{TRAINED[name]}.pt", model.state_dict(), make_record(name, args, {}))
    rate = facts["bfloat16" if dtype == torch.bfloat16 and "bfloat16" in facts else "float32"]
    row = {
        "images_per_second": args.batch_size / results["step"]["median"],
        "loading": loading,
        "memory": results["step"]["mib"] or float("nan"),
        "peak": peak / MIB,
        "forecast": forecast(name, args, layout.n_classes, args.batch_size, device).peak / MIB,
    }
    # PyTorch's counter takes the backward of a grouped convolution for that of a full one.
    if not any(isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in model.modules()):
        row["operations"] = counter.get_total_flops() / args.batch_size
        row["floor"] = rate / row["operations"]
    if "encoder" in results:
        row["encoder"] = args.batch_size / results["encoder"]["median"]
    if device.type == "cuda":
        row["reserved"] = torch.cuda.max_memory_reserved(device) / MIB
        row["synchronisations"] = count_synchronisations(
            lambda: update(training.losses, to_device(loaded, device)), torch.cuda.set_sync_debug_mode
        )
    return row


def _peak_of_training(name, settings, n_classes, device, dtype):
    """Bytes of all tensors at a step's peak: on a GPU of those steps that were just made, elsewhere of others."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    brief = partial(train_briefly, name, settings, n_classes, settings.batch_size, device, dtype)
    return peak_of_tensors(brief)


def count_synchronisations(step, set_mode):
    """How often a function makes the CPU wait for the GPU. set_mode: `torch.cuda.set_sync_debug_mode`."""
    set_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            step()
    finally:
        set_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in found)


def _time_loading(loader, args):
    """(images a second of the loader when nothing else runs, a batch of it)."""
    batches = iter(loader)
    for _ in range(4 * args.num_workers + 1):  # what was fetched before the clock starts
        batch = next(batches)
    count = max(4, 64 // args.batch_size)
    began = time.perf_counter()
    for _ in range(count):
        batch = next(batches)
    return count * args.batch_size / (time.perf_counter() - began), batch


def _time_export(name, config, layout, device, bench):
    """Rate of an export script as users run it, less its start-up: a second call finds nothing left to do."""
    script = {"deeplab_test": "deeplab/test.py"}.get(name, f"{name}.py")
    first, memory = run_script(script, "--config", config)
    second, _ = run_script(script, "--config", config)
    row = {"images_per_second": bench.images / max(first - second, 1e-9), "start_up": second, "memory": memory}
    if name != "make_ir_labels":  # which has no network
        row["operations"] = _count_operations(name, config, layout, device)
    return row


def _count_operations(name, config, layout, device):
    """Of the network's matrix products and convolutions for one image."""
    args, image_id = parse(name, argv=["--config", str(config)]), layout.ids("val")[0]
    image = layout.image(image_id).to(device)
    with FlopCounterMode(display=False) as counter:
        if name == "make_cam":
            model = load_aesipe(args.run, layout.n_classes, device, args)
            multi_scale_maps(model, image, layout.labels(image_id).to(device), args.scales, args.maps)
        elif name == "make_seg_labels":
            mean_boundary(load_irn(args.run, device), image)
        else:
            model = load_deeplab(args.run, layout.n_classes, device)
            multi_scale_probabilities(model, image, args.scales, args.flip)
    return counter.get_total_flops()


def run_script(*words):
    """(seconds, peak MiB of the largest of its processes or NaN) of one call of Python in the repository."""
    command = [sys.executable, *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    memory = 0.0
    with tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        while process.poll() is None:
            held = [process_memory("VmHWM", each) for each in (process.pid, *_children(process.pid))]
            memory = max([memory, *filter(None, held)])
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        if process.returncode:
            errors.seek(0)
            raise UserError(f"{words[0]} failed: {errors.read().strip().splitlines()[-1]}")
    return seconds, memory or float("nan")


def _children(process):
    """Numbers of a process's own; none where the system does not tell, or when it has just ended."""
    try:
        return Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
