"""Run a command that must not outlive us: `python die_with_parent.py PARENT_PID command...`.

Sets the kernel's parent-death signal (Linux) and then becomes the command, so that there is no process
in between. A program of its own, because code between fork and exec is not safe in a process with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the command in sys.argv[2:]."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the signal was asked for
            sys.exit("the worker is gone")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
