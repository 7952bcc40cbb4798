"""Test that a key stays usable, with a complete certificate, if a worker is killed while it imports certificates."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from sealyard.keys.local import LocalKeyProvider
from sealyard.model.algorithms import KeyPurpose, KeyType, SigningAlgorithm
from tests.crash.certificate_process import MASTER_KEY, NAME
from tests.support.key_files import certificate_for, private_key, write_pem
from tests.support.processes import killed_at_exit

KILLS = 6


def start_importer(folder: Path, certificates: list[Path]) -> subprocess.Popen[str]:
    script = Path(__file__).with_name("certificate_process.py")
    arguments = [sys.executable, str(script), str(folder), *map(str, certificates)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def kill_after_lines(process: subprocess.Popen[str], count: int) -> int:
    """Kill the process after ``count`` more versions, during the next import; return the last number it printed."""
    with killed_at_exit(process):
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(count)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().splitlines(keepends=True)
        process.wait()
    return max(int(line) for line in lines if line.endswith("\n"))


@pytest.mark.crash
def test_killed_import_of_certificate_leaves_usable_key(tmp_path: Path) -> None:
    key = private_key(KeyType.ED25519)
    certificates = [tmp_path / "one", tmp_path / "two"]
    for path in certificates:
        path.write_bytes(certificate_for(key, name=path.name).public_bytes(Encoding.PEM))
    keys = LocalKeyProvider(tmp_path / "keys", MASTER_KEY)
    source = write_pem(tmp_path / "key", key)
    asyncio.run(keys.import_key(NAME, source.read_bytes(), KeyType.ED25519, KeyPurpose.BOTH, None, None))
    for kill in range(KILLS):
        last_number = kill_after_lines(start_importer(tmp_path / "keys", certificates), kill + 1)
        versions = asyncio.run(keys.get_info(NAME)).versions
        assert len(versions) >= last_number
        assert [version.version for version in versions] == list(range(1, len(versions) + 1))
        for version in versions:
            signer = asyncio.run(keys.signer(NAME, version.version, SigningAlgorithm.ED25519))
            asyncio.run(signer.sign(b"message"))
