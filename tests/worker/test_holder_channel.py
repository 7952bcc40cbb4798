"""Tests of the worker's channel to the key holder."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import asyncio, socket
from sealyard.worker.holder_channel import HolderChannel

async def main():
    own_end, other_end = socket.socketpair()
    other_end.close()
    await HolderChannel(own_end.fileno()).record_intent("task", 1, "00" * 32)

asyncio.run(main())
"""


def test_request_after_end_of_key_holder_ends_the_worker() -> None:
    """It reports no error, because the job can continue in another worker."""
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
