"""Tests of the protection of the key holder's memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, resource
from sealyard.keyholder.hardening import protect_memory
protect_memory()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_GET_DUMPABLE is a request of Linux")
def test_memory_is_not_dumpable() -> None:
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("0 0 0\n", "")
