"""Time and memory of functions that are to be compared: in one process, in turn, medians of several runs."""

import ctypes
import gc
import statistics
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

MIB = 2**20


def compare(functions, device, runs=5, budget=60.0):
    """Run functions in turn, A B A B ..., so that a machine whose speed drifts slows all of them alike.

    functions: {name: function of no arguments}. budget: seconds of a function's runs after which it is not run again.
    The first call of each tells its memory and warms it up; its time counts only if it alone exceeds the budget.
    Returns ({name: {"seconds": [...], "median": s, "mib": peak MiB above the start, or None}}, {name: last result}).
    """
    results, outputs, spent = {}, {}, {}
    for name, function in functions.items():
        base = _reset_peak(device)
        spent[name], outputs[name] = _timed(function, device)
        peak = _peak(device)
        results[name] = {"seconds": [], "mib": None if peak is None or base is None else max(0.0, peak - base)}
        if spent[name] > budget:
            results[name]["seconds"].append(spent[name])
    for _ in range(runs):
        for name, function in functions.items():
            if spent[name] <= budget:
                outputs[name] = None  # two results at once may be more than there is memory for
                seconds, outputs[name] = _timed(function, device)
                results[name]["seconds"].append(seconds)
                spent[name] += seconds
    for row in results.values():
        row["median"] = statistics.median(row["seconds"])
    return results, outputs


def _timed(function, device):
    """(seconds, result) of one call."""
    gc.collect()
    synchronize(device)
    began = time.perf_counter()
    output = function()
    synchronize(device)
    return time.perf_counter() - began, output


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak(device):
    """Forget earlier peaks. Returns the memory held now, MiB; None where the system does not tell."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / MIB
    try:
        ctypes.CDLL(None).malloc_trim(0)  # memory that earlier calls freed would hide what this one needs
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        return None
    return process_memory("VmRSS")


def _peak(device):
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    return process_memory("VmHWM")


def peak_of_tensors(function):
    """Bytes of the tensors that a function of no arguments makes on the CPU, at their peak, by PyTorch's profiler."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        function()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def process_memory(key, process="self"):
    """VmRSS, what a process holds, or VmHWM, its peak, in MiB; None where the system does not tell."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(key)), None)


def machine(device):
    """What the figures hold for: the name, threads, and rates measured here.

    Returns a dict: device, threads, torch; float32 and, on a GPU, bfloat16, operations a second of a matrix product;
    copy, bytes a second read and written by a copy.
    """
    size = 8192 if device.type == "cuda" else 2048
    facts = {"device": _device_name(device), "threads": torch.get_num_threads(), "torch": torch.__version__}
    for dtype in (torch.float32, torch.bfloat16) if device.type == "cuda" else (torch.float32,):
        matrix = torch.rand(size, size, device=device).to(dtype)
        seconds = compare({"product": lambda matrix=matrix: matrix @ matrix}, device, runs=5)[0]["product"]["median"]
        facts[str(dtype).removeprefix("torch.")] = 2 * size**3 / seconds
    source = torch.rand((256 if device.type == "cuda" else 64) * MIB // 4, device=device)
    target = torch.empty_like(source)
    seconds = compare({"copy": lambda: target.copy_(source)}, device, runs=5)[0]["copy"]["median"]
    facts["copy"] = 2 * source.nbytes / seconds
    return facts


def _device_name(device):
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "CPU"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")
