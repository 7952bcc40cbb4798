"""Keys as the workspace records them. The worker makes, opens and rotates them; here is only what may be known."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository, UnitOfWork
from sealyard.engine.state.tables import DEVICES, KEYS
from sealyard.jobs.bus import JobBus
from sealyard.model.access import Action, ResourceType, device_resource, resource_type_uri
from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.audit import AuditAction
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import ConfirmationRequiredError, ConflictError, NotFoundError, WorkerError
from sealyard.model.keys import KeyInfo, expiring_versions, parse_key_uri
from sealyard.model.requests import KeyImport
from sealyard.model.worker_messages import ExportKey, GenerateKey, ImportKey, RotateKey

MAX_LISTED_NAMES = 100


class KeyRegistry:
    """Everything about keys but their use."""

    def __init__(self, ledger: Repository, rights: Permissions, bus: JobBus) -> None:
        self._ledger = ledger
        self._rights = rights
        self._bus = bus

    def list_keys(self, subject: str) -> tuple[KeyInfo, ...]:
        self._rights.require_type(subject, Action.VIEW, ResourceType.KEY)
        return tuple(sorted(self._ledger.list_all(KEYS), key=lambda each: each.uri))

    def get(self, uri: str) -> KeyInfo:
        """Raises :class:`NotFoundError`."""
        found = self._ledger.get(KEYS, str(parse_key_uri(uri)))
        if found is None:
            raise _key_not_found(uri)
        return found

    def get_visible(self, subject: str, uri: str) -> KeyInfo:
        """As :meth:`known`; to who may not know of it, it does not exist."""
        found = self.get(uri)
        if not self._may_know(subject, found):
            raise _key_not_found(uri, refused=True)
        return found

    def get_in(self, draft: UnitOfWork, uri: str) -> KeyInfo:
        """The key as it will be once the draft is committed."""
        for table, identity, document in draft.puts:
            if (table, identity) == (KEYS.name, uri):
                return msgspec.json.decode(document, type=KeyInfo)
        return self.get(uri)

    def warnings(self, subject: str, now: datetime) -> tuple[str, ...]:
        """Of certificates that end within 30 days, for those keys that are current, of what the subject may see."""
        return tuple(
            f"The certificate of {each.uri} ends on {each.current.certificate_expires_at:%Y-%m-%d}: rotate the key."
            for each in self._ledger.list_all(KEYS)
            if each.current in expiring_versions(each, now) and self._may_know(subject, each)
        )

    def _may_know(self, subject: str, key: KeyInfo) -> bool:
        """Who sees a configuration sees which keys it names."""
        return self._rights.is_allowed(subject, Action.VIEW, resource_type_uri(ResourceType.KEY)) or any(
            key.uri in each.key_uris and self._rights.is_allowed(subject, Action.VIEW, device_resource(each.id))
            for each in self._ledger.list_all(DEVICES)
        )

    async def generate(self, draft: UnitOfWork, name: str, kind: KeyType, purpose: KeyPurpose, subject: str) -> KeyInfo:
        """A new local key, recorded in the draft. A name left over from something unfinished is passed over."""
        for number in range(1, MAX_LISTED_NAMES):
            uri = f"local:{name}" if number == 1 else f"local:{name}-{number}"
            if self._ledger.get(KEYS, uri) is not None:
                continue
            try:
                question = GenerateKey(uri=uri, kind=kind, purpose=purpose, subject=name[:64], created_by=subject)
                answer = await self._bus.request(question)
            except ConflictError:
                continue
            return self._record(draft, answer.key, subject)
        raise ConflictError(f"No name like {name} is free for a new key.", "Choose another name.")

    async def import_key(self, subject: str, request: KeyImport) -> KeyInfo:
        self._rights.require_type(subject, Action.CREATE, ResourceType.KEY)
        uri = str(parse_key_uri(request.uri))
        if self._ledger.get(KEYS, uri) is not None:
            raise ConflictError(f"There is a key {uri} already.", "Take another name, or rotate it.")
        question = ImportKey(
            uri=uri,
            path=str(Path(request.path).absolute()),
            kind=request.kind,
            purpose=request.purpose,
            created_by=subject,
            password=request.password,
            certificate=str(Path(request.certificate).absolute()) if request.certificate else None,
        )
        answer = await self._bus.request(question)
        draft = self._ledger.begin()
        key = self._record(draft, answer.key, subject)
        await draft.commit()
        return key

    async def rotate(self, draft: UnitOfWork, subject: str, uri: str) -> KeyInfo:
        """The key with its next version, recorded in the draft."""
        self._rights.require_type(subject, Action.UPDATE, ResourceType.KEY)
        answer = await self._bus.request(RotateKey(uri=self.get(uri).uri))
        if answer.version is None:
            raise WorkerError("The crypto worker answered without a key version.")
        # Read after the wait: another rotation may have come between.
        key = self.get(uri)
        versions = sorted((*key.versions, answer.version), key=lambda each: each.version)
        fresh = msgspec.structs.replace(key, versions=tuple(versions))
        draft.put(KEYS, fresh.uri, fresh)
        draft.audit(
            subject,
            AuditAction.UPDATED,
            f"KEY:{fresh.uri}",
            f"rotated to version {answer.version.version}",
            {"fingerprint": answer.version.fingerprint},
        )
        draft.notify(f"KEY:{fresh.uri}")
        return fresh

    async def export(self, subject: str, device: DeviceConfig, path: Path, *, confirmed: bool) -> Path:
        """The symmetric key of a configuration, into a new file of mode 0600, audited before it leaves."""
        key = device.encryption
        if not confirmed:
            raise ConfirmationRequiredError(
                f"Whoever has {key.uri} version {key.version} can decrypt what was packed for {device.name}.",
                "Confirm that it is meant to leave (--yes).",
            )
        draft = self._ledger.begin()
        draft.audit(
            subject,
            AuditAction.EXPORTED,
            device_resource(device.id),
            f"the symmetric key {key.uri} version {key.version} is exported",
        )
        await draft.commit()
        await self._bus.request(ExportKey(uri=key.uri, version=key.version, path=str(path.absolute())))
        return path

    def _record(self, draft: UnitOfWork, key: KeyInfo | None, subject: str) -> KeyInfo:
        if key is None:
            raise WorkerError("The crypto worker answered without a key.")
        key = msgspec.structs.replace(key, created_by=subject)
        draft.put(KEYS, key.uri, key)
        draft.audit(
            subject,
            AuditAction.CREATED,
            f"KEY:{key.uri}",
            f"{key.kind}, {key.current.origin}, for {key.purpose}",
            {"fingerprint": key.current.fingerprint, "version": key.current.version},
        )
        draft.notify(f"KEY:{key.uri}")
        return key


def _key_not_found(uri: str, *, refused: bool = False) -> NotFoundError:
    return NotFoundError(f"There is no key {uri}.", "`sealyard key list` names those there are.", refused=refused)
