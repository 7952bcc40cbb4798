"""Keys in tokens and key services: which providers work, which keys they hold, and the registration of keys.

A registered key is one of the workspace's keys (:mod:`sealyard.engine.devices.keys`), like a local key.
"""

from __future__ import annotations

import msgspec

from sealyard.engine.devices.keys import KeyRegistry
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import KEYS
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.jobs.bus import JobBus
from sealyard.model.access import Action, ResourceType
from sealyard.model.algorithms import KeyPurpose
from sealyard.model.backend_keys import DescribedKey, ProviderKeys, ProviderStatus
from sealyard.model.errors import InvalidKeyError, NotFoundError, UsageError, WorkerError, error_from_info
from sealyard.model.key_commands import DescribeKey, ListBackendKeys, ProbeProviders, RegisterKey
from sealyard.model.key_uris import LOCAL_SCHEME, KeyUri, parse_key_uri
from sealyard.model.keys import KeyInfo
from sealyard.model.requests import KeyRegistration


class ExternalKeys:
    """Lists key providers and their keys, and registers keys."""

    def __init__(self, repository: Repository, permissions: Permissions, bus: JobBus, keys: KeyRegistry) -> None:
        self._repository = repository
        self._permissions = permissions
        self._bus = bus
        self._keys = keys

    async def list_providers(self, subject: str) -> tuple[ProviderStatus, ...]:
        """Test the key providers of the worker settings, and return their states."""
        self._permissions.require_type(subject, Action.VIEW, ResourceType.KEY)
        return await self.probe_providers()

    async def probe_providers(self) -> tuple[ProviderStatus, ...]:
        """Test the key providers of the worker settings. Starts their processes if necessary."""
        states = (await self._bus.request(ProbeProviders())).providers
        if states is None:
            raise WorkerError("The crypto worker did not return the state of the key providers.")
        return states

    async def list_keys(self, subject: str, section: str = "") -> tuple[ProviderKeys, ...]:
        """Return the keys that can be registered: those of a section of the worker settings, or of all of them.

        A section whose provider does not work has an error instead of keys. Raises :class:`NotFoundError` if there is
        no such section, and :class:`KeyProviderError` if the worker settings cannot be used.
        """
        self._require_permission(subject)
        sections = (await self._bus.request(ListBackendKeys(section=section))).provider_keys
        if sections is None:
            raise WorkerError("The crypto worker did not return a list of keys.")
        return tuple(map(self._mark_registered, sections))

    async def register(self, subject: str, request: KeyRegistration) -> KeyInfo:
        """Have a worker register a key of a token or key service, and save and return the key's public data.

        The key is saved under its canonical URI, for example that of an alias. An interrupted registration can be
        repeated. Raises :class:`AlreadyExistsError` if the workspace has the key already, :class:`InvalidKeyError` if
        it is of another type, and :class:`KeyProviderError` if the settings of its provider are missing or refused.
        """
        uri = parse_key_uri(request.uri)
        if uri.scheme == LOCAL_SCHEME:
            raise UsageError(f"{uri} is a local key, which cannot be registered.", "Import or generate it.")
        described_key = await self.describe(subject, uri)
        if request.kind not in (None, described_key.kind):
            raise InvalidKeyError(
                f"{described_key.uri} is a key of type {described_key.kind}, not {request.kind}.",
                f"Register it as {described_key.kind}.",
            )
        self._keys.require_unused_uri(described_key.uri)
        unit_of_work = self._repository.begin()
        key = await self.add_registered(
            unit_of_work, subject, described_key, request.purpose, certificate=request.certificate
        )
        await unit_of_work.commit()
        return key

    async def describe(self, subject: str, uri: KeyUri) -> DescribedKey:
        """Return the description of a key in a token or key service, which need not be registered.

        Raises the errors of the key backend, and :class:`KeyProviderError` if no section serves the key.
        """
        self._require_permission(subject)
        described_key = (await self._bus.request(DescribeKey(uri=str(uri)))).described
        if described_key is None:
            raise WorkerError("The crypto worker did not return the description of a key.")
        return described_key

    async def add_registered(
        self,
        unit_of_work: UnitOfWork,
        subject: str,
        key: DescribedKey,
        purpose: KeyPurpose,
        *,
        certificate: bytes | None = None,
    ) -> KeyInfo:
        """Have a worker register ``key``, add its public data to ``unit_of_work``, and return them."""
        command = RegisterKey(uri=key.uri, kind=key.kind, purpose=purpose, created_by=subject, certificate=certificate)
        response = await self._bus.request(command)
        self._keys.require_unused_uri(key.uri)  # another registration may have completed meanwhile
        return self._keys.add_record(unit_of_work, response.key, subject)

    async def find_key_prefix(self, subject: str, section: str) -> str:
        """Return the prefix of the URIs of new keys of a section of the worker settings.

        Raises :class:`NotFoundError` if there is no such section, and the error of its provider if it does not work.
        """
        self._require_permission(subject)
        states = await self.probe_providers()
        for state in states:
            if state.error is not None and state.section in ("", section):
                raise error_from_info(state.error)
        prefixes = [state.key_prefix for state in states if state.section == section]
        if not prefixes:
            raise NotFoundError(f"Key provider {section[:80]!r} not found.", "Use a section of the worker settings.")
        if not prefixes[0]:
            raise UsageError(
                f"Keys of the provider {section} cannot be named automatically.", "Generate the key first, by its URI."
            )
        return prefixes[0]

    def _mark_registered(self, section: ProviderKeys) -> ProviderKeys:
        keys = tuple(
            msgspec.structs.replace(
                key, is_registered=self._repository.get(KEYS, f"{section.scheme}:{key.name}") is not None
            )
            for key in section.keys
        )
        return msgspec.structs.replace(section, keys=keys)

    def _require_permission(self, subject: str) -> None:
        self._permissions.require_type(subject, Action.CREATE, ResourceType.KEY)
