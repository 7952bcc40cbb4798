"""Device configurations, keys, people, rules and the policy of a server's workspace."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec

from sealyard.client.http.requests import ApiCalls, json_call, path_segment, query_params
from sealyard.fs.private import create_private_file
from sealyard.model.access import AclRule, Action, Membership, Subject
from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import InvalidKeyError
from sealyard.model.keys import KeyInfo
from sealyard.model.policy import Policy
from sealyard.model.requests import AccessControlList, DeviceRequest, DeviceUpdate, KeyImport

LARGEST_KEY_FILE = 1024 * 1024


class _Certificate(FrozenStruct, frozen=True, kw_only=True):
    name: str
    certificate: str


class _Key(SecretStruct, frozen=True, kw_only=True):
    uri: str
    kind: KeyType
    purpose: KeyPurpose
    content: bytes
    password: str | None
    certificate: bytes | None


class DeviceCalls(ApiCalls):
    async def devices(self) -> tuple[DeviceConfig, ...]:
        return await self._calls.get("/deviceConfig", tuple[DeviceConfig, ...])

    async def device(self, config: str, version: int | None = None) -> DeviceConfig:
        return await self._calls.get(
            f"/deviceConfig/{path_segment(config)}", DeviceConfig, query_params(version=version)
        )

    async def create_device(self, request: DeviceRequest) -> DeviceConfig:
        return await self._calls.send("POST", "/deviceConfig", _device(request), DeviceConfig)

    async def update_device(self, request: DeviceUpdate) -> DeviceConfig:
        changes = {name: value for name, value in msgspec.to_builtins(request).items() if value is not None}
        del changes["config"]
        return await self._calls.send("PATCH", f"/deviceConfig/{path_segment(request.config)}", changes, DeviceConfig)

    async def device_certificates(self, config: str) -> tuple[tuple[str, str], ...]:
        path = f"/deviceConfig/{path_segment(config)}/certificates"
        found = await self._calls.get(path, tuple[_Certificate, ...])
        return tuple((each.name, each.certificate) for each in found)

    async def export_device_key(self, config: str, path: Path, *, confirmed: bool = False) -> Path:
        """Asked for only once the file is there to take it; no file is left where there is no key."""
        call = json_call("POST", f"/deviceConfig/{path_segment(config)}/keyExport", {"confirmed": confirmed})
        with os.fdopen(create_private_file(path), "wb") as file:
            try:
                file.write((await self._calls.send_retrying(call)).body)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return path


class KeyCalls(ApiCalls):
    async def keys(self) -> tuple[KeyInfo, ...]:
        return await self._calls.get("/key", tuple[KeyInfo, ...])

    async def import_key(self, request: KeyImport) -> KeyInfo:
        certificate = request.certificate
        body = _Key(
            uri=request.uri,
            kind=request.kind,
            purpose=request.purpose,
            content=await asyncio.to_thread(_key_file, Path(request.path)),
            password=request.password,
            certificate=await asyncio.to_thread(_key_file, Path(certificate)) if certificate else None,
        )
        return await self._calls.send("POST", "/key", body, KeyInfo)

    async def rotate_key(self, uri: str) -> KeyInfo:
        return await self._calls.send("POST", "/key/rotation", {"uri": uri}, KeyInfo)


class AccessCalls(ApiCalls):
    async def access(self) -> AccessControlList:
        return await self._calls.get("/acl/all", AccessControlList)

    async def add_subject(self, subject: str, display_name: str = "") -> Subject:
        body = {"subject": subject, "displayName": display_name}
        return await self._calls.send("POST", "/acl/subjects", body, Subject)

    async def unlink_subject(self, subject: str) -> None:
        await self._calls.delete(f"/acl/subjects/{path_segment(subject)}/account")

    async def add_member(self, group: str, member: str, *, confirmed: bool = False) -> Membership:
        body = {"group": group, "member": member, "confirmed": confirmed}
        return await self._calls.send("POST", "/acl/groups", body, Membership)

    async def remove_member(self, group: str, member: str, *, confirmed: bool = False) -> None:
        await self._calls.delete(
            f"/acl/groups/{path_segment(group)}/{path_segment(member)}", query_params(confirmed=confirmed)
        )

    async def add_rule(self, subject: str, resource: str, action: Action, *, confirmed: bool = False) -> AclRule:
        body = {"subject": subject, "resource": resource, "action": action, "confirmed": confirmed}
        return await self._calls.send("POST", "/acl", body, AclRule)

    async def remove_rule(self, rule_id: str, *, confirmed: bool = False) -> None:
        await self._calls.delete(f"/acl/{path_segment(rule_id)}", query_params(confirmed=confirmed))

    async def policy(self) -> Policy:
        return await self._calls.get("/policy", Policy)

    async def set_policy(self, policy: Policy) -> Policy:
        return await self._calls.send("PUT", "/policy", policy, Policy)


def _device(request: DeviceRequest) -> dict[str, Any]:
    """With the documented names: who may do what under ``acl``, keys in lists."""
    said = msgspec.to_builtins(request)
    for ours in ("use", "approve", "encryption", "signing", "encryptionKey", "signingKey"):
        del said[ours]
    return {
        **said,
        "acl": {"USE": request.use, "APPROVE": request.approve},
        "encryptionKeys": [{"algorithm": request.encryption, "reference": request.encryption_key}],
        "signingKeys": [{"algorithm": request.signing, "reference": request.signing_key}],
    }


def _key_file(path: Path) -> bytes:
    """Raises :class:`InvalidKeyError`. Whether there is a key in it is judged where it goes."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_KEY_FILE + 1)
    except OSError as error:
        raise InvalidKeyError(f"The file cannot be read: {error.strerror}.", "Check its path and rights.") from error
    if len(data) > LARGEST_KEY_FILE:
        raise InvalidKeyError("The file is larger than any key or certificate.", "Name the file of the key.")
    return data
