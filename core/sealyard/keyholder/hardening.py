"""Keep the memory of the key holder from other processes of the same user."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

_PR_SET_DUMPABLE = 4


def protect_memory() -> None:
    """Write no core dump, and let no other process of the same user read the memory or the environment.

    A refused measure is reported on standard error. Only Linux has the second one. Workers inherit the first one.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        sys.stderr.write("The memory of the key holder is not protected: only Linux supports this.\n")
        return
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        reason = os.strerror(ctypes.get_errno())
        sys.stderr.write(f"The memory of the key holder is not protected: {reason}.\n")
