"""Routes for keys: list, import, rotate, and renew their certificates."""

from __future__ import annotations

from litestar import Controller, get, post
from litestar.params import JSONBody

from sealyard.model.keys import KeyInfo
from sealyard.model.requests import CertificateContent, KeyContent
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
        request = KeyContent(
            uri=data.uri,
            content=data.content,
            kind=data.kind,
            purpose=data.purpose,
            password=data.password,
            certificate=data.certificate or None,
        )
        return await caller.client.import_key_content(request)

    @post("/rotation", status_code=200, summary="Create a new version of a key")
    async def rotate(self, caller: CallerDependency, data: JSONBody[KeyUriBody]) -> KeyInfo:
        return await caller.client.rotate_key(data.uri)

    @post("/certificate", status_code=200, summary="Create a version of a signing key with a renewed certificate")
    async def import_certificate(self, caller: CallerDependency, data: JSONBody[CertificateBody]) -> KeyInfo:
        request = CertificateContent(uri=data.uri, content=data.content)
        return await caller.client.import_certificate_content(request)

    @post("/certificateRequest", status_code=200, summary="Create a certificate request for a signing key (PKCS#10)")
    async def create_certificate_request(
        self, caller: CallerDependency, data: JSONBody[KeyUriBody]
    ) -> CertificateRequestResponse:
        return CertificateRequestResponse(certificate_request=await caller.client.create_certificate_request(data.uri))
