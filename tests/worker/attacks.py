"""Attacks on a worker: files are swapped during a job, and the workspace is searched for wrong signatures."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sealyard.containers.se1.format import SE1Format
from sealyard.containers.se1.header import parse_header
from sealyard.crypto.certificates import load_certificate
from sealyard.crypto.signatures import verify
from sealyard.model.algorithms import SigningAlgorithm
from sealyard.model.errors import SealyardError
from sealyard.model.worker_messages import Job
from sealyard.worker.key_service import KeyService
from tests.support.worker_harness import CIPHER, WorkerWorkspace

SCRIPT = """
import os, sys, threading, traceback
from pathlib import Path

def run_attacker(requests, responses):
    os.close(0)
    os.close(1)
    while moment := os.read(requests, 1):
        try:
            if moment == b"b":
                {before}
            else:
                {after}
        except Exception:
            traceback.print_exc()
        os.write(responses, b".")
    os._exit(0)

request_end, requests = os.pipe()
response_end, responses = os.pipe()
if os.fork() == 0:
    os.close(requests)
    run_attacker(request_end, responses)
attack_lock = threading.Lock()

def attack(moment):
    with attack_lock:
        os.write(requests, moment)
        os.read(response_end, 1)

signed_log = open({signed!r}, "ab", buffering=0)
from sealyard.worker import __main__, job_context
from sealyard.worker.jobs import {module} as job

original_sign = job_context.JobContext.signer
class RecordingSigner:
    def __init__(self, signer):
        self.signer = signer
    async def sign(self, data):
        signed_log.write(data.hex().encode() + b"\\n")
        return await self.signer.sign(data)
async def signer(self):
    return RecordingSigner(await original_sign(self))
job_context.JobContext.signer = signer

original = job.{function}
def run_with_attack(*arguments):
    attack(b"b")
    result = original(*arguments)
    if {crash}:
        os._exit(9)
    attack(b"a")
    return result
job.{function} = run_with_attack
sys.exit(__main__.main())
"""
"""A worker that records what it signs, and whose files another process changes before or after one of its steps.

The attacker is a process of its own, because the kernel confines the worker.
"""


class Attack:
    """Builds the script of an attacked worker, and checks the workspace afterwards."""

    def __init__(self, workspace: WorkerWorkspace, folder: Path) -> None:
        self._workspace = workspace
        self._log_path = folder / "signed.log"

    def script(
        self,
        step: str = "package._build_header",
        *,
        before: str = "pass",
        after: str = "pass",
        crashes: bool = False,
    ) -> str:
        """Return a script that runs statements before and after ``step``, the module and function of a step.

        ``crashes``: whether the worker crashes after the step.
        """
        module, _, function = step.partition(".")
        return SCRIPT.format(
            module=module,
            function=function,
            before=before,
            after=after,
            crash=crashes,
            signed=str(self._log_path),
        )

    @property
    def signed_inputs(self) -> list[bytes]:
        """All data that a signing key was used for."""
        if not self._log_path.exists():
            return []
        return [bytes.fromhex(line.decode()) for line in self._log_path.read_bytes().splitlines()]

    def require_only_approved(self, job: Job, firmware: tuple[bytes, ...], metadata: tuple[bytes, ...]) -> None:
        """Check that no container has a signature over other contents, and that no key was used for other metadata."""
        for container in self._signed_containers(job):
            self._require_contents(container, firmware, metadata)
        self.require_approved_headers(metadata)

    def require_approved_headers(self, metadata: tuple[bytes, ...]) -> None:
        """Check that every header that the signing key was used for contains the approved metadata."""
        for header in self.signed_inputs:
            assert parse_header(io.BytesIO(header)).metadata == b"".join(metadata)

    def require_no_signature_of(self, job: Job, message: bytes) -> None:
        """Check that no file of the workspace contains a signature of ``message`` in Base64."""
        assert job.certificate is not None
        key = load_certificate(job.certificate.encode()).public_key
        assert message not in self.signed_inputs
        for path in iter_files(self._workspace.root):
            content = path.read_bytes()
            for text in re.findall(rb"[A-Za-z0-9+/]{86}==", content):
                assert not verify(key, SigningAlgorithm.ED25519, message, base64.b64decode(text), prehashed=False)

    def _signed_containers(self, job: Job) -> Iterator[bytes]:
        assert job.certificate is not None
        for path in iter_files(self._workspace.root):
            content = path.read_bytes()
            for match in re.finditer(SE1Format.magic, content):
                container = content[match.start() :]
                try:
                    SE1Format().check_signature(io.BytesIO(container), job.certificate.encode())
                except SealyardError:
                    continue
                yield container

    def _require_contents(self, container: bytes, firmware: tuple[bytes, ...], metadata: tuple[bytes, ...]) -> None:
        assert parse_header(io.BytesIO(container)).metadata == b"".join(metadata)
        certificate = self._workspace.keys["both"].current.certificate
        assert certificate is not None
        cipher = asyncio.run(KeyService(self._workspace.open_keys).cipher(CIPHER))
        with tempfile.TemporaryDirectory() as folder:
            paths = SE1Format().extract(io.BytesIO(container), certificate.encode(), cipher, Path(folder))
            segments = tuple(path.read_bytes() for path in paths if path.name.startswith("segment"))
        assert segments == firmware


def iter_files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
