"""Execute the requests of workers with a key backend."""

from __future__ import annotations

from sealyard.keys.backend import KeyBackend
from sealyard.model.provider_messages import (
    BackendCommand,
    DescribeBackendKey,
    GenerateBackendKey,
    ListKeys,
    ProbeBackend,
    ProviderResponse,
    ResolveKeyName,
    RotateBackendKey,
    SignData,
    UnwrapSecret,
    WrapSecret,
)


async def execute(backend: KeyBackend, request_id: int, command: BackendCommand) -> ProviderResponse:
    """Execute ``command``. Raises the errors of :class:`KeyBackend`."""
    match command:
        case ProbeBackend():
            await backend.probe()
            return ProviderResponse(request_id=request_id)
        case ListKeys():
            return ProviderResponse(request_id=request_id, keys=await backend.list_keys())
        case ResolveKeyName(name=name):
            return ProviderResponse(request_id=request_id, name=await backend.resolve(name))
        case DescribeBackendKey(name=name):
            return ProviderResponse(request_id=request_id, key=await backend.describe(name))
        case GenerateBackendKey(name=name, kind=kind):
            canonical_name, key = await backend.generate(name, kind)
            return ProviderResponse(request_id=request_id, name=canonical_name, key=key)
        case RotateBackendKey(name=name):
            return ProviderResponse(request_id=request_id, key=await backend.rotate(name))
        case SignData():
            data = await backend.sign(command.name, command.native_id, command.algorithm, command.data, command.digest)
        case WrapSecret():
            data = await backend.wrap(command.name, command.native_id, command.secret, command.associated_data)
        case UnwrapSecret():
            data = await backend.unwrap(command.name, command.native_id, command.wrapped, command.associated_data)
    return ProviderResponse(request_id=request_id, data=data)
