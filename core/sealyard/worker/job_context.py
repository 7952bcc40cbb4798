"""The context of a job: its task, keys, inputs and progress, and the permission to use the signing key."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from pathlib import Path
from typing import BinaryIO

from sealyard.crypto.algorithms import SIGNATURES, SigningInput
from sealyard.crypto.certificates import load_certificate
from sealyard.crypto.key_purposes import check_key_purpose
from sealyard.crypto.protocols import ContentCipher
from sealyard.crypto.signatures import verify
from sealyard.keys.provider import Signer
from sealyard.model.build_secrets import WrappedBuildSecret
from sealyard.model.errors import IntegrityError, WorkerError
from sealyard.model.tasks import InputFile, Task, TaskKind
from sealyard.model.worker_messages import BuildSecretCreated, Job, SigningPermissionRequested
from sealyard.storage.artifacts import FileArtifacts
from sealyard.worker.approved_inputs import open_input, read_input
from sealyard.worker.build_secrets import BuildSecrets
from sealyard.worker.holder_channel import HolderChannel
from sealyard.worker.key_service import KeyService
from sealyard.worker.reports import JobReport, ReportSender


class JobCancelledError(Exception):
    """The engine asked the worker to stop the job. Raised when the job processes its next chunk."""


class JobProgress:
    """Counts the processed bytes of a job. Several threads call it, and the heartbeats report the count."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self._stop_event = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        if self._stop_event.is_set():
            raise JobCancelledError
        with self._lock:
            self.done += count

    def stop(self) -> None:
        self._stop_event.set()


def count_bytes(task: Task) -> int:
    """Return how many bytes a job processes: what is encrypted is also read back and checked."""
    return task.total_bytes if task.kind is TaskKind.SIGNING else 2 * task.total_bytes


class JobContext:
    """Gives the handler of one job access to its task, keys, inputs and progress."""

    def __init__(
        self, job: Job, reports: ReportSender, keys: KeyService, artifacts: FileArtifacts, holder: HolderChannel
    ) -> None:
        self.job = job
        self.task = job.task
        self.artifacts = artifacts
        self.progress = JobProgress(count_bytes(job.task))
        self.build_secret_recorded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.signing_permitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requested_sha256: str | None = None
        self._reports = reports
        self._keys = keys
        self._holder = holder

    def send(self, message: JobReport) -> None:
        self._reports.send(message)

    def confirm_build_secret(self) -> None:
        """Continue the job that waits for :class:`BuildSecretRecorded`."""
        if not self.build_secret_recorded.done():
            self.build_secret_recorded.set_result(None)

    def permit_signing(self, sha256: str) -> None:
        """Continue the job that waits for :class:`SigningPermitted`.

        Fails the job if the permission is not for the bytes that it is about to sign.
        """
        if self.signing_permitted.done():
            return
        if sha256 == self._requested_sha256:
            self.signing_permitted.set_result(None)
            return
        self.signing_permitted.set_exception(
            IntegrityError(
                "The permission to sign is for other data than the worker has requested. Nothing was signed.",
                "Submit the request again as a new task.",
            )
        )

    def stop(self) -> None:
        """Make the job raise :class:`JobCancelledError` at its next chunk, or where it waits for the engine."""
        self.progress.stop()
        for future in (self.build_secret_recorded, self.signing_permitted):
            if not future.done():
                future.set_exception(JobCancelledError())

    def close(self) -> None:
        """Make threads that are still working for a failed job stop at their next chunk."""
        self.progress.stop()
        for future in (self.build_secret_recorded, self.signing_permitted):
            if future.done():
                # Retrieve the exception, so that asyncio does not report it as never retrieved.
                future.exception()

    async def check_key_purpose(self) -> None:
        """Check the purpose of the task's signing key according to the key store, if the task has a signing key.

        Raises :class:`InvalidKeyError` if it does not allow the task.
        """
        key = self.task.signing_key
        if key is not None:
            check_key_purpose(self.task.kind, key.algorithm, await self._keys.key_purpose(key))

    async def signer(self) -> Signer:
        key = self.task.signing_key
        assert key is not None
        return await self._keys.signer(key)

    async def cipher(self) -> ContentCipher:
        key = self.task.encryption_key
        assert key is not None
        return await self._keys.cipher(key)

    @property
    def build_secrets(self) -> BuildSecrets:
        return self._keys.build_secrets

    async def record_build_secret(self, secret: WrappedBuildSecret) -> None:
        """Return after the engine has recorded the build secret of the task durably."""
        self.send(BuildSecretCreated(task_id=self.task.id, fencing_token=self.task.fencing_token, secret=secret))
        await self.build_secret_recorded

    def open_input(self, file: InputFile) -> BinaryIO:
        """See :func:`sealyard.worker.approved_inputs.open_input`."""
        return open_input(self.artifacts, file)

    def read_input(self, file: InputFile) -> bytes:
        """See :func:`sealyard.worker.approved_inputs.read_input`."""
        return read_input(self.artifacts, file)

    @property
    def work_dir(self) -> Path:
        """The task's folder; created if it is missing."""
        return self.artifacts.work_dir(self.task.id)

    async def sign(self, data: bytes, algorithm_input: bytes, header: str | None = None) -> bytes:
        """Sign after the engine has permitted it, and return the signature, verified with the recorded certificate.

        ``data``: the bytes for which the intent is recorded. ``algorithm_input``: the input of the signature algorithm,
        either ``data`` or its digest. ``header`` (Base64): sent to the engine if it must outlive this worker.

        Raises :class:`WorkerError` if the signature is not valid.
        """
        key = self.task.signing_key
        assert key is not None
        assert self.job.certificate is not None
        await self._request_signing_permission(data, header)
        signature = await (await self.signer()).sign(algorithm_input)
        prehashed = SIGNATURES[key.algorithm].input is SigningInput.SHA256_DIGEST
        public_key = load_certificate(self.job.certificate.encode()).public_key
        if not await asyncio.to_thread(
            verify, public_key, key.algorithm, algorithm_input, signature, prehashed=prehashed
        ):
            raise WorkerError(
                "The signature does not match the recorded certificate. Nothing was released.", "Check the signing key."
            )
        return signature

    async def _request_signing_permission(self, data: bytes, header: str | None) -> None:
        """Ask the engine for permission to sign ``data``.

        Returns after the engine has stored the intent and the key holder has recorded it. Raises :class:`WorkerError`
        if the task already has an intent for different bytes according to the engine, and the errors of
        :meth:`HolderChannel.record_intent`.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        recorded_intent = self.task.intent
        if recorded_intent is not None and recorded_intent.sha256 != sha256:
            raise WorkerError(
                "Signing of different data was already started for this task.",
                "Submit the request again as a new task.",
            )
        self._requested_sha256 = sha256
        self.send(
            SigningPermissionRequested(
                task_id=self.task.id, fencing_token=self.task.fencing_token, sha256=sha256, header=header
            )
        )
        await self.signing_permitted
        await self._holder.record_intent(self.task.id, self.task.fencing_token, sha256)
