"""What a process computes on, and in which precision: `--device` and `--precision` in, torch's objects out."""

import ctypes
import os
import warnings

import torch

from errors import OtherProcessFailed, UserError
from tool.settings import DRIVER

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
CPU_REMEDY = "or give --device cpu, which is many times slower"


def choose_device(choice):
    """The torch.device of this process. choice: auto, cuda, cpu or mps.

    auto is CUDA, else the CPU. Raises UserError for a device that does not work, for auto too where the machine has an
    NVIDIA GPU: training would else run for days on the CPU, unseen. With several processes on a machine, each has a
    GPU of its own, or UserError is raised.
    """
    if choice == "cpu" or (choice == "auto" and not _has_nvidia()):
        return torch.device("cpu")
    if choice == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("--device mps: this torch finds no Apple GPU: give --device cpu")
        return torch.device("mps")
    if not torch.cuda.is_available():
        raise UserError(f"no CUDA: {_reason()}, {CPU_REMEDY}")
    local, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    wanted = int(os.environ.get("LOCAL_WORLD_SIZE", local + 1))
    if wanted > there:
        kind = OtherProcessFailed if local else UserError  # one of them says it
        raise kind(
            f"{wanted} processes on this machine, which has {there} GPU(s) for them: start as many as it has "
            f"(GPUS={there}; CUDA_VISIBLE_DEVICES hides some), or give --device cpu"
        )
    device = torch.device("cuda", local)
    torch.cuda.init()  # data.loader then pins what it loads
    torch.cuda.set_device(device)
    return device


def _has_nvidia():
    """Whether the machine has an NVIDIA GPU that the user has not hidden."""
    return torch.cuda.is_available() or (DRIVER.exists() and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"))


def _reason():
    """Why CUDA does not work here, and what to do."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides every GPU: unset it"
    if torch.version.cuda is None:
        return "this torch is built without it: install the wheel for CUDA (docs/gpu.md)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as error:  # which says whether the driver is missing, old or at fault
            words = " ".join(str(error).split())[:200]
            return f"{words} (this torch is for CUDA {torch.version.cuda}): install a newer driver or an older torch"
    return f"torch, built for CUDA {torch.version.cuda}, finds no GPU: does nvidia-smi list one?"


def keep_memory(device):
    """On a CPU, let this process keep the memory that tensors free, for the next ones. For trainings, whose tensors
    have the same sizes in each step: with images of many sizes, what is kept would grow, in pieces.

    glibc hands blocks above 32 MiB, as a batch's maps are, back to the system at once, and each step then pays for the
    same pages again (docs/benchmarks.md). A user's own settings of malloc, MALLOC_*_ in the environment, stay.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries than glibc have none
    if device.type == "cpu" and mallopt and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


def describe(device):
    """The device in words: its name and memory."""
    if device.type != "cuda":
        return {"cpu": f"CPU ({torch.get_num_threads()} threads)"}.get(device.type, device.type)
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name} ({properties.total_memory / 2**30:.0f} GiB)"


def resolve_precision(precision, device):
    """What auto stands for on a device: bfloat16 on a GPU that computes in it, else float16; float32 elsewhere.

    A GPU older than Ampere emulates bfloat16, slower than float32.
    """
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def agreed_precision(precision, dist):
    """As `resolve_precision`, on the GPUs of all processes. Raises UserError if auto is not the same on them."""
    resolved = resolve_precision(precision, dist.device)
    if precision == "auto" and dist.world > 1:
        in_float16 = dist.sum(torch.tensor([float(resolved == "float16")], device=dist.device))
        if 0 < in_float16.item() < dist.world:  # the gradients of some would be scaled, those of others not
            raise UserError(
                "--precision auto: some of the GPUs compute in bfloat16, others do not: give float16 or float32"
            )
    return resolved


def set_precision(precision, device):
    """Apply `--precision` to this process. Returns the dtype for autocast of the networks, or None for none.

    float32 is exact: TF32 is off. tf32 lets a GPU round the factors of convolutions and matrix products to 10 bits of
    mantissa. bfloat16 and float16 hold the networks' maps in 16 bits; what follows them is in float32.
    """
    precision = resolve_precision(precision, device)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)


def set_deterministic():
    """Only algorithms that give the same bits for the same inputs; a step without one raises. Call before any CUDA."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def memory_in_use(device):
    """What a GPU's memory is taken by, as text; empty if it does not say any more."""
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError:  # after some faults CUDA answers nothing
        return ""
    own = torch.cuda.max_memory_reserved(device) / 2**30
    return f" ({(total - free) / 2**30:.1f} of {total / 2**30:.1f} GiB in use, at most {own:.1f} by this process)"
