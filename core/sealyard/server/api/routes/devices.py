"""Device configurations, and what they can be made of."""

from __future__ import annotations

import secrets
from typing import Annotated

from anyio import to_thread
from litestar import Controller, Response, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter

from sealyard.client.capabilities import AlgorithmInfo, Capabilities, load_capabilities
from sealyard.fs.private import temporary_private_dir
from sealyard.server.api.wire import (
    AlgorithmDocument,
    AlgorithmsDocument,
    CertificateDocument,
    ConfirmationBody,
    DeviceBody,
    DeviceResponse,
    DeviceUpdateBody,
    device_document,
    device_request,
)
from sealyard.server.auth.caller import CallerDependency


class DeviceController(Controller):
    """Which keys and algorithms a package is made with, and under which terms."""

    path = "/deviceConfig"
    tags = ["device configurations"]

    @get("/", summary="The newest version of each configuration one may see")
    async def devices(self, caller: CallerDependency) -> list[DeviceResponse]:
        return [device_document(each) for each in await caller.client.devices()]

    @post("/", summary="Makes a configuration, with its keys")
    async def create(self, caller: CallerDependency, data: JSONBody[DeviceBody]) -> DeviceResponse:
        return device_document(await caller.client.create_device(device_request(data)))

    @get("/{config_id:str}", summary="A configuration, by id or name")
    async def device(
        self,
        caller: CallerDependency,
        config_id: FromPath[str],
        version: Annotated[int | None, QueryParameter(ge=1, le=10**9)] = None,
    ) -> DeviceResponse:
        return device_document(await caller.client.device(config_id, version))

    @patch("/{config_id:str}", summary="Makes a new version")
    async def update(
        self, caller: CallerDependency, config_id: FromPath[str], data: JSONBody[DeviceUpdateBody]
    ) -> DeviceResponse:
        return device_document(await caller.client.update_device(data.request(config_id)))

    @get("/{config_id:str}/certificates", summary="Its signing certificates (PEM)")
    async def certificates(self, caller: CallerDependency, config_id: FromPath[str]) -> list[CertificateDocument]:
        found = await caller.client.device_certificates(config_id)
        return [CertificateDocument(name=name, certificate=pem) for name, pem in found]

    @post(
        "/{config_id:str}/keyExport",
        status_code=200,
        media_type="application/octet-stream",
        summary="Its symmetric key, for provisioning devices",
    )
    async def export_key(
        self, caller: CallerDependency, config_id: FromPath[str], data: JSONBody[ConfirmationBody]
    ) -> Response[bytes]:
        """The worker writes it to a file that only we can read, and that is gone before the answer."""
        with temporary_private_dir(caller.host.engine.paths) as folder:
            path = folder / secrets.token_hex(8)
            await caller.client.export_device_key(config_id, path, confirmed=data.confirmed)
            key = await to_thread.run_sync(path.read_bytes)
        return Response(key, headers={"Cache-Control": "no-store"})


class AlgorithmController(Controller):
    """What a configuration can be made of."""

    path = "/algorithms"
    tags = ["device configurations"]

    @get("/", summary="Algorithms, and whether each needs a reference")
    async def algorithms(self) -> AlgorithmsDocument:
        return _algorithms(await to_thread.run_sync(load_capabilities))


def _algorithms(found: Capabilities) -> AlgorithmsDocument:
    return AlgorithmsDocument(
        encryption=tuple(_algorithm(name, terms) for name, terms in found.encryption.items()),
        signing=tuple(_algorithm(name, terms) for name, terms in found.signing.items()),
        formats=found.formats,
    )


def _algorithm(name: str, terms: AlgorithmInfo) -> AlgorithmDocument:
    # The engine makes a key of every kind itself: a reference may be given, and never must.
    return AlgorithmDocument(algorithm=name, reference_needed=False, key_kinds=terms.key_kinds, caveats=terms.caveats)
