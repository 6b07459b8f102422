"""A script within this process, and then the most memory that it, or one of its own processes, held.

    python -m bench.peak FILE SCRIPT [arguments]

FILE gets the MiB. The system's figure for a child begins with what its parent held, so the script says it itself.
"""

import resource
import runpy
import sys
from pathlib import Path


def main():
    out, *sys.argv = sys.argv[1:]
    sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        most = max(int(own.split()[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
        Path(out).write_text(str(most / 1024))


if __name__ == "__main__":
    main()
