"""The peak of a real training step's memory, which the forecast is held against: python -m bench.peak STAGE SETTINGS

SETTINGS: of the stage, as JSON. In a process of its own, since what an earlier step left would count too. Prints bytes.
"""

import json
import subprocess
import sys
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from bench.training import build_training, made_up_batch, run_steps
from tool.dist import set_precision
from tool.settings import from_plain, plain
from tool.stages import BY_NAME

ROOT = Path(__file__).resolve().parents[1]


def measure_peak(name, settings, n_classes, images, device):
    """Bytes of all tensors at the peak of two training steps in a process of their own.

    On a CPU from PyTorch's profiler, on a GPU from its allocator. images: that go through the network at once.
    """
    words = {"settings": plain(settings), "n_classes": n_classes, "images": images, "device": str(device)}
    command = [sys.executable, "-m", "bench.peak", name, json.dumps(words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["?"])[-1])
    return int(done.stdout.split()[-1])


def main():
    name, words = sys.argv[1], json.loads(sys.argv[2])
    settings = from_plain(BY_NAME[name].settings, words["settings"])
    device = torch.device(words["device"])
    dtype = set_precision(settings.precision, device)

    def train():
        training = build_training(name, settings, words["n_classes"])
        training.network.to(device, memory_format=torch.channels_last).train()
        run_steps(training, settings, made_up_batch(training, words["n_classes"], words["images"]), device, dtype)

    if device.type == "cuda":
        train()
        print(torch.cuda.max_memory_allocated(device))
        return
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        train()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    print(peak)


if __name__ == "__main__":
    main()
