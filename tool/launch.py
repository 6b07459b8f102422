"""torchrun, with one line instead of its tracebacks when a process ends: python -m tool.launch FLAGS SCRIPT ..."""

import signal
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def describe(failure):
    """How a process ended, from torchrun's ProcessFailure."""
    if failure.exitcode < 0:
        return f"was killed by {signal.Signals(-failure.exitcode).name}"
    return f"ended with status {failure.exitcode}"


def main():
    try:
        run.run(run.parse_args(sys.argv[1:]))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        print(
            f"error: process {rank} {describe(failure)}: its message, if it left one, is above; the others were "
            "stopped. What is finished stays: run this again to go on",
            file=sys.stderr,
        )
        sys.exit(failure.exitcode if failure.exitcode > 0 else 1)
    except SignalException as error:
        sys.exit(128 + error.sigval)


if __name__ == "__main__":
    main()
