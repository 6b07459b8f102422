"""What a script says when not its input but the machine or another process is at fault."""

from concurrent.futures.process import BrokenProcessPool

from errors import OtherProcessFailed, UserError

OTHER_PROCESS = ("closed by peer", "reset by peer", "Socket Timeout", "NCCL", "gloo")  # in messages of a process group


def explain(error):
    """A UserError for an exception that says nothing about the code, itself for one that is one, None for others."""
    if isinstance(error, UserError):
        return error
    text = " ".join(str(error).split())
    if isinstance(error, BrokenProcessPool) or "DataLoader worker" in text:
        return UserError("a worker process was killed, perhaps for memory: run this again with fewer --num_workers")
    # torch's own by name: scripts that need no torch are not to wait for its import.
    if type(error).__name__ in ("OutOfMemoryError", "MemoryError") or "can't allocate memory" in text:
        return UserError(
            f"out of memory ({text[:150]}): take smaller images, crops, batches or scales, or a machine "
            "with more; what is finished stays"
        )
    if isinstance(error, RuntimeError) and any(sign in text for sign in OTHER_PROCESS):
        return OtherProcessFailed(
            f"this process lost the others ({text[:100]}): see the message of the one that ended first"
        )
    return None
