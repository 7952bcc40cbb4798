"""What a job is done with: its task, its keys, its inputs, its progress, and the leave to use a key."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from pathlib import Path
from typing import Any, BinaryIO

from sealyard.crypto.streams import ContentCipher
from sealyard.keys.provider import Signer
from sealyard.model.algorithms import KeyPurpose
from sealyard.model.errors import WorkerError
from sealyard.model.jobs import IntentAsked, Job
from sealyard.model.tasks import InputFile
from sealyard.storage.artifacts import FileArtifacts
from sealyard.worker.channel import Channel
from sealyard.worker.intents import IntentLog
from sealyard.worker.keyroom import KeyRoom
from sealyard.worker.progress import JobProgress


class Bench:
    """One job's place of work."""

    def __init__(self, job: Job, channel: Channel, keys: KeyRoom, artifacts: FileArtifacts, intents: IntentLog) -> None:
        self.job = job
        self.task = job.task
        self.artifacts = artifacts
        self.progress = JobProgress(0)
        self.permit: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._channel = channel
        self._keys = keys
        self._intents = intents

    def say(self, message: Any) -> None:
        self._channel.send(message)

    async def signing_purpose(self) -> KeyPurpose | None:
        """What the key store says the task's signing key is for; None where the task has none."""
        key = self.task.signing_key
        return None if key is None else await self._keys.purpose(key)

    async def signer(self) -> Signer:
        key = self.task.signing_key
        assert key is not None
        return await self._keys.signer(key)

    async def cipher(self) -> ContentCipher:
        key = self.task.encryption_key
        assert key is not None
        return await self._keys.cipher(key)

    def open_input(self, file: InputFile) -> BinaryIO:
        if file.inline is None:
            return self.artifacts.open_input(file.sha256)
        return io.BytesIO(base64.b64decode(file.inline))

    @property
    def workplace(self) -> Path:
        """The task's folder, made where it is missing."""
        return self.artifacts.work_path(self.task.id)

    async def leave_to_sign(self, data: bytes, header: str | None = None) -> None:
        """Returns once the engine has recorded the intent and this worker has logged it.

        ``data`` is what gets signed; ``header`` is sent along (Base64) where it must outlive this worker.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        earlier = self.task.intent
        if earlier is not None and earlier.sha256 != sha256:
            raise WorkerError(
                "A signature over other bytes was begun for this task before.", "Ask again with a new task."
            )
        self.say(IntentAsked(task_id=self.task.id, fence=self.task.fence, sha256=sha256, header=header))
        await self.permit
        await self._intents.record(self.task.id, self.task.fence, sha256, again=earlier is not None)
