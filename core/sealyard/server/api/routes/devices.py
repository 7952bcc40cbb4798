"""Routes for device configurations and algorithms."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from litestar import Controller, Response, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter

from sealyard.client.capabilities import AlgorithmInfo, Capabilities, load_capabilities
from sealyard.model.algorithms import X509_PKI_ALGORITHMS
from sealyard.model.device_configs import DeviceCertificate, DeviceConfig
from sealyard.server.api.wire import KeyExportBody
from sealyard.server.api.wire_devices import (
    AlgorithmResponse,
    AlgorithmsResponse,
    DeviceBody,
    DeviceResponse,
    DeviceUpdateBody,
    device_request,
    device_response,
)
from sealyard.server.auth.caller import Caller, CallerDependency

KEY_REFERENCE = "URI of an existing key, for example local:gateway; without it a key is generated"
PKI_REFERENCE = (
    "URI of a key with a certificate of your public key infrastructure (PKI), or x509: and the SHA-256 fingerprint of"
    " the certificate; without it a key with a self-signed certificate is generated"
)

ConfigVersion = Annotated[
    int | None,
    QueryParameter(ge=1, le=10**9, description="version of the configuration; by default the newest"),
]


class DeviceController(Controller):
    """Endpoints for device configurations: keys, algorithms, and requirements for the tasks of a device."""

    path = "/deviceConfig"
    tags = ["device configurations"]

    @get("/", summary="List device configurations (newest versions)")
    async def devices(self, caller: CallerDependency) -> list[DeviceResponse]:
        devices = await caller.client.devices()
        access = await caller.client.device_access(device.id for device in devices)
        return [device_response(device, access.get(device.id, {})) for device in devices]

    @post("/", summary="Create a device configuration and its keys")
    async def create(self, caller: CallerDependency, data: JSONBody[DeviceBody]) -> DeviceResponse:
        return await _build_response(caller, await caller.client.create_device(device_request(data)))

    @get("/{config_id:str}", summary="Return a device configuration by id or name")
    async def device(
        self,
        caller: CallerDependency,
        config_id: FromPath[str],
        version: ConfigVersion = None,
    ) -> DeviceResponse:
        return await _build_response(caller, await caller.client.device(config_id, version))

    @patch("/{config_id:str}", summary="Create a new version of a device configuration")
    async def update(
        self, caller: CallerDependency, config_id: FromPath[str], data: JSONBody[DeviceUpdateBody]
    ) -> DeviceResponse:
        return await _build_response(caller, await caller.client.update_device(data.request(config_id)))

    @get("/{config_id:str}/certificates", summary="Return the certificates of the keys (PEM)")
    async def certificates(
        self, caller: CallerDependency, config_id: FromPath[str], version: ConfigVersion = None
    ) -> list[DeviceCertificate]:
        return list(await caller.client.device_certificates(config_id, version))

    @post(
        "/{config_id:str}/keyExport",
        status_code=200,
        media_type="application/octet-stream",
        summary="Export a symmetric key, to provision devices",
    )
    async def export_key(
        self, caller: CallerDependency, config_id: FromPath[str], data: JSONBody[KeyExportBody]
    ) -> Response[bytes]:
        key = await caller.client.read_device_key(
            config_id, encryption_key=data.encryption_key, confirmed=data.confirmed
        )
        return Response(key.content, headers={"Cache-Control": "no-store"})


async def _build_response(caller: Caller, device: DeviceConfig) -> DeviceResponse:
    access = await caller.client.device_access((device.id,))
    # The caller might be allowed to create a configuration but not to view it.
    return device_response(device, access.get(device.id, {}))


class AlgorithmController(Controller):
    """Endpoint that lists the algorithms and formats available for device configurations."""

    path = "/algorithms"
    tags = ["device configurations"]

    @get("/", summary="List algorithms, and whether each needs a key reference")
    async def algorithms(self) -> AlgorithmsResponse:
        return _algorithms_response(await to_thread.run_sync(load_capabilities))


def _algorithms_response(capabilities: Capabilities) -> AlgorithmsResponse:
    return AlgorithmsResponse(
        encryption=tuple(
            _algorithm_response(name, info, KEY_REFERENCE) for name, info in capabilities.encryption.items()
        ),
        signing=tuple(
            _algorithm_response(name, info, PKI_REFERENCE if name in X509_PKI_ALGORITHMS else KEY_REFERENCE)
            for name, info in capabilities.signing.items()
        ),
        formats=capabilities.formats,
    )


def _algorithm_response(name: str, info: AlgorithmInfo, reference_description: str) -> AlgorithmResponse:
    # The engine can generate keys of every type, so a reference is always optional.
    return AlgorithmResponse(
        algorithm=name,
        reference_needed=False,
        reference_supported=True,
        reference_description=reference_description,
        key_kinds=info.key_kinds,
        caveats=info.caveats,
    )
