"""Device configurations: made with their keys and rules at once, never changed, only followed by new versions."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from sealyard.containers.registry import get_format
from sealyard.crypto.algorithms import CIPHERS, SIGNATURES
from sealyard.engine.devices.keys import KeyRegistry
from sealyard.engine.state.ids import new_id
from sealyard.engine.state.permissions import EffectivePermissions, Permissions
from sealyard.engine.state.repository import Repository, UnitOfWork
from sealyard.engine.state.tables import DEVICE_VERSIONS, DEVICES, KEYS, MEMBERSHIPS, RULES, SUBJECTS, version_id
from sealyard.model.access import AclRule, Action, ResourceType, device_resource, parse_subject, resource_type_uri
from sealyard.model.approval import can_reach_quorum
from sealyard.model.audit import AuditAction
from sealyard.model.device_configs import DeviceConfig, EncryptionKey, SigningKey
from sealyard.model.errors import ConflictError, InvalidKeyError, NotFoundError, PermissionDeniedError, UsageError
from sealyard.model.keys import KEY_NAME, KeyInfo
from sealyard.model.requests import DeviceRequest, DeviceUpdate

LONGEST_PERIOD = timedelta(days=3650)
DUAL_USE_WARNING = (
    "The signing key serves packages and signing tasks alike; keys of one purpose each keep a signing task from"
    " ever being taken for a package."
)


class DeviceConfigs:
    """What product owners set up."""

    def __init__(self, ledger: Repository, rights: Permissions, keychain: KeyRegistry) -> None:
        self._ledger = ledger
        self._rights = rights
        self._keychain = keychain

    def list_configs(self, subject: str) -> tuple[DeviceConfig, ...]:
        found = (each for each in self._ledger.list_all(DEVICES) if self._may_see(subject, each))
        return tuple(sorted(found, key=lambda each: each.name))

    def get(self, subject: str, config: str, version: int | None = None) -> DeviceConfig:
        newest = self._ledger.device(config)
        self._rights.require_device(subject, Action.VIEW, newest.id, config)
        return newest if version is None else self._ledger.device(newest.id, version)

    async def create(self, subject: str, request: DeviceRequest) -> DeviceConfig:
        self._rights.require_type(subject, Action.CREATE, ResourceType.DEVICE_CONFIG)
        self._check(request)
        self._require_keys(subject, request)
        config_id = new_id()
        now = self._ledger.clock.now()
        rules = self._rules(subject, request, config_id, now)
        self._check_quorum(config_id, request.name, request.approvals_required, rules)
        draft = self._ledger.begin()
        encryption = await self._encryption_key(draft, subject, request)
        signing = await self._signing_key(draft, subject, request)
        device = self._with_warnings(
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
            draft,
        )
        self._require_free_name(request.name)
        self._put(draft, device, subject, AuditAction.CREATED)
        for rule in rules:
            draft.put(RULES, rule.id, rule)
            draft.audit(
                subject,
                AuditAction.CREATED,
                f"ACL:{rule.id}",
                f"{rule.subject} may {rule.action} {rule.resource}",
                msgspec.to_builtins(rule),
            )
        await draft.commit()
        return device

    async def update(self, subject: str, request: DeviceUpdate) -> DeviceConfig:
        """A new version; its keys go to their current versions."""
        device = self._ledger.device(request.config)
        self._rights.require_device(subject, Action.UPDATE, device.id, request.config)
        changes = {
            field: value
            for field in ("approvals_required", "format", "link_seconds", "retention_seconds", "description")
            if (value := getattr(request, field)) is not None
        }
        fresh = msgspec.structs.replace(device, **changes)
        _check_terms(fresh.approvals_required, fresh.link_ttl_seconds, fresh.retention_seconds)
        get_format(fresh.format)
        self._check_quorum(device.id, device.name, fresh.approvals_required, ())
        draft = self._ledger.begin()
        fresh = self.next_version(draft, fresh, subject)
        await draft.commit()
        return fresh

    async def rotate_key(self, subject: str, uri: str) -> KeyInfo:
        """The key's next version, and with it the next version of every configuration that names the key."""
        draft = self._ledger.begin()
        key = await self._keychain.rotate(draft, subject, uri)
        for device in self.configs_using_key(key.uri):
            self.next_version(draft, device, subject)
        await draft.commit()
        return key

    async def export_key(self, subject: str, config: str, path: Path, *, confirmed: bool) -> Path:
        """The symmetric key of the configuration's newest version, for provisioning devices."""
        device = self._ledger.device(config)
        self._rights.require_device(subject, Action.EXPORT, device.id, config)
        return await self._keychain.export(subject, device, path, confirmed=confirmed)

    def next_version(self, draft: UnitOfWork, device: DeviceConfig, subject: str) -> DeviceConfig:
        """Puts the version after ``device`` into the draft, with the newest versions of its keys."""
        fresh = msgspec.structs.replace(
            device,
            version=device.version + 1,
            encryption_keys=tuple(
                msgspec.structs.replace(each, version=self._current(draft, each.uri)) for each in device.encryption_keys
            ),
            signing_keys=tuple(
                msgspec.structs.replace(each, version=self._current(draft, each.uri)) for each in device.signing_keys
            ),
            created_by=subject,
            created_at=self._ledger.clock.now(),
        )
        fresh = self._with_warnings(fresh, draft)
        self._put(draft, fresh, subject, AuditAction.UPDATED)
        return fresh

    def configs_using_key(self, uri: str) -> tuple[DeviceConfig, ...]:
        """The configurations whose newest version names the key."""
        return tuple(each for each in self._ledger.list_all(DEVICES) if uri in each.key_uris)

    def certificates(self, subject: str, config: str) -> tuple[tuple[str, str], ...]:
        """Name and PEM of each signing certificate."""
        device = self.get(subject, config)
        found = []
        for key in device.signing_keys:
            info = self._ledger.get(KEYS, key.uri)
            version = info.version(key.version) if info is not None else None
            if version is None or version.certificate is None:
                raise NotFoundError(f"The certificate of {key.uri} is not on record.")
            found.append((f"{key.uri} v{key.version}", version.certificate))
        return tuple(found)

    def configs_without_quorum(self, access: EffectivePermissions) -> tuple[DeviceConfig, ...]:
        """The configurations that could not be approved for any more under ``access``."""
        return tuple(
            each
            for each in self._ledger.list_all(DEVICES)
            if not self._can_reach_quorum(access, each.id, each.approvals_required)
        )

    # ---- checks

    def _check(self, request: DeviceRequest) -> None:
        if not KEY_NAME.fullmatch(request.name) or len(request.name) > 48:  # noqa: PLR2004 - room for key names
            raise UsageError(
                "A configuration is named with up to 48 lower case letters, digits, '.', '_' and '-'.",
                "For instance gateway-v2.",
            )
        self._require_free_name(request.name)
        _check_terms(request.approvals_required, request.link_ttl_seconds, request.retention_seconds)
        get_format(request.format)

    def _require_keys(self, subject: str, request: DeviceRequest) -> None:
        """Of keys that are there, and before any other is made.

        Who makes a configuration chooses who asks and who approves, and so what its keys sign: who has no say in a
        product must not come to sign for it.
        """
        for uri in (request.encryption_key, request.signing_key):
            if uri is not None and not self._may_use_key(subject, key := self._keychain.get_visible(subject, uri)):
                raise PermissionDeniedError(
                    f"{subject} may not name {key.uri} in a configuration.",
                    "Ask for the right to UPDATE keys, or every configuration that uses it; or have a new key made.",
                )

    def _may_use_key(self, subject: str, key: KeyInfo) -> bool:
        if self._rights.is_allowed(subject, Action.UPDATE, resource_type_uri(ResourceType.KEY)):
            return True
        using = self.configs_using_key(key.uri)
        if not using:
            return key.created_by == subject
        return all(self._rights.is_allowed(subject, Action.UPDATE, device_resource(each.id)) for each in using)

    def _require_free_name(self, name: str) -> None:
        if any(each.name == name for each in self._ledger.list_all(DEVICES)):
            raise ConflictError(
                f"There is a device configuration {name} already.", "Take another name, or make a new version of it."
            )

    def _check_quorum(self, config_id: str, name: str, required: int, rules: tuple[AclRule, ...]) -> None:
        access = EffectivePermissions(
            (each.id for each in self._ledger.list_all(SUBJECTS)),
            self._ledger.list_all(MEMBERSHIPS),
            (*self._ledger.list_all(RULES), *rules),
        )
        if not self._can_reach_quorum(access, config_id, required):
            raise UsageError(
                f"{name} could not be approved for: {required} persons must be able to approve whoever asks,"
                " and nobody approves what they asked for.",
                "Name more approvers (--approve), or others than those who use it.",
            )

    def _can_reach_quorum(self, access: EffectivePermissions, config_id: str, required: int) -> bool:
        if self._ledger.policy().allow_self_approval:
            return len(access.approvers(config_id)) >= required
        return can_reach_quorum(required, access.approvers(config_id), access.requesters(config_id))

    # ---- parts

    def _rules(self, subject: str, request: DeviceRequest, config_id: str, now: datetime) -> tuple[AclRule, ...]:
        approvers = request.approve or (subject,)
        wanted = [(parse_subject(each), Action.USE) for each in request.use]
        wanted += [(parse_subject(each), Action.APPROVE) for each in approvers]
        for each, _ in wanted:
            if self._ledger.get(SUBJECTS, each) is None:
                raise NotFoundError(f"There is no subject {each}.", f"Add it first: sealyard subject add {each}")
        return tuple(
            AclRule(
                id=new_id(),
                subject=each,
                resource=device_resource(config_id),
                action=action,
                created_by=subject,
                created_at=now,
            )
            for each, action in wanted
        )

    async def _encryption_key(self, draft: UnitOfWork, subject: str, request: DeviceRequest) -> EncryptionKey:
        kind = CIPHERS[request.encryption].key_kind
        if request.encryption_key is None:
            name = f"{request.name}-encryption"
            key = await self._keychain.generate(draft, name, kind, request.purpose, subject)
        else:
            key = self._keychain.get(request.encryption_key)
        if key.kind is not kind:
            raise InvalidKeyError(f"{request.encryption} takes {kind}; {key.uri} is {key.kind}.")
        return EncryptionKey(algorithm=request.encryption, uri=key.uri, version=key.current.version)

    async def _signing_key(self, draft: UnitOfWork, subject: str, request: DeviceRequest) -> SigningKey:
        spec = SIGNATURES[request.signing]
        if request.signing_key is None:
            name = f"{request.name}-signing"
            key = await self._keychain.generate(draft, name, spec.default_key_kind, request.purpose, subject)
        else:
            key = self._keychain.get(request.signing_key)
        if key.kind not in spec.key_kinds:
            raise InvalidKeyError(f"{request.signing} takes {', '.join(spec.key_kinds)}; {key.uri} is {key.kind}.")
        return SigningKey(algorithm=request.signing, uri=key.uri, version=key.current.version)

    def _with_warnings(self, device: DeviceConfig, draft: UnitOfWork) -> DeviceConfig:
        """With the warnings that a person should see beside it."""
        warnings = [*CIPHERS[device.encryption.algorithm].caveats, *SIGNATURES[device.signing.algorithm].caveats]
        if self._keychain.get_in(draft, device.signing.uri).purpose == "both":
            warnings.append(DUAL_USE_WARNING)
        return msgspec.structs.replace(device, warnings=tuple(warnings))

    def _current(self, draft: UnitOfWork, uri: str) -> int:
        return self._keychain.get_in(draft, uri).current.version

    def _put(self, draft: UnitOfWork, device: DeviceConfig, subject: str, change: AuditAction) -> None:
        draft.put(DEVICES, device.id, device)
        draft.put(DEVICE_VERSIONS, version_id(device.id, device.version), device)
        resource = device_resource(device.id)
        draft.audit(subject, change, resource, f"{device.name} version {device.version}", msgspec.to_builtins(device))
        draft.notify(resource)

    def _may_see(self, subject: str, device: DeviceConfig) -> bool:
        return self._rights.is_allowed(subject, Action.VIEW, device_resource(device.id))


def _check_terms(approvals: int, link_seconds: int, retention_seconds: int) -> None:
    if not 1 <= approvals <= 20:  # noqa: PLR2004 - more people than anybody has
        raise UsageError("A configuration asks for 1 to 20 approvals.")
    longest = int(LONGEST_PERIOD.total_seconds())
    if not 1 <= link_seconds <= longest or not 1 <= retention_seconds <= longest:
        raise UsageError("Link time and retention are at least a second and at most ten years.")
