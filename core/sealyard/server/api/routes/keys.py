"""Routes for keys: list, import, rotate, and renew their certificates."""

from __future__ import annotations

from litestar import Controller, get, post
from litestar.params import JSONBody

from sealyard.fs.private import temporary_private_dir, write_private_file
from sealyard.model.keys import KeyInfo
from sealyard.model.requests import KeyImport
from sealyard.server.api.wire import CertificateBody, CertificateRequestResponse, KeyBody, KeyUriBody
from sealyard.server.auth.caller import CallerDependency


class KeyController(Controller):
    """Endpoints for keys. They never return private or symmetric key material."""

    path = "/key"
    tags = ["keys"]

    @get("/", summary="List keys")
    async def keys(self, caller: CallerDependency) -> list[KeyInfo]:
        return list(await caller.client.keys())

    @post("/", summary="Import a key (PEM, PKCS#12 or raw AES bytes)")
    async def import_key(self, caller: CallerDependency, data: JSONBody[KeyBody]) -> KeyInfo:
        with temporary_private_dir(caller.engine_handle.engine.paths) as folder:
            certificate = write_private_file(folder / "certificate", data.certificate) if data.certificate else None
            request = KeyImport(
                uri=data.uri,
                path=str(write_private_file(folder / "key", data.content)),
                kind=data.kind,
                purpose=data.purpose,
                password=data.password,
                certificate=str(certificate) if certificate else None,
            )
            return await caller.client.import_key(request)

    @post("/rotation", status_code=200, summary="Create a new version of a key")
    async def rotate(self, caller: CallerDependency, data: JSONBody[KeyUriBody]) -> KeyInfo:
        return await caller.client.rotate_key(data.uri)

    @post("/certificate", status_code=200, summary="Create a version of a signing key with a renewed certificate")
    async def import_certificate(self, caller: CallerDependency, data: JSONBody[CertificateBody]) -> KeyInfo:
        with temporary_private_dir(caller.engine_handle.engine.paths) as folder:
            path = write_private_file(folder / "certificate", data.content)
            return await caller.client.import_certificate(data.uri, path)

    @post("/certificateRequest", status_code=200, summary="Create a certificate request for a signing key (PKCS#10)")
    async def create_certificate_request(
        self, caller: CallerDependency, data: JSONBody[KeyUriBody]
    ) -> CertificateRequestResponse:
        return CertificateRequestResponse(certificate_request=await caller.client.create_certificate_request(data.uri))
