"""One driver a run: a lock on the run's folder, held as long as the driver or a stage that it started lives.

    exec 9<>RUN/.lock; python -m tool.lock 9 RUN/.lock

The lock belongs to the open file, which the shell and its stages share: the system frees it when the last of them
ends, however that happens.
"""

import fcntl
import os
import pwd
import socket
import sys
import time
from pathlib import Path

from errors import UserError
from files import writing


def lock(descriptor, path, process):
    """Take the lock for a process, and write who holds it into the file. Raises UserError if another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = Path(path).read_text(errors="replace")[:200].strip() or "a process that has just begun"
        raise UserError(
            f"{Path(path).parent} is in use by {holder}: wait for its end or stop it, or choose another "
            "common.session_name"
        ) from error
    except OSError as error:
        print(f"{path}: this disk has no locks ({error.strerror}): see to it that no second driver uses this run")
        return
    with writing(path):
        os.ftruncate(descriptor, 0)
        os.write(
            descriptor,
            f"process {process} of {user()} on {socket.gethostname()} since "
            f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode(),
        )


def user():
    """This user's name, or number where the system knows no name, as in containers."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


def main():
    try:
        lock(int(sys.argv[1]), sys.argv[2], os.getppid())
    except UserError as error:  # not by tool.config's run_main, whose imports take longer than all of this
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
