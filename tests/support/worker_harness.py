"""Harness for tests of the worker: a workspace with keys, jobs, and a real worker process."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from sealyard.jobs.framing import decode_report, encode_line
from sealyard.keyholder.file_state import FileWorkerState
from sealyard.keyholder.state_queue import StateQueue
from sealyard.keyholder.worker_channel import WorkerChannel
from sealyard.keys.derived_keys import derive_zone_keys
from sealyard.keys.master_key import KEYRING_FILE, open_key_store, open_master_key
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.approval import approval_digest
from sealyard.model.build_secrets import WrappedBuildSecret
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.key_commands import GenerateKey
from sealyard.model.key_holder_messages import KeyStoreLocation, OpenKeys
from sealyard.model.keys import KeyInfo
from sealyard.model.signed_message import SignedMessage
from sealyard.model.tasks import Decision, InputFile, Intent, Task, TaskKind, TaskStatus, Verdict
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    BuildSecretRecorded,
    FromWorker,
    Heartbeat,
    Job,
    JobCheckpoint,
    JobFailed,
    JobFinished,
    JobStopped,
    RecordedSegment,
    RunJob,
    SegmentEncrypted,
    SigningPermissionRequested,
    SigningPermitted,
    StopJob,
    WorkerReady,
)
from sealyard.model.workspace import KeyStore, WorkspacePaths
from sealyard.storage.artifacts import FileArtifacts
from sealyard.worker.key_service import KeyService
from tests.support.key_holders import create_keyring_file
from tests.support.limits import TIMEOUT
from tests.support.worker_state import read_intents
from tests.support.zone_engine import ZoneEngine

T = TypeVar("T")

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
PASSPHRASE = "a canary among passphrases"
REQUESTER, APPROVER = "USER:dev", "USER:owner"
KEYS = {
    "content": (KeyType.AES_256, KeyPurpose.BOTH),
    "both": (KeyType.ED25519, KeyPurpose.BOTH),
    "packages": (KeyType.ED25519, KeyPurpose.PACKAGE),
    "data": (KeyType.ED25519, KeyPurpose.DATA),
    "rsa-both": (KeyType.RSA_3072, KeyPurpose.BOTH),
    "rsa-data": (KeyType.RSA_3072, KeyPurpose.DATA),
}
CIPHER = EncryptionKey(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, uri="local:content", version=1)


class WorkerWorkspace:
    """A workspace folder with keys. Creates jobs for the worker."""

    def __init__(self, root: Path, keys: dict[str, KeyInfo]) -> None:
        self.root = root
        self.paths = WorkspacePaths(root)
        self.artifacts = FileArtifacts(self.paths.artifacts)
        self.keys = keys
        self.engine: ZoneEngine | None = None
        """The engine whose signed orders the workers execute, if the workspace is that of a crypto host."""

    def become_crypto_host(self) -> ZoneEngine:
        """Make the workers accept only signed orders, and return the engine that signs them."""
        self.engine = ZoneEngine()
        self.engine.zone_keys = derive_zone_keys(self.open_keys.master_key).public
        return self.engine

    @property
    def location(self) -> KeyStoreLocation:
        return KeyStoreLocation(workspace=str(self.root), workspace_id="w1", key_store=KeyStore.PASSPHRASE)

    @property
    def open_keys(self) -> OpenKeys:
        """The message of the key holder to a worker."""
        keyring = (self.paths.keys / KEYRING_FILE).read_bytes()
        return OpenKeys(
            workspace=str(self.root),
            workspace_id="w1",
            master_key=_open_master_key(self.root, keyring),
            order_key=None if self.engine is None else self.engine.order_key,
        )

    @cached_property
    def state_queue(self) -> StateQueue:
        """The worker state, which this process writes as the key holder does."""
        queue = StateQueue(self.open_state)
        queue.open()
        return queue

    def open_state(self) -> FileWorkerState:
        key_store = open_key_store(KeyStore.PASSPHRASE, self.paths.keys, "w1", PASSPHRASE)
        return FileWorkerState.open(self.paths, "w1", key_store)

    @property
    def intents(self) -> list[dict[str, Any]]:
        return read_intents(self.root)

    def work_file(self, task: Task, name: str) -> Path:
        return self.artifacts.work_dir(task.id) / name

    def store(self, content: bytes, name: str = "firmware.bin") -> InputFile:
        stored = self.artifacts.ingest_bytes(content)
        return InputFile(name=name, size=stored.size, sha256=stored.sha256)

    # ---- jobs

    def package(self, *contents: bytes, key: str = "both", **fields: Any) -> Job:
        inputs = tuple(self.store(each) for each in contents)
        signing = SigningKey(algorithm=SigningAlgorithm.ED25519, uri=f"local:{key}", version=1)
        return self._job(
            TaskKind.PACKAGING, inputs, format="se-1", encryption_key=CIPHER, signing_key=signing, **fields
        )

    def signing(
        self, message: bytes, key: str = "both", algorithm: SigningAlgorithm = SigningAlgorithm.ED25519, **fields: Any
    ) -> Job:
        inline = base64.b64encode(message).decode()
        sha256 = hashlib.sha256(message).hexdigest()
        file = InputFile(name="message", size=len(message), sha256=sha256, inline=inline)
        signing = SigningKey(algorithm=algorithm, uri=f"local:{key}", version=1)
        return self._job(TaskKind.SIGNING, (file,), signing_key=signing, **fields)

    def signing_of_file(self, message: bytes, name: str = "message.bin") -> Job:
        """Create a signing job for a message that is stored as a file because it is too long for the task."""
        key = SigningKey(algorithm=SigningAlgorithm.ED25519, uri="local:both", version=1)
        return self._job(TaskKind.SIGNING, (self.store(message, name),), signing_key=key)

    def encryption(self, content: bytes) -> Job:
        return self._job(TaskKind.ENCRYPTION, (self.store(content),), encryption_key=CIPHER, approvals_required=0)

    def _job(self, kind: TaskKind, inputs: tuple[InputFile, ...], *, approvals_required: int = 1, **fields: Any) -> Job:
        task = Task(
            id=f"t{time.monotonic_ns()}",
            kind=kind,
            status=TaskStatus.RUNNING,
            name="release",
            config_id="c1",
            config_name="gateway",
            config_version=1,
            created_by=REQUESTER,
            created_at=NOW,
            updated_at=NOW,
            inputs=inputs,
            approvals_required=approvals_required,
            fencing_token=1,
            **fields,
        )
        task = msgspec.structs.replace(task, approval_digest=approval_digest(task))
        job = Job(task=task, checkpoint=JobCheckpoint(task_id=task.id))
        if task.signing_key is not None:
            key = self.keys[task.signing_key.uri.removeprefix("local:")]
            job = msgspec.structs.replace(job, certificate=key.current.certificate, signing_kind=key.kind)
        return with_approvals(job, APPROVER) if approvals_required else job


def create_test_workspace(root: Path) -> dict[str, KeyInfo]:
    """Create a key store with ``KEYS`` in ``root`` and return the key information by name."""
    (root / "keys").mkdir(parents=True)
    create_keyring_file(root / "keys" / KEYRING_FILE, PASSPHRASE)
    master_key = open_master_key(KeyStore.PASSPHRASE, root / "keys", "w1", PASSPHRASE, create=True)
    key_service = KeyService(OpenKeys(workspace=str(root), workspace_id="w1", master_key=master_key))

    async def generate_keys() -> dict[str, KeyInfo]:
        keys = {}
        for number, (name, (kind, purpose)) in enumerate(KEYS.items()):
            command = GenerateKey(
                uri=f"local:{name}", kind=kind, purpose=purpose, subject=name, created_by="USER:admin"
            )
            response = await key_service.handle(number, command)
            assert response.key is not None
            keys[name] = response.key
        return keys

    return asyncio.run(generate_keys())


@cache
def _open_master_key(root: Path, keyring: bytes) -> bytes:
    return open_master_key(KeyStore.PASSPHRASE, root / "keys", "w1", PASSPHRASE)


def with_approvals(job: Job, *by: str, digest: str = "") -> Job:
    """Return the job with approvals by exactly these subjects."""
    decisions = tuple(
        Decision(by=each, verdict=Verdict.APPROVED, at=NOW, digest=digest or job.task.approval_digest) for each in by
    )
    return msgspec.structs.replace(job, task=msgspec.structs.replace(job.task, approvals=decisions))


class Records(NamedTuple):
    """What the engine has recorded of a job."""

    secret: WrappedBuildSecret | None = None
    segments: tuple[RecordedSegment, ...] = ()
    intent: SigningPermissionRequested | None = None


def as_retry(job: Job, records: Records) -> Job:
    """Return the job for the next attempt, with what the engine has recorded."""
    task = msgspec.structs.replace(job.task, fencing_token=job.task.fencing_token + 1)
    header = None
    if records.intent is not None:
        intent = Intent(sha256=records.intent.sha256, fencing_token=records.intent.fencing_token, at=NOW)
        task = msgspec.structs.replace(task, intent=intent)
        header = records.intent.header
    checkpoint = JobCheckpoint(task_id=task.id, build_secret=records.secret, segments=records.segments, header=header)
    return msgspec.structs.replace(job, task=task, checkpoint=checkpoint)


def permit(request: SigningPermissionRequested) -> SigningPermitted:
    """Return the permission that a worker requests."""
    return SigningPermitted(task_id=request.task_id, fencing_token=request.fencing_token, sha256=request.sha256)


class WorkerProcess:
    """A worker process: `python -m sealyard.worker`, or ``command``. Read its messages with :meth:`next`.

    ``prefix``: a command that runs Python. On a crypto host, the messages of the engine are signed, and the reports of
    the worker are verified and decoded.
    """

    def __init__(
        self,
        workspace: WorkerWorkspace,
        command: Sequence[str] = ("-m", "sealyard.worker"),
        shell: str = "",
        prefix: Sequence[str] = (),
    ) -> None:
        workspace.paths.worker_log.parent.mkdir(parents=True, exist_ok=True)
        self.holder_channel, worker_channel = socket.socketpair()
        """This object acts as the key holder of the worker."""
        python = [*prefix, sys.executable, *command, str(worker_channel.fileno())]
        with workspace.paths.worker_log.open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", f'{shell}; exec "$@"', "bash", *python] if shell else python,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "SEALYARD_PASSPHRASE": ""},
                pass_fds=[worker_channel.fileno()],
            )
        worker_channel.close()
        self.confirms_build_secrets = True
        self.engine = workspace.engine
        self.lines: list[bytes] = []
        """All lines received so far."""
        self.received: list[tuple[float, FromWorker]] = []
        """All messages received so far, with their times."""
        self._messages: queue.SimpleQueue[FromWorker | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def open_key_store(self, workspace: WorkerWorkspace) -> WorkerProcess:
        self.give_keys(workspace)
        assert self.next(WorkerReady).pid
        return self

    def give_keys(self, workspace: WorkerWorkspace) -> None:
        """Act as the key holder: send the master key, and answer requests."""
        channel = WorkerChannel(self.holder_channel, workspace.state_queue)
        threading.Thread(target=channel.serve, args=(workspace.open_keys,), daemon=True).start()

    def send(self, message: Any) -> None:
        """Send a message of the engine, signed if the worker is that of a crypto host."""
        if self.engine is not None and not isinstance(message, StopJob | SignedMessage):
            message = self.engine.sign(message)
        self.send_raw(message)

    def send_raw(self, message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(encode_line(message))
        self.process.stdin.flush()

    def next(self, kind: type[T]) -> T:
        """Return the next message of this kind. Skips other messages, but fails if the job ends."""
        while True:
            message = self._receive()
            if isinstance(message, kind):
                return message
            assert not isinstance(message, JobFinished | JobFailed | JobStopped | None), message

    def wait_for_end(self, job: Job) -> JobFinished | JobFailed | JobStopped:
        """Run the job, granting every signing permission it requests, and return the message that ends it."""
        self.send(RunJob(job=job))
        while True:
            message = self._receive()
            assert message is not None, "the worker exited"
            if isinstance(message, SigningPermissionRequested):
                self.send(permit(message))
            if isinstance(message, JobFinished | JobFailed | JobStopped):
                return message

    def run_until_exit(self, job: Job) -> None:
        """Run the job, granting every signing permission it requests, until the process exits."""
        self.send(RunJob(job=job))
        while (message := self._receive()) is not None:
            assert not isinstance(message, JobFinished | JobFailed | JobStopped), message
            if isinstance(message, SigningPermissionRequested):
                self.send(permit(message))

    def records_of(self, job: Job) -> Records:
        """Return what the engine has recorded of the job when this worker ends."""
        created = [each.secret for each in self.messages_of(BuildSecretCreated) if each.task_id == job.task.id]
        segments = [each.segment for each in self.messages_of(SegmentEncrypted) if each.task_id == job.task.id]
        intents = [each for each in self.messages_of(SigningPermissionRequested) if each.task_id == job.task.id]
        return Records(created[-1] if created else None, tuple(segments), intents[-1] if intents else None)

    def run_until_intent(self, job: Job) -> Records:
        """Run the job until it requests permission to sign."""
        self.send(RunJob(job=job))
        self.next(SigningPermissionRequested)
        return self.records_of(job)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def messages_of(self, kind: type[T]) -> list[T]:
        return [each for _, each in self.received if isinstance(each, kind)]

    def heartbeat_times(self) -> list[float]:
        return [time_received for time_received, each in self.received if isinstance(each, Heartbeat)]

    def close_stdin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.close_stdin()
        with suppress(OSError):
            self.holder_channel.shutdown(socket.SHUT_RDWR)
        self.holder_channel.close()

    def _receive(self) -> FromWorker | None:
        """Return the next message, or None after the worker has exited. Confirms every build secret."""
        message = self._messages.get(timeout=TIMEOUT)
        if isinstance(message, BuildSecretCreated) and self.confirms_build_secrets:
            with suppress(BrokenPipeError):
                self.send(BuildSecretRecorded(task_id=message.task_id, fencing_token=message.fencing_token))
        return message

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for text in lines:
                self.lines.append(text)
                message = decode_report.decode(text)
                if self.engine is not None and isinstance(message, SignedMessage):
                    message = self.engine.open_report(message)
                self.received.append((time.monotonic(), message))
                self._messages.put(message)
        self._messages.put(None)
