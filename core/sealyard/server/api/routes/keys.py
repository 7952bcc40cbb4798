"""Routes for keys and for the tokens and key services that hold keys."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get, post
from litestar.params import JSONBody, QueryParameter

from sealyard.model.backend_keys import ProviderKeys, ProviderStatus
from sealyard.model.keys import KeyInfo
from sealyard.model.requests import CertificateContent, KeyContent, KeyGeneration, KeyRegistration
from sealyard.server.api.wire import (
    CertificateBody,
    CertificateRequestResponse,
    KeyBody,
    KeyGenerationBody,
    KeyRegistrationBody,
    KeyUriBody,
)
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
            wrapping_key=data.wrapping_key or None,
        )
        return await caller.client.import_key_content(request)

    @post("/registration", summary="Register a key that a token or key service has already")
    async def register(self, caller: CallerDependency, data: JSONBody[KeyRegistrationBody]) -> KeyInfo:
        request = KeyRegistration(
            uri=data.uri, kind=data.kind, purpose=data.purpose, certificate=data.certificate or None
        )
        return await caller.client.register_key(request)

    @post("/generation", summary="Generate a key in a token or key service, or a local key")
    async def generate(self, caller: CallerDependency, data: JSONBody[KeyGenerationBody]) -> KeyInfo:
        request = KeyGeneration(
            uri=data.uri, kind=data.kind, purpose=data.purpose, wrapping_key=data.wrapping_key or None
        )
        return await caller.client.generate_key(request)

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


class KeyProviderController(Controller):
    """Endpoints for the tokens and key services of the worker settings."""

    path = "/keyProvider"
    tags = ["keys"]

    @get("/", summary="Test the tokens and key services, and return their states")
    async def key_providers(self, caller: CallerDependency) -> list[ProviderStatus]:
        return list(await caller.client.key_providers())

    @get("/keys", summary="List the keys of tokens and key services, registered or not")
    async def provider_keys(
        self,
        caller: CallerDependency,
        provider: Annotated[
            str, QueryParameter(description="section of the worker settings; by default all", max_length=100)
        ] = "",
    ) -> list[ProviderKeys]:
        return list(await caller.client.provider_keys(provider))
