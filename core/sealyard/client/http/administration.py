"""API calls for device configurations, keys, subjects, access rules and the policy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from sealyard.client.http.requests import ApiCalls, json_call, path_segment, query_params
from sealyard.client.key_files import load_certificate_content, load_key_content, new_key_file
from sealyard.fs.atomic import write_all
from sealyard.model.access import AclRule, Action, Membership, Subject, SubjectState
from sealyard.model.backend_keys import ProviderKeys, ProviderStatus
from sealyard.model.base import FrozenStruct
from sealyard.model.device_configs import DeviceCertificate, DeviceConfig
from sealyard.model.errors import NotFoundError
from sealyard.model.keys import KeyInfo
from sealyard.model.policy import Policy
from sealyard.model.requests import (
    AccessControlList,
    DeviceRequest,
    DeviceUpdate,
    EncryptionKeyRequest,
    KeyGeneration,
    KeyImport,
    KeyRegistration,
    SigningKeyRequest,
)


class _RuleSubject(FrozenStruct, frozen=True, kw_only=True):
    subject: str


class _RuleEntry(FrozenStruct, frozen=True, kw_only=True):
    """A rule as the API returns it, with its subject as an object."""

    id: str
    subject: _RuleSubject
    resource: str
    action: Action
    created_by: str
    created_at: datetime
    permanent: bool

    def to_rule(self) -> AclRule:
        return AclRule(**{**msgspec.structs.asdict(self), "subject": self.subject.subject})


class _CertificateRequest(FrozenStruct, frozen=True, kw_only=True):
    certificate_request: str


class DeviceCalls(ApiCalls):
    """API calls for device configurations."""

    async def devices(self) -> tuple[DeviceConfig, ...]:
        return await self._sender.get("/deviceConfig", tuple[DeviceConfig, ...])

    async def device(self, config: str, version: int | None = None) -> DeviceConfig:
        return await self._sender.get(
            f"/deviceConfig/{path_segment(config)}", DeviceConfig, query_params(version=version)
        )

    async def create_device(self, request: DeviceRequest) -> DeviceConfig:
        return await self._sender.send("POST", "/deviceConfig", _build_device_body(request), DeviceConfig)

    async def update_device(self, request: DeviceUpdate) -> DeviceConfig:
        changes = _omit_unset(request)
        del changes["config"]
        return await self._sender.send("PATCH", f"/deviceConfig/{path_segment(request.config)}", changes, DeviceConfig)

    async def device_certificates(self, config: str, version: int | None = None) -> tuple[DeviceCertificate, ...]:
        path = f"/deviceConfig/{path_segment(config)}/certificates"
        return await self._sender.get(path, tuple[DeviceCertificate, ...], query_params(version=version))

    async def export_device_key(
        self, config: str, path: Path, *, encryption_key: str | None = None, confirmed: bool = False
    ) -> Path:
        """Write the key to the file ``path``.

        The file is created before the key is requested, and deleted if the request fails.
        """
        body: dict[str, Any] = {"confirmed": confirmed}
        if encryption_key is not None:
            body["encryptionKey"] = encryption_key
        request = json_call("POST", f"/deviceConfig/{path_segment(config)}/keyExport", body)
        with new_key_file(path) as fd:
            write_all(fd, (await self._sender.send_retrying(request)).body)
        return path


class KeyCalls(ApiCalls):
    """API calls for keys."""

    async def keys(self) -> tuple[KeyInfo, ...]:
        return await self._sender.get("/key", tuple[KeyInfo, ...])

    async def import_key(self, request: KeyImport) -> KeyInfo:
        body = _omit_unset(await asyncio.to_thread(load_key_content, request))
        return await self._sender.send("POST", "/key", body, KeyInfo)

    async def key_providers(self) -> tuple[ProviderStatus, ...]:
        return await self._sender.get("/keyProvider", tuple[ProviderStatus, ...])

    async def provider_keys(self, provider: str = "") -> tuple[ProviderKeys, ...]:
        return await self._sender.get(
            "/keyProvider/keys", tuple[ProviderKeys, ...], query_params(provider=provider or None)
        )

    async def register_key(self, request: KeyRegistration) -> KeyInfo:
        return await self._sender.send("POST", "/key/registration", _omit_unset(request), KeyInfo)

    async def generate_key(self, request: KeyGeneration) -> KeyInfo:
        return await self._sender.send("POST", "/key/generation", _omit_unset(request), KeyInfo)

    async def rotate_key(self, uri: str) -> KeyInfo:
        return await self._sender.send("POST", "/key/rotation", {"uri": uri}, KeyInfo)

    async def import_certificate(self, uri: str, path: Path) -> KeyInfo:
        body = await asyncio.to_thread(load_certificate_content, uri, path)
        return await self._sender.send("POST", "/key/certificate", body, KeyInfo)

    async def create_certificate_request(self, uri: str) -> str:
        response = await self._sender.send("POST", "/key/certificateRequest", {"uri": uri}, _CertificateRequest)
        return response.certificate_request


class AccessCalls(ApiCalls):
    """API calls for subjects, groups, access rules and the policy."""

    async def access(self) -> AccessControlList:
        return await self._sender.get("/acl/all", AccessControlList)

    async def subject_names(self) -> Mapping[str, str]:
        try:
            return await self._sender.get("/acl/names", dict[str, str])
        except NotFoundError:  # an older server
            return {}

    async def identities(self) -> tuple[str, ...]:
        try:
            return await self._sender.get("/acl/identities", tuple[str, ...])
        except NotFoundError:  # an older server
            return ()

    async def add_subject(self, subject: str, display_name: str = "") -> Subject:
        body = {"subject": subject, "displayName": display_name}
        return await self._sender.send("POST", "/acl/subjects", body, Subject)

    async def set_subject_state(
        self, subject: str, state: SubjectState, reason: str = "", *, confirmed: bool = False
    ) -> Subject:
        body = {"state": state, "reason": reason, "confirmed": confirmed}
        return await self._sender.send("PATCH", f"/acl/subjects/{path_segment(subject)}", body, Subject)

    async def unlink_subject(self, subject: str) -> None:
        await self._sender.delete(f"/acl/subjects/{path_segment(subject)}/account")

    async def add_member(self, group: str, member: str, *, confirmed: bool = False) -> Membership:
        body = {"group": group, "member": member, "confirmed": confirmed}
        return await self._sender.send("POST", "/acl/groups", body, Membership)

    async def remove_member(self, group: str, member: str, *, confirmed: bool = False) -> None:
        await self._sender.delete(
            f"/acl/groups/{path_segment(group)}/{path_segment(member)}", query_params(confirmed=confirmed)
        )

    async def add_rule(self, subject: str, resource: str, action: Action, *, confirmed: bool = False) -> AclRule:
        body = {"subject": subject, "resource": resource, "action": action, "confirmed": confirmed}
        return (await self._sender.send("POST", "/acl", body, _RuleEntry)).to_rule()

    async def remove_rule(self, rule_id: str, *, confirmed: bool = False) -> None:
        await self._sender.delete(f"/acl/{path_segment(rule_id)}", query_params(confirmed=confirmed))

    async def policy(self) -> Policy:
        return await self._sender.get("/policy", Policy)

    async def set_policy(self, policy: Policy) -> Policy:
        return await self._sender.send("PUT", "/policy", policy, Policy)


def _omit_unset(request: FrozenStruct) -> dict[str, Any]:
    """Return the fields of ``request`` that are set, so that older servers, which do not know others, accept it."""
    return {name: value for name, value in msgspec.to_builtins(request).items() if value is not None}


def _build_device_body(request: DeviceRequest) -> dict[str, Any]:
    """Return the JSON body of ``request`` as the API expects it: permissions under ``acl``, URIs as references."""
    fields = msgspec.to_builtins(request)
    for name in ("view", "use", "approve"):
        del fields[name]
    return {
        **fields,
        "acl": {"VIEW": request.view, "USE": request.use, "APPROVE": request.approve},
        "encryptionKeys": [_build_key_reference(key) for key in request.encryption_keys],
        "signingKeys": [_build_key_reference(key) for key in request.signing_keys],
    }


def _build_key_reference(key: EncryptionKeyRequest | SigningKeyRequest) -> dict[str, str | None]:
    fields = _omit_unset(key)
    return {"reference": fields.pop("uri", None), **fields}
