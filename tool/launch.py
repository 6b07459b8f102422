"""torchrun, with one line instead of its tracebacks when a process ends: python -m tool.launch FLAGS SCRIPT ..."""

import os
import signal
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from tool.config import run_main
from tool.parallel import LAUNCHER


def main():
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        run.run(run.parse_args(sys.argv[1:]))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        status = failure.exitcode
        how = f"ended with status {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"
        print(
            f"error: process {rank} {how}: its message, if it left one, is above; the others were "
            "stopped. What is finished stays: run this again to continue",
            file=sys.stderr,
        )
        sys.exit(status if status > 0 else 1)
    except SignalException as error:
        sys.exit(128 + error.sigval)


if __name__ == "__main__":
    run_main(main)
