"""Starts Python with the arguments given, and has it end with the process that started this one.

Run by its path, before anything of the program: a function between fork and exec could block on a lock that
another thread of the starting process held.
"""

import ctypes
import os
import signal
import sys

#: Linux's prctl: the signal to get when the parent ends. It stays set over exec.
PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended already
            sys.exit(1)
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])  # noqa: S606  # no shell is wanted
