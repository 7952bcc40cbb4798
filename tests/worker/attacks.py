"""Workers whose files are swapped in the middle of a job, and the search for signatures over other bytes."""

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
import os, shutil, sys
from pathlib import Path
from sealyard.worker import __main__, job_context
from sealyard.worker.jobs import {module} as job

original_sign = job_context.JobContext.signer
class Recorded:
    def __init__(self, signer):
        self.signer = signer
    async def sign(self, data):
        with open({signed!r}, "ab") as log:
            log.write(data.hex().encode() + b"\\n")
        return await self.signer.sign(data)
async def signer(self):
    return Recorded(await original_sign(self))
job_context.JobContext.signer = signer

original = job.{function}
def attacked(*arguments):
    {before}
    made = original(*arguments)
    {after}
    return made
job.{function} = attacked
sys.exit(__main__.main())
"""
"""A worker that records what it signs, and runs code before or after one of its steps."""


class Attack:
    """Builds the script of an attacked worker, and judges the workspace afterwards."""

    def __init__(self, house: WorkerWorkspace, folder: Path) -> None:
        self._house = house
        self._signed = folder / "signed.log"

    def script(self, step: str = "package._build_header", *, before: str = "pass", after: str = "pass") -> str:
        """``step``: module and function of the worker; ``before`` and ``after``: statements on one line."""
        module, _, function = step.partition(".")
        return SCRIPT.format(module=module, function=function, before=before, after=after, signed=str(self._signed))

    @property
    def signed(self) -> list[bytes]:
        """All inputs that a signing key was used for."""
        if not self._signed.exists():
            return []
        return [bytes.fromhex(line.decode()) for line in self._signed.read_bytes().splitlines()]

    def require_only_approved(self, job: Job, firmware: tuple[bytes, ...], metadata: tuple[bytes, ...]) -> None:
        """No container in the workspace carries a signature over other contents; no key was used for them either."""
        for container in self._signed_containers(job):
            self._require_contents(container, firmware, metadata)
        self.require_approved_headers(metadata)

    def require_approved_headers(self, metadata: tuple[bytes, ...]) -> None:
        """Every header that the signing key was used for holds the approved metadata."""
        for header in self.signed:
            assert parse_header(io.BytesIO(header)).metadata == b"".join(metadata)

    def require_no_signature_of(self, job: Job, message: bytes) -> None:
        """No file of the workspace holds a signature of ``message``, raw or in Base64."""
        assert job.certificate is not None
        key = load_certificate(job.certificate.encode()).public_key
        assert message not in self.signed
        for path in files_below(self._house.root):
            content = path.read_bytes()
            for text in re.findall(rb"[A-Za-z0-9+/]{86}==", content):
                assert not verify(key, SigningAlgorithm.ED25519, message, base64.b64decode(text), prehashed=False)

    def _signed_containers(self, job: Job) -> Iterator[bytes]:
        assert job.certificate is not None
        for path in files_below(self._house.root):
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
        certificate = self._house.keys["both"].current.certificate
        assert certificate is not None
        cipher = asyncio.run(KeyService(self._house.key_store_request).cipher(CIPHER))
        with tempfile.TemporaryDirectory() as folder:
            opened = SE1Format().extract(io.BytesIO(container), certificate.encode(), cipher, Path(folder))
            segments = tuple(path.read_bytes() for path in opened if path.name.startswith("segment"))
        assert segments == firmware


def files_below(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
