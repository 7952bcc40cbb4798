"""Routes of device configurations and algorithms."""

from __future__ import annotations

import secrets
from typing import Annotated

from anyio import to_thread
from litestar import Controller, Response, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter

from sealyard.client.capabilities import AlgorithmInfo, Capabilities, load_capabilities
from sealyard.fs.private import temporary_private_dir
from sealyard.server.api.wire import (
    AlgorithmResponse,
    AlgorithmsResponse,
    CertificateResponse,
    ConfirmationBody,
    DeviceBody,
    DeviceResponse,
    DeviceUpdateBody,
    device_request,
    device_response,
)
from sealyard.server.auth.caller import CallerDependency


class DeviceController(Controller):
    """Device configurations: keys, algorithms, and requirements for the tasks of a device."""

    path = "/deviceConfig"
    tags = ["device configurations"]

    @get("/", summary="List device configurations (newest versions)")
    async def devices(self, caller: CallerDependency) -> list[DeviceResponse]:
        return [device_response(device) for device in await caller.client.devices()]

    @post("/", summary="Create a device configuration and its keys")
    async def create(self, caller: CallerDependency, data: JSONBody[DeviceBody]) -> DeviceResponse:
        return device_response(await caller.client.create_device(device_request(data)))

    @get("/{config_id:str}", summary="Return a device configuration by id or name")
    async def device(
        self,
        caller: CallerDependency,
        config_id: FromPath[str],
        version: Annotated[int | None, QueryParameter(ge=1, le=10**9)] = None,
    ) -> DeviceResponse:
        return device_response(await caller.client.device(config_id, version))

    @patch("/{config_id:str}", summary="Create a new version of a device configuration")
    async def update(
        self, caller: CallerDependency, config_id: FromPath[str], data: JSONBody[DeviceUpdateBody]
    ) -> DeviceResponse:
        return device_response(await caller.client.update_device(data.request(config_id)))

    @get("/{config_id:str}/certificates", summary="Return the signing certificates (PEM)")
    async def certificates(self, caller: CallerDependency, config_id: FromPath[str]) -> list[CertificateResponse]:
        certificates = await caller.client.device_certificates(config_id)
        return [CertificateResponse(name=name, certificate=pem) for name, pem in certificates]

    @post(
        "/{config_id:str}/keyExport",
        status_code=200,
        media_type="application/octet-stream",
        summary="Export the symmetric key, to provision devices",
    )
    async def export_key(
        self, caller: CallerDependency, config_id: FromPath[str], data: JSONBody[ConfirmationBody]
    ) -> Response[bytes]:
        # The worker writes the key to a private file, which is deleted before the response is sent.
        with temporary_private_dir(caller.engine_handle.engine.paths) as folder:
            path = folder / secrets.token_hex(8)
            await caller.client.export_device_key(config_id, path, confirmed=data.confirmed)
            key = await to_thread.run_sync(path.read_bytes)
        return Response(key, headers={"Cache-Control": "no-store"})


class AlgorithmController(Controller):
    """The algorithms and formats available for device configurations."""

    path = "/algorithms"
    tags = ["device configurations"]

    @get("/", summary="List algorithms, and whether each needs a key reference")
    async def algorithms(self) -> AlgorithmsResponse:
        return _algorithms_response(await to_thread.run_sync(load_capabilities))


def _algorithms_response(capabilities: Capabilities) -> AlgorithmsResponse:
    return AlgorithmsResponse(
        encryption=tuple(_algorithm_response(name, info) for name, info in capabilities.encryption.items()),
        signing=tuple(_algorithm_response(name, info) for name, info in capabilities.signing.items()),
        formats=capabilities.formats,
    )


def _algorithm_response(name: str, info: AlgorithmInfo) -> AlgorithmResponse:
    # The engine can generate keys of every type, so a reference is always optional.
    return AlgorithmResponse(algorithm=name, reference_needed=False, key_kinds=info.key_kinds, caveats=info.caveats)
