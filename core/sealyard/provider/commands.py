"""Execute the requests of workers with a key provider."""

from __future__ import annotations

from sealyard.keys.provider import KeyProvider
from sealyard.model.provider_messages import (
    CheckSigner,
    CreateProviderCertificateRequest,
    ExportProviderKey,
    GenerateProviderKey,
    GetKeyCapabilities,
    GetKeyInfo,
    ImportProviderCertificate,
    ImportProviderKey,
    ProbeProvider,
    ProviderCommand,
    ProviderResponse,
    RegisterProviderKey,
    RotateProviderKey,
    SignData,
    UnwrapSecret,
    WrapSecret,
)


async def execute(provider: KeyProvider, request_id: int, command: ProviderCommand) -> ProviderResponse:
    """Execute ``command``. Raises the errors of :class:`KeyProvider`."""
    match command:
        case ProbeProvider():
            await provider.probe()
            return ProviderResponse(request_id=request_id)
        case GetKeyCapabilities(name=name):
            return ProviderResponse(request_id=request_id, capabilities=await provider.get_capabilities(name))
        case GetKeyInfo(name=name):
            return ProviderResponse(request_id=request_id, key=await provider.get_info(name))
        case SignData(name=name, version=version, algorithm=algorithm, prehashed=prehashed, data=data):
            signer = await provider.signer(name, version, algorithm, prehashed=prehashed)
            return ProviderResponse(request_id=request_id, data=await signer.sign(data))
        case CheckSigner(name=name, version=version, algorithm=algorithm, prehashed=prehashed):
            await provider.signer(name, version, algorithm, prehashed=prehashed)
            return ProviderResponse(request_id=request_id)
        case WrapSecret(name=name, version=version, secret=secret, associated_data=associated_data):
            wrapped = await provider.wrap(name, version, secret, associated_data)
            return ProviderResponse(request_id=request_id, data=wrapped)
        case UnwrapSecret(name=name, version=version, wrapped=wrapped, associated_data=associated_data):
            secret = await provider.unwrap(name, version, wrapped, associated_data)
            return ProviderResponse(request_id=request_id, data=secret)
        case ExportProviderKey(name=name, version=version):
            return ProviderResponse(request_id=request_id, data=await provider.export_symmetric(name, version))
        case _:
            return await _change(provider, request_id, command)


async def _change(
    provider: KeyProvider,
    request_id: int,
    command: RegisterProviderKey
    | GenerateProviderKey
    | ImportProviderKey
    | RotateProviderKey
    | ImportProviderCertificate
    | CreateProviderCertificateRequest,
) -> ProviderResponse:
    """Execute a command that creates or registers a key, a version or a certificate request."""
    match command:
        case RegisterProviderKey(name=name, kind=kind, purpose=purpose, certificate=certificate):
            key = await provider.register(name, kind, purpose, certificate)
        case GenerateProviderKey(name=name, kind=kind, purpose=purpose, subject=subject):
            key = await provider.generate(name, kind, purpose, subject)
        case ImportProviderKey():
            key = await provider.import_key(
                command.name,
                command.content,
                command.kind,
                command.purpose,
                command.password,
                command.certificate,
            )
        case RotateProviderKey(name=name):
            return ProviderResponse(request_id=request_id, version=await provider.rotate(name))
        case ImportProviderCertificate(name=name, version=number, content=content):
            version = await provider.import_certificate(name, number, content)
            return ProviderResponse(request_id=request_id, version=version)
        case CreateProviderCertificateRequest(name=name, version=number):
            text = await provider.create_certificate_request(name, number)
            return ProviderResponse(request_id=request_id, text=text)
    return ProviderResponse(request_id=request_id, key=key)
