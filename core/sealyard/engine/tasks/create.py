"""Create tasks: check permissions, inputs and the limits of the container format, then commit one unit of work."""

from __future__ import annotations

import base64
import hashlib
from functools import partial

import msgspec

from sealyard.concurrency.threads import run_uncancellable
from sealyard.containers.format import PackageLayout
from sealyard.containers.registry import get_format, reject_container_start
from sealyard.crypto.algorithms import CIPHERS, SIGNATURES, SigningInput, check_signing_input
from sealyard.crypto.key_purposes import check_key_purpose
from sealyard.crypto.message_limits import check_message_limit
from sealyard.engine.devices.certificates import add_task_warnings
from sealyard.engine.devices.config_keys import build_warnings
from sealyard.engine.inputs.store import InputStore, check_name_length
from sealyard.engine.state.ids import new_id
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.reasons import validate_justification
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import KEYS, TASKS, TOKENS, StoredClientToken
from sealyard.engine.tasks.auto_transitions import AutoTransitions
from sealyard.engine.tasks.contents import TaskContents
from sealyard.engine.tasks.creation_audit import audit_creation
from sealyard.engine.tasks.query import TaskQueries
from sealyard.engine.tasks.released_packages import find_last_release
from sealyard.fs.source_file import to_utf8_name
from sealyard.model.access import Action
from sealyard.model.algorithms import KeyType
from sealyard.model.approval import approval_digest
from sealyard.model.canonical_json import canonical_json
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import ConflictError, InvalidInputError, InvalidKeyError, SealyardError, UsageError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.keys import KeyInfo
from sealyard.model.lifecycle import advance
from sealyard.model.package_checks import default_package_name, duplicate_warnings, repetition_warning
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest, TaskRequest
from sealyard.model.tasks import (
    RESUBMITTABLE_STATUSES,
    InputFile,
    StatusChange,
    Subtask,
    Task,
    TaskKind,
    TaskStatus,
)

MAX_NAME_LENGTH = 200
MAX_CONTENT_TYPE_LENGTH = 1000
MAX_INLINE_BYTES = 4096
"""Signing inputs of up to this many bytes are stored in the task itself."""


class TaskCreation:
    """Creates packaging, encryption and signing tasks.

    A request with a client token is idempotent: repeating it returns the task that it created before.
    """

    def __init__(
        self,
        repository: Repository,
        permissions: Permissions,
        queries: TaskQueries,
        inputs: InputStore,
        contents: TaskContents,
        auto_transitions: AutoTransitions,
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._queries = queries
        self._inputs = inputs
        self._contents = contents
        self._auto_transitions = auto_transitions

    async def create_package(self, subject: str, request: PackageRequest) -> Task:
        """Create a packaging task. The configuration's container format checks the files and algorithms.

        Raises :class:`InvalidInputError` if a file is not stored, :class:`InvalidKeyError` if the purpose of the
        signing key does not allow packages, :class:`ConflictError` if the client token was used for another request,
        and the errors of :meth:`ContainerFormat.check`.
        """
        device = self.require_usable_device(subject, request.config)
        if existing_task := await self._find_by_client_token(subject, request.client_token, request):
            return existing_task
        files = (*request.firmware, *request.metadata)
        self._inputs.require(files)
        metadata_warnings = await run_uncancellable(partial(self._contents.find_warnings, request.metadata))
        # An upload may have been discarded while the metadata was read.
        self._inputs.require(files)
        task = self.build_package(subject, device, request, metadata_warnings)
        return await self._commit_task(self._add_subtasks(task), request)

    def build_package(
        self, subject: str, device: DeviceConfig, request: PackageRequest, metadata_warnings: tuple[str, ...] = ()
    ) -> Task:
        """Check a request like :meth:`create_package`, except for its client token and uploads; store nothing.

        ``metadata_warnings``: warnings about the contents of the metadata files.
        """
        files = (*request.firmware, *request.metadata)
        container_format = get_format(device.format)
        container_format.check_signing_algorithm(device.signing.algorithm)
        signing_key = self._get_signing_key(TaskKind.PACKAGING, device)
        layout = _build_package_layout(device, request, signing_key.kind)
        format_warnings = container_format.check(layout)
        check_message_limit(
            signing_key.uri, signing_key.capabilities, layout.signing, container_format.signed_length(layout), "header"
        )
        key_warnings = build_warnings((device.encryption,), (device.signing,), signing_key.purpose)
        task = self._build_task(
            subject,
            request,
            TaskKind.PACKAGING,
            device,
            name=request.name or default_package_name([file.name for file in request.firmware]),
            inputs=request.firmware,
            metadata=request.metadata,
            format=device.format,
            encryption_key=device.encryption,
            signing_key=device.signing,
            warnings=(*metadata_warnings, *duplicate_warnings(files), *key_warnings, *format_warnings),
        )
        return self._add_repetition_warning(task)

    async def create_encryption(self, subject: str, request: EncryptionRequest) -> Task:
        """Create a task that encrypts one file.

        Raises :class:`InvalidInputError` if the file is not stored, :class:`UsageError` if the configuration has no
        encryption key with the requested name, and :class:`ConflictError` if the client token was used for another
        request.
        """
        device = self.require_usable_device(subject, request.config)
        if existing_task := await self._find_by_client_token(subject, request.client_token, request):
            return existing_task
        task = self.build_encryption(subject, device, request)
        self._inputs.require((request.file,))
        return await self._commit_task(task, request)

    def build_encryption(self, subject: str, device: DeviceConfig, request: EncryptionRequest) -> Task:
        """Check a request like :meth:`create_encryption`, except for its client token and upload; store nothing."""
        key = device.find_encryption_key(request.encryption_key) if request.encryption_key else device.encryption
        return self._build_task(
            subject,
            request,
            TaskKind.ENCRYPTION,
            device,
            name=request.name or request.file.name,
            inputs=(request.file,),
            encryption_key=key,
            warnings=CIPHERS[key.algorithm].caveats,
        )

    async def create_signing(self, subject: str, request: SigningRequest) -> Task:
        """Create a task that signs a message or its digest.

        Raises :class:`UsageError` if the algorithm does not sign digests, :class:`InvalidKeyError` if the purpose of
        the key does not allow it, and :class:`ConflictError` if the client token was used for another request.
        """
        device = self.require_usable_device(subject, request.config)
        if existing_task := await self._find_by_client_token(subject, request.client_token, request):
            return existing_task
        task = self.build_signing(subject, device, request)
        (message_file,) = task.inputs
        if message_file.inline is None:
            await self._inputs.ingest_bytes(message_file.name, request.message)
        return await self._commit_task(task, request)

    def build_signing(self, subject: str, device: DeviceConfig, request: SigningRequest) -> Task:
        """Check a request like :meth:`create_signing`, except for its client token; store nothing."""
        self._check_message(device, request)
        message_file = _describe_message(request)
        return self._build_task(
            subject,
            request,
            TaskKind.SIGNING,
            device,
            name=request.name or message_file.name,
            inputs=(message_file,),
            signing_key=device.signing,
            warnings=SIGNATURES[device.signing.algorithm].caveats,
        )

    # ---- checks

    def require_usable_device(self, subject: str, config: str) -> DeviceConfig:
        """Return the device configuration with the id or name ``config``.

        Raises :class:`NotFoundError` if it does not exist or the subject may not view it, and
        :class:`PermissionDeniedError` if the subject may not use it.
        """
        device = self._repository.device(config)
        self._permissions.require_device(subject, Action.USE, device.id, config)
        return device

    async def _find_by_client_token(
        self, subject: str, client_token: str | None, request: msgspec.Struct
    ) -> Task | None:
        """Return the task that the subject created with this client token before, or None.

        A task is returned only once it is durable. Raises :class:`ConflictError` if the token was used for another
        request. If there is no such task, this method does not suspend: if the caller then submits its commit without
        suspending either, no concurrent request can use the same token.
        """
        existing_task = self.find_by_client_token(subject, client_token, request)
        if existing_task is not None:
            await self._repository.flush()
        return existing_task

    def find_by_client_token(self, subject: str, client_token: str | None, request: msgspec.Struct) -> Task | None:
        """Return the task that the subject created with this client token before, even if it is not durable yet.

        Raises :class:`ConflictError` if the token was used for another request.
        """
        if client_token is None:
            return None
        used_token = self._repository.get(TOKENS, f"{subject} {client_token}")
        if used_token is None:
            return None
        if used_token.request != _compute_request_digest(request):
            raise ConflictError(
                "This idempotency key was already used for a different request.", "Use a new key for a new request."
            )
        return self._repository.task(used_token.task_id)

    def _get_signing_key(self, kind: TaskKind, device: DeviceConfig) -> KeyInfo:
        """Return the key with which a task of this kind is signed.

        Raises :class:`InvalidKeyError` if its purpose does not allow the task, which the worker would reject.
        """
        key = self._repository.get(KEYS, device.signing.uri)
        if key is None:
            raise InvalidKeyError(f"The workspace has no record of the signing key {device.signing.uri}.")
        check_key_purpose(kind, device.signing.algorithm, key.purpose)
        return key

    def _check_message(self, device: DeviceConfig, request: SigningRequest) -> None:
        """Check that the configuration's key and algorithm may sign the message or digest.

        Raises :class:`UsageError` if the algorithm does not sign digests, :class:`InvalidKeyError` if the key's purpose
        does not allow it, and the errors of :func:`check_signing_input` and :func:`reject_container_start`.
        """
        algorithm = device.signing.algorithm
        takes_digest = SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST
        if request.is_digest and not takes_digest:
            raise UsageError(f"{algorithm} signs a message, not a digest.", Hint.of(HintCode.SUBMIT_MESSAGE))
        check_signing_input(algorithm, request.message)
        key = self._get_signing_key(TaskKind.SIGNING, device)
        check_message_limit(key.uri, key.capabilities, algorithm, len(request.message), "message")
        if not takes_digest:
            reject_container_start(request.message)

    # ---- creation

    def _build_task(
        self,
        subject: str,
        request: TaskRequest,
        kind: TaskKind,
        device: DeviceConfig,
        *,
        name: str,
        inputs: tuple[InputFile, ...],
        metadata: tuple[InputFile, ...] = (),
        **fields: object,
    ) -> Task:
        """Return a new task. ``fields`` are the fields that depend on the kind of task.

        Raises :class:`UsageError` if the name, content type or justification is too long or the task to replace cannot
        be resubmitted, :class:`NotFoundError` if that task does not exist or the subject may not view it, and
        :class:`InvalidInputError` if a file name is too long.
        """
        now = self._repository.clock.now()
        policy = self._repository.policy()
        if len(name) > MAX_NAME_LENGTH:
            raise UsageError(f"A task name can have at most {MAX_NAME_LENGTH} characters.", "Choose a shorter name.")
        if len(request.content_type) > MAX_CONTENT_TYPE_LENGTH:
            raise UsageError(
                f"A content type can have at most {MAX_CONTENT_TYPE_LENGTH} characters.", "Shorten the content type."
            )
        for file in (*inputs, *metadata):
            check_name_length(file.name)
        task = Task(
            id=self._generate_unused_id(),
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
            content_type=request.content_type,
            client_token=request.client_token,
            justification=validate_justification(request.justification or ""),
            resubmission_of=self._find_resubmitted_id(subject, request),
            approvals_required=device.approvals_required if kind in policy.requires_approval else 0,
            self_approved=policy.allow_self_approval,
            history=(StatusChange(status=TaskStatus.CREATED, at=now),),
            **fields,  # type: ignore[arg-type]
        )
        return msgspec.structs.replace(task, approval_digest=approval_digest(task))

    def _find_resubmitted_id(self, subject: str, request: TaskRequest) -> str | None:
        """Return the id of the task that the new one replaces, or None. Raises the errors of :meth:`_build_task`."""
        if not request.resubmission_of:
            return None
        earlier_task = self._queries.get(subject, request.resubmission_of)
        if earlier_task.status not in RESUBMITTABLE_STATUSES:
            raise UsageError(
                f"Task {earlier_task.id} cannot be submitted again: it is {earlier_task.status}.",
                "Only tasks that were rejected, withdrawn or cancelled, or that failed, can be submitted again.",
            )
        return earlier_task.id

    def _generate_unused_id(self) -> str:
        while self._repository.get(TASKS, task_id := new_id()) is not None:
            pass
        return task_id

    def _add_repetition_warning(self, task: Task) -> Task:
        warning = repetition_warning(find_last_release(self._repository, task.config_id), task)
        return msgspec.structs.replace(task, warnings=(warning, *task.warnings)) if warning else task

    def _add_subtasks(self, task: Task) -> Task:
        """Return the task with added subtasks: one for each firmware file, and one for the signature of the header."""
        encryptions = tuple(
            Subtask(id=f"{task.id}.{number}", kind=TaskKind.ENCRYPTION, status=TaskStatus.CREATED, name=file.name)
            for number, file in enumerate(task.inputs, 1)
        )
        signing = Subtask(
            id=f"{task.id}.{len(task.inputs) + 1}", kind=TaskKind.SIGNING, status=TaskStatus.WAITING, name="header"
        )
        return msgspec.structs.replace(task, subtasks=(*encryptions, signing))

    async def _commit_task(self, task: Task, request: msgspec.Struct) -> Task:
        """Commit the task with its client token, submit it, and return it.

        A signing task is submitted in the same commit, and returned as submitted. All other tasks are submitted in a
        second commit, and returned as CREATED.
        """
        if existing_task := await self._find_by_client_token(task.created_by, task.client_token, request):
            self._inputs.discard(task.inputs)
            return existing_task
        stored_task = task
        if task.kind is TaskKind.SIGNING:
            stored_task = advance(task, self._auto_transitions.build_submission(), self._repository.clock.now())
        unit_of_work = self._repository.begin()
        if task.client_token is not None:
            stored_token = StoredClientToken(task_id=task.id, request=_compute_request_digest(request))
            unit_of_work.put(TOKENS, f"{task.created_by} {task.client_token}", stored_token)
        audit_creation(unit_of_work, task)
        unit_of_work.create_task(stored_task)
        claimed_digests = self._inputs.acquire(task)
        try:
            await unit_of_work.commit()
        except SealyardError:
            self._inputs.undo_acquire(task, claimed_digests)
            raise
        if stored_task is task:
            await self._auto_transitions.advance_or_defer(task.id)
        return add_task_warnings(self._repository, stored_task)


def _describe_message(request: SigningRequest) -> InputFile:
    """Return the message as an input file, with its content if it is short; a longer one is stored separately."""
    name = request.file_name or ("digest" if request.is_digest else "message")
    check_name_length(name)
    is_short = len(request.message) <= MAX_INLINE_BYTES
    return InputFile(
        name=to_utf8_name(name),
        size=len(request.message),
        sha256=hashlib.sha256(request.message).hexdigest(),
        inline=base64.b64encode(request.message).decode() if is_short else None,
    )


def _build_package_layout(device: DeviceConfig, request: PackageRequest, key_kind: KeyType) -> PackageLayout:
    """Return the package data that the container format checks: algorithms, and names and sizes of the files."""
    if not request.firmware:
        raise InvalidInputError("A package needs at least one firmware file.", Hint.of(HintCode.ADD_FIRMWARE))
    return PackageLayout(
        encryption=device.encryption.algorithm,
        signing=device.signing.algorithm,
        signing_key_kind=key_kind,
        firmware=tuple((file.name, file.size) for file in request.firmware),
        metadata=tuple((file.name, file.size) for file in request.metadata),
    )


def _compute_request_digest(request: msgspec.Struct) -> str:
    """Return the SHA-256 (hex) of a request, to recognize another request with the same client token."""
    return hashlib.sha256(canonical_json(request)).hexdigest()
