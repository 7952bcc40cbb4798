"""Keep the memory of the key holder from other processes of the same user."""

from __future__ import annotations

import sys

from sealyard.confinement.process_memory import forbid_core_dumps, forbid_memory_access


def protect_memory() -> None:
    """Write no core dump, and let no other process of the same user read the memory or the environment.

    A refused measure is reported on standard error. Only Linux has the second one. Workers inherit the first one.
    """
    forbid_core_dumps()
    if sys.platform != "linux":
        sys.stderr.write("The memory of the key holder is not protected: only Linux supports this.\n")
        return
    try:
        forbid_memory_access()
    except OSError as error:
        sys.stderr.write(f"The memory of the key holder is not protected: {error.strerror}.\n")
