"""Asking for tasks: inputs checked, rights checked, the format's limits checked, then one unit of work."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

import msgspec

from sealyard.containers.format import PackageLayout
from sealyard.containers.registry import get_format, reject_lookalike
from sealyard.crypto.algorithms import CIPHERS, SIGNATURES, SigningInput, check_signing_input
from sealyard.engine.inputs.store import InputStore, check_name_length
from sealyard.engine.state.ids import new_id
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository, UnitOfWork
from sealyard.engine.state.tables import KEYS, TASKS, TOKENS, StoredClientToken
from sealyard.engine.tasks.auto_transitions import AutoTransitions
from sealyard.model.access import Action
from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.approval import approval_digest
from sealyard.model.audit import AuditAction
from sealyard.model.canonical_json import canonical_json
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import ConflictError, InvalidInputError, InvalidKeyError, SealyardError, UsageError
from sealyard.model.lifecycle import advance
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest
from sealyard.model.tasks import InputFile, StatusChange, Subtask, Task, TaskKind, TaskStatus

MAX_NAME_LENGTH = 200
LONGEST_CONTENT_TYPE = 1000
MAX_INLINE_BYTES = 4096
"""Signing inputs up to this many bytes are kept in the task itself."""


class TaskCreation:
    """The three ways to make a task. A client token makes each of them idempotent."""

    def __init__(self, ledger: Repository, rights: Permissions, inputs: InputStore, onward: AutoTransitions) -> None:
        self._ledger = ledger
        self._rights = rights
        self._inputs = inputs
        self._onward = onward

    async def create_package(self, subject: str, request: PackageRequest) -> Task:
        device = self._device(subject, request.config)
        if earlier := await self._find_by_client_token(subject, request.client_token, request):
            return earlier
        self._inputs.require((*request.firmware, *request.metadata))
        warnings = get_format(device.format).check(self._package_layout(device, request))
        task = self._task(
            subject,
            TaskKind.PACKAGING,
            device,
            name=request.name or _join_names(request.firmware),
            inputs=request.firmware,
            metadata=request.metadata,
            content_type=request.content_type,
            client_token=request.client_token,
            format=device.format,
            encryption_key=device.encryption,
            signing_key=device.signing,
            warnings=(*device.warnings, *warnings),
        )
        return await self._store(self._with_subtasks(task), request)

    async def create_encryption(self, subject: str, request: EncryptionRequest) -> Task:
        device = self._device(subject, request.config)
        if earlier := await self._find_by_client_token(subject, request.client_token, request):
            return earlier
        self._inputs.require((request.file,))
        task = self._task(
            subject,
            TaskKind.ENCRYPTION,
            device,
            name=request.name or request.file.name,
            inputs=(request.file,),
            content_type=request.content_type,
            client_token=request.client_token,
            encryption_key=device.encryption,
            warnings=CIPHERS[device.encryption.algorithm].caveats,
        )
        return await self._store(task, request)

    async def create_signing(self, subject: str, request: SigningRequest) -> Task:
        device = self._device(subject, request.config)
        if earlier := await self._find_by_client_token(subject, request.client_token, request):
            return earlier
        self._check_message(device, request)
        file = await self._message_file(request)
        task = self._task(
            subject,
            TaskKind.SIGNING,
            device,
            name=request.name or file.name,
            inputs=(file,),
            content_type=request.content_type,
            client_token=request.client_token,
            signing_key=device.signing,
            warnings=SIGNATURES[device.signing.algorithm].caveats,
        )
        return await self._store(task, request)

    # ---- checks

    def _device(self, subject: str, config: str) -> DeviceConfig:
        device = self._ledger.device(config)
        self._rights.require_device(subject, Action.USE, device.id, config)
        return device

    async def _find_by_client_token(self, subject: str, token: str | None, request: msgspec.Struct) -> Task | None:
        """The task that this token made before, once it is durable; a token used for something else is refused.

        Where there is none nothing is waited for: who goes on without a wait has the token.
        """
        if token is None:
            return None
        found = self._ledger.get(TOKENS, f"{subject} {token}")
        if found is None:
            return None
        if found.request != _digest(request):
            raise ConflictError(
                "This client token was used for another request.", "Take a new token for a new request."
            )
        await self._ledger.flush()
        return self._ledger.task(found.task_id)

    def _signing_key_kind(self, device: DeviceConfig) -> KeyType:
        key = self._ledger.get(KEYS, device.signing.uri)
        if key is None:
            raise InvalidKeyError(f"The signing key {device.signing.uri} is not on record.")
        return key.kind

    def _package_layout(self, device: DeviceConfig, request: PackageRequest) -> PackageLayout:
        if not request.firmware:
            raise InvalidInputError("A package needs at least one firmware file.", "Name it with --firmware.")
        return PackageLayout(
            encryption=device.encryption.algorithm,
            signing=device.signing.algorithm,
            signing_key_kind=self._signing_key_kind(device),
            firmware=tuple((each.name, each.size) for each in request.firmware),
            metadata=tuple((each.name, each.size) for each in request.metadata),
        )

    def _check_message(self, device: DeviceConfig, request: SigningRequest) -> None:
        algorithm = device.signing.algorithm
        takes_digest = SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST
        if request.is_digest and not takes_digest:
            raise UsageError(f"{algorithm} signs a message, not a digest.", "Hand in the file itself (--file).")
        check_signing_input(algorithm, request.message)
        key = self._ledger.get(KEYS, device.signing.uri)
        purpose = key.purpose if key is not None else KeyPurpose.PACKAGE
        if purpose is KeyPurpose.PACKAGE or (takes_digest and purpose is not KeyPurpose.DATA):
            raise InvalidKeyError(
                f"The signing key of {device.name} is for {_describe_purpose(purpose)}; this wants a key for data"
                + (" only: nobody can see what stands behind a bare digest." if takes_digest else "."),
                "Use a configuration made with --purpose data.",
            )
        if not takes_digest:
            reject_lookalike(request.message)

    async def _message_file(self, request: SigningRequest) -> InputFile:
        name = request.file_name or ("digest" if request.is_digest else "message")
        check_name_length(name)
        if len(request.message) > MAX_INLINE_BYTES:
            return await self._inputs.ingest_bytes(name, request.message)
        return InputFile(
            name=name,
            size=len(request.message),
            sha256=hashlib.sha256(request.message).hexdigest(),
            inline=base64.b64encode(request.message).decode(),
        )

    # ---- making

    def _task(
        self,
        subject: str,
        kind: TaskKind,
        device: DeviceConfig,
        *,
        name: str,
        content_type: str,
        inputs: tuple[InputFile, ...],
        metadata: tuple[InputFile, ...] = (),
        **more: object,
    ) -> Task:
        now = self._ledger.clock.now()
        policy = self._ledger.policy()
        if len(name) > MAX_NAME_LENGTH:
            raise UsageError(
                f"A task's name has at most {MAX_NAME_LENGTH} characters.", "Choose a shorter one (--name)."
            )
        if len(content_type) > LONGEST_CONTENT_TYPE:
            raise UsageError(f"A content type has at most {LONGEST_CONTENT_TYPE} characters.", "Write a shorter one.")
        for each in (*inputs, *metadata):
            check_name_length(each.name)
        task = Task(
            id=self._unused_id(),
            kind=kind,
            status=TaskStatus.CREATED,
            name=name,
            config_id=device.id,
            config_name=device.name,
            config_version=device.version,
            created_by=subject,
            created_at=now,
            updated_at=now,
            inputs=inputs,
            metadata=metadata,
            content_type=content_type,
            approvals_required=device.approvals_required if kind in policy.requires_approval else 0,
            self_approved=policy.allow_self_approval,
            history=(StatusChange(status=TaskStatus.CREATED, at=now),),
            **more,  # type: ignore[arg-type]
        )
        return msgspec.structs.replace(task, approval_digest=approval_digest(task))

    def _unused_id(self) -> str:
        while self._ledger.get(TASKS, made := new_id()) is not None:
            pass
        return made

    def _with_subtasks(self, task: Task) -> Task:
        encryptions = tuple(
            Subtask(id=f"{task.id}.{number}", kind=TaskKind.ENCRYPTION, status=TaskStatus.CREATED, name=each.name)
            for number, each in enumerate(task.inputs, 1)
        )
        signing = Subtask(
            id=f"{task.id}.{len(task.inputs) + 1}", kind=TaskKind.SIGNING, status=TaskStatus.WAITING, name="header"
        )
        return msgspec.structs.replace(task, subtasks=(*encryptions, signing))

    async def _store(self, task: Task, request: msgspec.Struct) -> Task:
        """Stores the task and moves it on. A signing task is answered as it stands then, the others as CREATED."""
        if earlier := await self._find_by_client_token(task.created_by, task.client_token, request):
            self._inputs.discard(task.inputs)
            return earlier
        answered = task
        if task.kind is TaskKind.SIGNING:
            answered = advance(task, self._onward.submission(), self._ledger.clock.now())
        draft = self._ledger.begin()
        if task.client_token is not None:
            token = StoredClientToken(task_id=task.id, request=_digest(request))
            draft.put(TOKENS, f"{task.created_by} {task.client_token}", token)
        _audit_created(draft, task)
        draft.create_task(answered)
        waited = self._inputs.acquire(task)
        try:
            await draft.commit()
        except SealyardError:
            self._inputs.unacquire(task, waited)
            raise
        if answered is task:
            await self._onward.advance_or_defer(task.id)
        return answered


def _digest(request: msgspec.Struct) -> str:
    return hashlib.sha256(canonical_json(request)).hexdigest()


def _join_names(files: Iterable[InputFile]) -> str:
    names = ", ".join(each.name for each in files)
    return names if len(names) <= MAX_NAME_LENGTH else names[: MAX_NAME_LENGTH - 1] + "…"


def _describe_purpose(purpose: KeyPurpose) -> str:
    return {KeyPurpose.PACKAGE: "packages", KeyPurpose.DATA: "data", KeyPurpose.BOTH: "packages and data"}[purpose]


def _audit_created(draft: UnitOfWork, task: Task) -> None:
    draft.audit(
        task.created_by,
        AuditAction.CREATED,
        f"TASK:{task.id}",
        f"{task.kind} task {task.name!r} for {task.config_name} version {task.config_version}",
        {
            "kind": task.kind.value,
            "configId": task.config_id,
            "configVersion": task.config_version,
            "inputs": [[each.name, each.size, each.sha256] for each in task.inputs],
            "metadata": [[each.name, each.size, each.sha256] for each in task.metadata],
            "approvalDigest": task.approval_digest,
            "approvalsRequired": task.approvals_required,
        },
    )
