"""Routes for keys: list, import and rotate."""

from __future__ import annotations

from litestar import Controller, get, post
from litestar.params import JSONBody

from sealyard.fs.private import temporary_private_dir, write_private_file
from sealyard.model.keys import KeyInfo
from sealyard.model.requests import KeyImport
from sealyard.server.api.wire import KeyBody, KeyUriBody
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
