"""What a script says when not its input but the machine or another process is at fault."""

from concurrent.futures.process import BrokenProcessPool

from errors import OtherProcessFailed, UserError

OTHER_PROCESS = ("closed by peer", "reset by peer", "Socket Timeout", "NCCL", "gloo")  # in messages of a process group
SHARED_MEMORY = "shared memory, /dev/shm, is too small: start the container with --ipc=host or --shm-size=8g"
NO_MEMORY = ("out of memory", "STATUS_ALLOC_FAILED", "cudaErrorMemoryAllocation")  # of CUDA, cuDNN and cuBLAS
START = (  # words of a message of a process group that could not start, or of a loader -> what it means
    ("Duplicate GPU detected", "two processes were given the same GPU: start one a GPU, by GPUS=, and give "
     "each machine a NODE_RANK of its own"),
    ("Error while creating shared memory segment", SHARED_MEMORY),
    ("out of shared memory", SHARED_MEMORY),
    ("insufficient shared memory", SHARED_MEMORY),
    ("unable to open shared memory object", SHARED_MEMORY),
    ("unable to write to file </torch", SHARED_MEMORY),
    ("no socket interface found", "NCCL finds no network between the machines: name the interface that joins them, as "
     "in NCCL_SOCKET_IFNAME=eth0"),
    ("Mismatched NCCL version", "the machines have different versions of NCCL: install the same torch on all of them"),
    ("client socket has timed out", "the first machine does not answer: is the same line running there, and is "
     "MASTER_ADDR:MASTER_PORT reached from here?"),
)  # fmt: skip


def explain(error):
    """A UserError for an exception that says nothing about the code, itself for one that is one, None for others."""
    if isinstance(error, UserError):
        return error
    text = " ".join(str(error).split())
    reason = text.partition("Last error:")[2].strip() or text  # NCCL's own, behind where in its code it was
    if meaning := next((meaning for words, meaning in START if words in text), None):
        return UserError(f"{meaning} ({text[:200]})")
    if isinstance(error, BrokenProcessPool) or "DataLoader worker" in text:
        return UserError("a worker process was killed, perhaps for memory: run this again with fewer --num_workers")
    # torch's own by name: scripts that need no torch are not to wait for its import.
    if (
        type(error).__name__ in ("OutOfMemoryError", "MemoryError")
        or "can't allocate memory" in text
        or ("NCCL" in text and "out of memory" in reason)
    ):
        return UserError(
            f"out of memory ({reason[:150]}): take smaller images, crops, batches or scales, or a machine "
            "with more; what is finished stays"
        )
    if isinstance(error, OSError) and error.strerror:
        return UserError(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    if isinstance(error, RuntimeError) and any(sign in text for sign in OTHER_PROCESS):
        return OtherProcessFailed(
            f"this process lost the others ({reason[:200]}): see the message of the one that ended first"
        )
    return None


def explain_gpu(error, stage, settings, dist):
    """A UserError for a fault of a stage's GPU, None for other errors and other devices.

    dist: the `tool.dist.Dist` of the stage.
    """
    text = " ".join(str(error).split())
    if dist.device.type != "cuda":
        return None
    from tool.device import describe, memory_in_use

    if any(sign in text for sign in NO_MEMORY):
        return UserError(
            f"{stage}: {describe(dist.device)} is out of memory{memory_in_use(dist.device)} at "
            f"{_taken(settings)} on {dist.world} process(es): {_less(settings, dist.world)}; what is finished stays"
        )
    if "no kernel image" in text:
        return UserError(
            f"{stage}: this torch has no code for {describe(dist.device)}: install a wheel that has (docs/gpu.md), or "
            "give --device cpu"
        )
    return None


def _taken(settings):
    names = ("batch_size", "crop_size", "accumulate", "scales")
    return ", ".join(f"{name} {getattr(settings, name)}" for name in names if hasattr(settings, name))


def _less(settings, world):
    """What to lower, with the next number of parts that a batch can be taken in."""
    if not hasattr(settings, "batch_size"):
        return "leave out the largest of the scales, or end what else uses the GPU"
    share = settings.batch_size // world
    parts = next((n for n in range(settings.accumulate + 1, share + 1) if share % n == 0), None)
    return (f"give --accumulate {parts}, or lower" if parts else "lower") + " batch_size or crop_size"
