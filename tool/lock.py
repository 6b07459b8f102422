"""One driver a run: a lock on the run's folder, held as long as the driver or a stage that it started lives.

    exec 9<>RUN/.lock; python -m tool.lock 9 RUN/.lock

The lock belongs to the open file, which the shell and its stages share: the system frees it when the last of them
ends, however that happens.
"""

import fcntl
import getpass
import os
import socket
import sys
import time
from pathlib import Path

from errors import UserError
from tool.config import run_main


def lock(descriptor, path, process):
    """Take the lock for a process, and write who holds it into the file. Raises UserError if another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = Path(path).read_text(errors="replace").strip() or "a process that has just begun"
        raise UserError(f"{Path(path).parent} is in use by {holder}: wait for its end or stop it, or choose another "
                        "common.session_name") from error
    except OSError as error:
        print(f"{path}: this disk has no locks ({error.strerror}): see to it that no second driver uses this run")
        return
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {process} of {getpass.getuser()} on {socket.gethostname()} since "
                         f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())


def main():
    lock(int(sys.argv[1]), sys.argv[2], os.getppid())


if __name__ == "__main__":
    run_main(main)
