"""Use cases of device configurations.

A device configuration is created together with its keys and access rules. Its versions never change: an update creates
the next version.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from sealyard.containers.registry import get_format
from sealyard.crypto.algorithms import CIPHERS, SIGNATURES
from sealyard.engine.devices.certificates import add_device_warnings
from sealyard.engine.devices.keys import KeyRegistry
from sealyard.engine.state.ids import new_id
from sealyard.engine.state.permissions import EffectivePermissions, Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import DEVICE_VERSIONS, DEVICES, KEYS, MEMBERSHIPS, RULES, SUBJECTS, version_id
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import AclRule, Action, ResourceType, device_resource, parse_subject, resource_type_uri
from sealyard.model.approval import can_reach_quorum
from sealyard.model.audit import AuditAction
from sealyard.model.device_configs import DeviceConfig, EncryptionKey, SigningKey
from sealyard.model.errors import ConflictError, InvalidKeyError, NotFoundError, PermissionDeniedError, UsageError
from sealyard.model.keys import KEY_NAME, KeyInfo
from sealyard.model.requests import DeviceRequest, DeviceUpdate

MAX_PERIOD = timedelta(days=3650)
"""Longest link lifetime and retention period of a configuration."""

DUAL_USE_WARNING = (
    "This signing key is used for both packages and signing tasks. Use separate keys so a signature can never be"
    " mistaken for a package signature."
)


class DeviceConfigs:
    """Creates, updates and lists device configurations, and rotates and exports their keys."""

    def __init__(self, repository: Repository, permissions: Permissions, keys: KeyRegistry) -> None:
        self._repository = repository
        self._permissions = permissions
        self._keys = keys

    def list_configs(self, subject: str) -> tuple[DeviceConfig, ...]:
        """Return the newest version of every configuration that ``subject`` may see, sorted by name."""
        devices = (device for device in self._repository.list_all(DEVICES) if self._may_see(subject, device))
        return tuple(
            add_device_warnings(self._repository, device) for device in sorted(devices, key=lambda device: device.name)
        )

    def get(self, subject: str, config: str, version: int | None = None) -> DeviceConfig:
        """Return a version of the configuration with the id or name ``config``, by default the newest.

        Raises :class:`NotFoundError` if the configuration or the version does not exist, or if ``subject`` may not see
        the configuration.
        """
        newest_config = self._repository.device(config)
        self._permissions.require_device(subject, Action.VIEW, newest_config.id, config)
        device = newest_config if version is None else self._repository.device(newest_config.id, version)
        return add_device_warnings(self._repository, device)

    async def create(self, subject: str, request: DeviceRequest) -> DeviceConfig:
        """Create a configuration with its access rules, and generate each key for which the request names none.

        Raises :class:`UsageError` if a value is out of range or the approvers cannot reach the quorum,
        :class:`ConflictError` if the name is in use, :class:`InvalidKeyError` if a key does not fit its algorithm,
        :class:`NotFoundError` if a subject or key in the request does not exist, and :class:`PermissionDeniedError` if
        ``subject`` may not create configurations or may not reuse a key.
        """
        self._permissions.require_type(subject, Action.CREATE, ResourceType.DEVICE_CONFIG)
        self._validate_request(request)
        self._require_key_access(subject, request)
        config_id = new_id()
        now = self._repository.clock.now()
        rules = self._build_rules(subject, request, config_id, now)
        self._require_quorum(config_id, request.name, request.approvals_required, rules)
        unit_of_work = self._repository.begin()
        encryption = await self._resolve_encryption_key(unit_of_work, subject, request)
        signing = await self._resolve_signing_key(unit_of_work, subject, request)
        device = self._add_warnings(
            DeviceConfig(
                id=config_id,
                version=1,
                name=request.name,
                encryption_keys=(encryption,),
                signing_keys=(signing,),
                format=request.format,
                approvals_required=request.approvals_required,
                link_ttl_seconds=request.link_ttl_seconds,
                retention_seconds=request.retention_seconds,
                created_by=subject,
                created_at=now,
                description=request.description,
            ),
            unit_of_work,
        )
        self._require_unused_name(request.name)
        self._add_version(unit_of_work, device, subject, AuditAction.CREATED)
        for rule in rules:
            unit_of_work.put(RULES, rule.id, rule)
            unit_of_work.audit(
                subject,
                AuditAction.CREATED,
                f"ACL:{rule.id}",
                f"{rule.action} on {rule.resource} granted to {rule.subject}",
                msgspec.to_builtins(rule),
            )
        await unit_of_work.commit()
        return add_device_warnings(self._repository, device)

    async def update(self, subject: str, request: DeviceUpdate) -> DeviceConfig:
        """Create the next version of a configuration, with the changes of the request.

        The new version also uses the current versions of the configuration's keys.
        """
        device = self._repository.device(request.config)
        self._permissions.require_device(subject, Action.UPDATE, device.id, request.config)
        changes = {
            field: value
            for field in ("approvals_required", "format", "link_ttl_seconds", "retention_seconds", "description")
            if (value := getattr(request, field)) is not None
        }
        changed_config = msgspec.structs.replace(device, **changes)
        _validate_limits(
            changed_config.approvals_required, changed_config.link_ttl_seconds, changed_config.retention_seconds
        )
        get_format(changed_config.format)
        self._require_quorum(device.id, device.name, changed_config.approvals_required, ())
        unit_of_work = self._repository.begin()
        next_config = self.next_version(unit_of_work, changed_config, subject)
        await unit_of_work.commit()
        return add_device_warnings(self._repository, next_config)

    async def rotate_key(self, subject: str, uri: str) -> KeyInfo:
        """Create the next version of a key, and of every configuration whose newest version uses the key."""
        unit_of_work = self._repository.begin()
        key = await self._keys.rotate(unit_of_work, subject, uri)
        for device in self.configs_using_key(key.uri):
            self.next_version(unit_of_work, device, subject)
        await unit_of_work.commit()
        return key

    async def export_key(self, subject: str, config: str, path: Path, *, confirmed: bool) -> Path:
        """Write the symmetric key of the configuration's newest version to a new file, for provisioning devices.

        Raises :class:`ConfirmationRequiredError` if the export is not ``confirmed``.
        """
        device = self._repository.device(config)
        self._permissions.require_device(subject, Action.EXPORT, device.id, config)
        return await self._keys.export(subject, device, path, confirmed=confirmed)

    def next_version(self, unit_of_work: UnitOfWork, device: DeviceConfig, subject: str) -> DeviceConfig:
        """Create the version that follows ``device``, with the current versions of its keys, and return it.

        The new version is added to ``unit_of_work``, which the caller commits.
        """
        next_config = msgspec.structs.replace(
            device,
            version=device.version + 1,
            encryption_keys=tuple(
                msgspec.structs.replace(key, version=self._get_current_version(unit_of_work, key.uri))
                for key in device.encryption_keys
            ),
            signing_keys=tuple(
                msgspec.structs.replace(key, version=self._get_current_version(unit_of_work, key.uri))
                for key in device.signing_keys
            ),
            created_by=subject,
            created_at=self._repository.clock.now(),
        )
        next_config = self._add_warnings(next_config, unit_of_work)
        self._add_version(unit_of_work, next_config, subject, AuditAction.UPDATED)
        return next_config

    def configs_using_key(self, uri: str) -> tuple[DeviceConfig, ...]:
        """Return the configurations whose newest version uses the key."""
        return tuple(device for device in self._repository.list_all(DEVICES) if uri in device.key_uris)

    def certificates(self, subject: str, config: str) -> tuple[tuple[str, str], ...]:
        """Return the name and PEM text of each signing certificate of a configuration.

        Raises :class:`NotFoundError` if the configuration or a certificate does not exist.
        """
        device = self.get(subject, config)
        certificates = []
        for key in device.signing_keys:
            key_info = self._repository.get(KEYS, key.uri)
            key_version = key_info.version(key.version) if key_info is not None else None
            if key_version is None or key_version.certificate is None:
                raise NotFoundError(f"The workspace has no certificate of {key.uri}.")
            certificates.append((f"{key.uri} v{key.version}", key_version.certificate))
        return tuple(certificates)

    def configs_without_quorum(self, permissions: EffectivePermissions) -> tuple[DeviceConfig, ...]:
        """Return the configurations whose tasks could not get enough approvals with the given permissions."""
        return tuple(
            device
            for device in self._repository.list_all(DEVICES)
            if not self._can_reach_quorum(permissions, device.id, device.approvals_required)
        )

    # ---- checks

    def _validate_request(self, request: DeviceRequest) -> None:
        if not KEY_NAME.fullmatch(request.name) or len(request.name) > 48:  # noqa: PLR2004 - leaves room for the suffixes of key names
            raise UsageError(
                "Invalid configuration name: it can have up to 48 lowercase letters, digits, '.', '_' and '-'.",
                "Use a name like gateway-v2.",
            )
        self._require_unused_name(request.name)
        _validate_limits(request.approvals_required, request.link_ttl_seconds, request.retention_seconds)
        get_format(request.format)

    def _require_key_access(self, subject: str, request: DeviceRequest) -> None:
        """Raise :class:`PermissionDeniedError` if ``subject`` may not reuse an existing key that the request names.

        The creator of a configuration chooses its users and approvers, and so controls what its keys sign. Without this
        check, a subject without permissions for a product could create a configuration with the product's keys, and
        sign for that product. Must be called before keys are generated.
        """
        for uri in (request.encryption_key, request.signing_key):
            if uri is not None and not self._may_use_key(subject, key := self._keys.get_visible(subject, uri)):
                raise PermissionDeniedError(
                    f"{subject} does not have permission to use {key.uri} in a new configuration.",
                    "Ask for UPDATE permission on keys or on all configurations with this key, or generate a new key.",
                )

    def _may_use_key(self, subject: str, key: KeyInfo) -> bool:
        if self._permissions.is_allowed(subject, Action.UPDATE, resource_type_uri(ResourceType.KEY)):
            return True
        devices = self.configs_using_key(key.uri)
        if not devices:
            return key.created_by == subject
        return all(
            self._permissions.is_allowed(subject, Action.UPDATE, device_resource(device.id)) for device in devices
        )

    def _require_unused_name(self, name: str) -> None:
        if any(device.name == name for device in self._repository.list_all(DEVICES)):
            raise ConflictError(
                f"Device configuration {name} already exists.", "Choose another name, or create a new version of it."
            )

    def _require_quorum(self, config_id: str, name: str, approvals_required: int, rules: tuple[AclRule, ...]) -> None:
        permissions = EffectivePermissions(
            (subject.id for subject in self._repository.list_all(SUBJECTS)),
            self._repository.list_all(MEMBERSHIPS),
            (*self._repository.list_all(RULES), *rules),
        )
        if not self._can_reach_quorum(permissions, config_id, approvals_required):
            raise UsageError(
                f"{name} has too few approvers: for each requester, {approvals_required} other"
                f" {'user' if approvals_required == 1 else 'users'} must be able to approve.",
                "Add more approvers (--approve), other than the users of the configuration.",
            )

    def _can_reach_quorum(self, permissions: EffectivePermissions, config_id: str, approvals_required: int) -> bool:
        if self._repository.policy().allow_self_approval:
            return len(permissions.approvers(config_id)) >= approvals_required
        return can_reach_quorum(approvals_required, permissions.approvers(config_id), permissions.requesters(config_id))

    # ---- helpers

    def _build_rules(self, subject: str, request: DeviceRequest, config_id: str, now: datetime) -> tuple[AclRule, ...]:
        approvers = request.approve or (subject,)
        grants = [(parse_subject(user), Action.USE) for user in request.use]
        grants += [(parse_subject(approver), Action.APPROVE) for approver in approvers]
        for grantee, _ in grants:
            if self._repository.get(SUBJECTS, grantee) is None:
                raise NotFoundError(f"Subject {grantee} not found.", f"Add it first: sealyard subject add {grantee}")
        return tuple(
            AclRule(
                id=new_id(),
                subject=grantee,
                resource=device_resource(config_id),
                action=action,
                created_by=subject,
                created_at=now,
            )
            for grantee, action in grants
        )

    async def _resolve_encryption_key(
        self, unit_of_work: UnitOfWork, subject: str, request: DeviceRequest
    ) -> EncryptionKey:
        kind = CIPHERS[request.encryption].key_kind
        if request.encryption_key is None:
            name = f"{request.name}-encryption"
            key = await self._keys.generate(unit_of_work, name, kind, request.purpose, subject)
        else:
            key = self._keys.get(request.encryption_key)
        if key.kind is not kind:
            raise InvalidKeyError(f"{request.encryption} requires a key of type {kind}; {key.uri} is {key.kind}.")
        return EncryptionKey(algorithm=request.encryption, uri=key.uri, version=key.current.version)

    async def _resolve_signing_key(self, unit_of_work: UnitOfWork, subject: str, request: DeviceRequest) -> SigningKey:
        spec = SIGNATURES[request.signing]
        if request.signing_key is None:
            name = f"{request.name}-signing"
            key = await self._keys.generate(unit_of_work, name, spec.default_key_kind, request.purpose, subject)
        else:
            key = self._keys.get(request.signing_key)
        if key.kind not in spec.key_kinds:
            raise InvalidKeyError(
                f"{request.signing} requires a key of type {' or '.join(spec.key_kinds)}; {key.uri} is {key.kind}."
            )
        return SigningKey(algorithm=request.signing, uri=key.uri, version=key.current.version)

    def _add_warnings(self, device: DeviceConfig, unit_of_work: UnitOfWork) -> DeviceConfig:
        """Return the configuration with the warnings that users see about its algorithms and keys."""
        warnings = [*CIPHERS[device.encryption.algorithm].caveats, *SIGNATURES[device.signing.algorithm].caveats]
        if self._keys.get_uncommitted(unit_of_work, device.signing.uri).purpose == "both":
            warnings.append(DUAL_USE_WARNING)
        return msgspec.structs.replace(device, warnings=tuple(warnings))

    def _get_current_version(self, unit_of_work: UnitOfWork, uri: str) -> int:
        return self._keys.get_uncommitted(unit_of_work, uri).current.version

    def _add_version(self, unit_of_work: UnitOfWork, device: DeviceConfig, subject: str, change: AuditAction) -> None:
        unit_of_work.put(DEVICES, device.id, device)
        unit_of_work.put(DEVICE_VERSIONS, version_id(device.id, device.version), device)
        resource = device_resource(device.id)
        unit_of_work.audit(
            subject, change, resource, f"{device.name} version {device.version}", msgspec.to_builtins(device)
        )
        unit_of_work.notify(resource)

    def _may_see(self, subject: str, device: DeviceConfig) -> bool:
        return self._permissions.is_allowed(subject, Action.VIEW, device_resource(device.id))


def _validate_limits(approvals: int, link_seconds: int, retention_seconds: int) -> None:
    if not 1 <= approvals <= 20:  # noqa: PLR2004 - more approvers than any organization has
        raise UsageError("A configuration must require 1 to 20 approvals.")
    max_seconds = int(MAX_PERIOD.total_seconds())
    if not 1 <= link_seconds <= max_seconds or not 1 <= retention_seconds <= max_seconds:
        raise UsageError("Link lifetime and retention must be between one second and ten years.")
