"""Use cases of device configurations.

A device configuration is created together with its keys and access rules. Its versions never change: an update creates
the next version.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from sealyard.containers.registry import get_format
from sealyard.engine.devices.certificates import add_certificate_state, find_version
from sealyard.engine.devices.config_keys import ConfigKeys, validate_key_requests
from sealyard.engine.devices.external_keys import ExternalKeys
from sealyard.engine.devices.keys import KeyRegistry
from sealyard.engine.state.ids import new_id
from sealyard.engine.state.permissions import EffectivePermissions, Permissions, evaluate
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.subjects import require_active
from sealyard.engine.state.tables import DEVICE_VERSIONS, DEVICES, RULES, version_id
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import (
    ACCESS_LIST_ACTIONS,
    AccessList,
    AclRule,
    Action,
    ResourceType,
    device_resource,
    parse_subject,
    resource_type_uri,
)
from sealyard.model.approval import can_reach_quorum
from sealyard.model.audit import AuditAction
from sealyard.model.device_configs import DeviceCertificate, DeviceConfig, EncryptionKey, KeyRole, SigningKey
from sealyard.model.errors import AlreadyExistsError, NotFoundError, UsageError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.key_uris import KEY_NAME
from sealyard.model.keys import KeyInfo, KeyVersion
from sealyard.model.requests import CertificateContent, DeviceRequest, DeviceUpdate, ExportedKey

MAX_PERIOD = timedelta(days=3650)
"""Longest link lifetime and retention period of a configuration."""


class DeviceConfigs:
    """Creates, updates and lists device configurations, and rotates, renews and exports their keys."""

    def __init__(
        self, repository: Repository, permissions: Permissions, keys: KeyRegistry, external_keys: ExternalKeys
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._keys = keys
        self._config_keys = ConfigKeys(repository, permissions, keys, external_keys)

    def list_configs(self, subject: str) -> tuple[DeviceConfig, ...]:
        """Return the newest version of every configuration that ``subject`` may see, sorted by name."""
        devices = (device for device in self._repository.list_all(DEVICES) if self._may_see(subject, device))
        return tuple(
            add_certificate_state(self._repository, device, with_generated=False)
            for device in sorted(devices, key=lambda device: device.name)
        )

    def get(self, subject: str, config: str, version: int | None = None) -> DeviceConfig:
        """Return a version of the configuration with the id or name ``config``, by default the newest.

        Raises :class:`NotFoundError` if the configuration or the version does not exist, or if ``subject`` may not see
        the configuration.
        """
        newest_config = self._repository.device(config)
        self._permissions.require_device(subject, Action.VIEW, newest_config.id, config)
        device = newest_config if version is None else self._repository.device(newest_config.id, version)
        return add_certificate_state(self._repository, device)

    def access_lists(self, subject: str, config_ids: Iterable[str]) -> dict[str, AccessList]:
        """Return who may view, use and approve each of the given configurations that ``subject`` may view.

        Subjects whose rules apply to all configurations are included.
        """
        type_resource = resource_type_uri(ResourceType.DEVICE_CONFIG)
        subjects: defaultdict[tuple[str, Action], dict[str, None]] = defaultdict(dict)
        for rule in self._repository.list_all(RULES):
            subjects[rule.resource, rule.action][rule.subject] = None
        return {
            config_id: {
                action: tuple(subjects[device_resource(config_id), action] | subjects[type_resource, action])
                for action in ACCESS_LIST_ACTIONS
            }
            for config_id in config_ids
            if self._permissions.is_allowed(subject, Action.VIEW, device_resource(config_id))
        }

    async def create(self, subject: str, request: DeviceRequest) -> DeviceConfig:
        """Create a configuration with its access rules, and generate each key for which the request names none.

        Keys of tokens and key services that the workspace does not have yet are registered.

        Raises :class:`UsageError` if a value is out of range or the approvers cannot reach the quorum,
        :class:`AlreadyExistsError` if the name is in use, :class:`InvalidKeyError` if a key does not fit its algorithm,
        :class:`NotFoundError` if a subject or key in the request does not exist, and :class:`PermissionDeniedError` if
        ``subject`` may not create configurations or may not reuse a key.
        """
        self._permissions.require_type(subject, Action.CREATE, ResourceType.DEVICE_CONFIG)
        self._validate_request(request)
        keys = await self._config_keys.check(subject, request)
        config_id = new_id()
        now = self._repository.clock.now()
        rules = self._build_rules(subject, request, config_id, now)
        self._require_quorum(config_id, request.name, request.approvals_required, rules)
        unit_of_work = self._repository.begin()
        encryption_keys, signing_keys = await self._config_keys.resolve(unit_of_work, subject, keys)
        device = self._config_keys.with_warnings(
            unit_of_work,
            DeviceConfig(
                id=config_id,
                version=1,
                name=request.name,
                encryption_keys=encryption_keys,
                signing_keys=signing_keys,
                format=request.format,
                approvals_required=request.approvals_required,
                link_ttl_seconds=request.link_ttl_seconds,
                retention_seconds=request.retention_seconds,
                created_by=subject,
                created_at=now,
                description=request.description,
            ),
        )
        self._require_unused_name(request.name)
        self._add_version(unit_of_work, device, subject, AuditAction.CREATED)
        for rule in rules:
            unit_of_work.put(RULES, rule.id, rule)
            unit_of_work.audit(
                subject,
                AuditAction.CREATED,
                f"ACL:{rule.id}",
                f"{rule.action} on {ResourceType.DEVICE_CONFIG}:{device.name} granted to {rule.subject}",
                msgspec.to_builtins(rule),
            )
        await unit_of_work.commit()
        return add_certificate_state(self._repository, device)

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
        return add_certificate_state(self._repository, next_config)

    async def rotate_key(self, subject: str, uri: str) -> KeyInfo:
        """Create the next version of a key, and of every configuration whose newest version uses the key."""
        unit_of_work = self._repository.begin()
        key = await self._keys.rotate(unit_of_work, subject, uri)
        self._update_configs(unit_of_work, key, subject)
        await unit_of_work.commit()
        return key

    async def import_certificate(self, subject: str, request: CertificateContent) -> KeyInfo:
        """Create the next version of a signing key with the same private key and the certificate in ``request``.

        Also creates the next version of every configuration whose newest version uses the key. Existing tasks keep the
        version of the key, and so the certificate, that they were created with. See
        :meth:`KeyRegistry.import_certificate` for the errors.
        """
        unit_of_work = self._repository.begin()
        key = await self._keys.import_certificate(unit_of_work, subject, request)
        self._update_configs(unit_of_work, key, subject)
        await unit_of_work.commit()
        return key

    async def export_key(
        self, subject: str, config: str, *, encryption_key: str | None = None, confirmed: bool
    ) -> ExportedKey:
        """Return a symmetric key of the configuration's newest version, for provisioning devices.

        ``encryption_key``: name or URI of the key; by default the first one. Raises
        :class:`ConfirmationRequiredError` if the export is not ``confirmed``.
        """
        device = self._repository.device(config)
        self._permissions.require_device(subject, Action.EXPORT, device.id, config)
        key = device.encryption if encryption_key is None else device.find_encryption_key(encryption_key)
        return await self._keys.export(subject, device, key, confirmed=confirmed)

    def next_version(self, unit_of_work: UnitOfWork, device: DeviceConfig, subject: str) -> DeviceConfig:
        """Create the version that follows ``device``, with the current versions of its keys, and return it.

        The new version is added to ``unit_of_work``, which the caller commits.
        """
        next_config = msgspec.structs.replace(
            device,
            version=device.version + 1,
            created_by=subject,
            created_at=self._repository.clock.now(),
        )
        next_config = self._config_keys.with_current_versions(unit_of_work, next_config)
        next_config = self._config_keys.with_warnings(unit_of_work, next_config)
        self._add_version(unit_of_work, next_config, subject, AuditAction.UPDATED)
        return next_config

    def certificates(self, subject: str, config: str, version: int | None = None) -> tuple[DeviceCertificate, ...]:
        """Return the certificates of the keys of a configuration, by default those of its newest version, with chains.

        Symmetric keys have no certificate. Raises :class:`NotFoundError` if the configuration or its version does not
        exist, or if the certificate of a signing key is missing.
        """
        device = self.get(subject, config, version)
        certificates = []
        for role, keys in ((KeyRole.ENCRYPTION, device.encryption_keys), (KeyRole.SIGNING, device.signing_keys)):
            for key in keys:
                key_version = find_version(self._repository, key)
                if key_version is not None and key_version.certificate is not None:
                    certificates.append(_build_certificate(role, key, key_version))
                elif role is KeyRole.SIGNING:
                    raise NotFoundError(f"The workspace has no certificate for {key.uri}.")
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
        validate_key_requests(request)
        _validate_limits(request.approvals_required, request.link_ttl_seconds, request.retention_seconds)
        get_format(request.format)

    def _require_unused_name(self, name: str) -> None:
        if any(device.name == name for device in self._repository.list_all(DEVICES)):
            raise AlreadyExistsError(
                f"Device configuration {name} already exists.", "Choose another name, or create a new version of it."
            )

    def _require_quorum(self, config_id: str, name: str, approvals_required: int, rules: tuple[AclRule, ...]) -> None:
        permissions = evaluate(self._repository, rules=(*self._repository.list_all(RULES), *rules))
        if not self._can_reach_quorum(permissions, config_id, approvals_required):
            raise UsageError(
                f"{name} has too few approvers: for each requester, {approvals_required} other"
                f" {'user' if approvals_required == 1 else 'users'} must be able to approve.",
                Hint.of(HintCode.ADD_APPROVERS),
            )

    def _can_reach_quorum(self, permissions: EffectivePermissions, config_id: str, approvals_required: int) -> bool:
        if self._repository.policy().allow_self_approval:
            return len(permissions.approvers(config_id)) >= approvals_required
        return can_reach_quorum(approvals_required, permissions.approvers(config_id), permissions.requesters(config_id))

    # ---- helpers

    def _update_configs(self, unit_of_work: UnitOfWork, key: KeyInfo, subject: str) -> None:
        """Create the next version of every configuration whose newest version uses ``key``."""
        for device in self._config_keys.configs_using_key(key.uri):
            self.next_version(unit_of_work, device, subject)

    def _build_rules(self, subject: str, request: DeviceRequest, config_id: str, now: datetime) -> tuple[AclRule, ...]:
        approvers = request.approve or (subject,)
        grants = [(parse_subject(viewer), Action.VIEW) for viewer in request.view]
        grants += [(parse_subject(user), Action.USE) for user in request.use]
        grants += [(parse_subject(approver), Action.APPROVE) for approver in approvers]
        for grantee, _ in grants:
            require_active(self._repository, grantee)
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

    def _add_version(self, unit_of_work: UnitOfWork, device: DeviceConfig, subject: str, change: AuditAction) -> None:
        previous = self._repository.get(DEVICES, device.id)
        unit_of_work.put(DEVICES, device.id, device)
        unit_of_work.put(DEVICE_VERSIONS, version_id(device.id, device.version), device)
        resource = device_resource(device.id)
        unit_of_work.audit(
            subject,
            change,
            resource,
            f"{device.name} version {device.version}",
            msgspec.to_builtins(device),
            old_value=msgspec.to_builtins(previous) if previous is not None else None,
        )
        unit_of_work.notify(resource)

    def _may_see(self, subject: str, device: DeviceConfig) -> bool:
        return self._permissions.is_allowed(subject, Action.VIEW, device_resource(device.id))


def _build_certificate(role: KeyRole, key: EncryptionKey | SigningKey, version: KeyVersion) -> DeviceCertificate:
    assert version.certificate is not None
    return DeviceCertificate(
        kind=role,
        name=key.name,
        uri=key.uri,
        version=key.version,
        algorithm=key.algorithm,
        certificate=version.certificate,
        issuers=version.issuer_certificates,
    )


def _validate_limits(approvals: int, link_seconds: int, retention_seconds: int) -> None:
    if not 1 <= approvals <= 20:  # noqa: PLR2004 - more approvers than any organization has
        raise UsageError("A configuration must require 1 to 20 approvals.")
    max_seconds = int(MAX_PERIOD.total_seconds())
    if not 1 <= link_seconds <= max_seconds or not 1 <= retention_seconds <= max_seconds:
        raise UsageError("Link lifetime and retention must be between one second and ten years.")
