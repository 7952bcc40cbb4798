"""The workspace of the crash tests: its subjects, its device configuration and the exported device key."""

from __future__ import annotations

from pathlib import Path

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.create_workspace import create_workspace
from sealyard.engine.workspace import load_metadata
from sealyard.keys.master_key import open_master_key
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.credentials import TokenRequest
from sealyard.model.requests import DeviceRequest, EncryptionKeyRequest, SigningKeyRequest
from sealyard.model.workspace import KeyStore, WorkspacePaths
from tests.crash.engine_process import APPROVER, CONFIG, REQUESTER, REVIEWER
from tests.crash.workspace_process import PASSPHRASE
from tests.support.key_holders import unlock

ADMINISTRATOR = "USER:administrator"
ENCRYPTION = EncryptionAlgorithm.AES256_CBC_PKCS7_PAD
SIGNING = SigningAlgorithm.SHA256_ECDSA
"""ECDSA signatures are randomized, so a repeated signature is detected."""


def write_credential(folder: Path) -> Path:
    """Write the passphrase into a folder of systemd credentials, and return the folder."""
    folder.mkdir(mode=0o700)
    (folder / "sealyard-passphrase").write_text(PASSPHRASE)
    return folder


def open_test_master_key(root: Path) -> bytes:
    paths = WorkspacePaths(root)
    return open_master_key(KeyStore.PASSPHRASE, paths.keys, load_metadata(paths).id, PASSPHRASE)


async def create_test_workspace(
    paths: WorkspacePaths, key: Path, database: str | None = None
) -> tuple[bytes, dict[str, str]]:
    """Create the workspace; return the device key, also written to ``key``, and tokens of the subjects.

    ``database``: the connection string of its database; None for a workspace in files.
    """
    await create_workspace(
        paths,
        name="storm",
        administrator=ADMINISTRATOR,
        key_store=KeyStore.PASSPHRASE,
        key_holder=unlock(PASSPHRASE),
        database=database,
    )
    return await populate_test_workspace(paths, key)


async def populate_test_workspace(paths: WorkspacePaths, key: Path) -> tuple[bytes, dict[str, str]]:
    """Add subjects and a device configuration; return the device key, also written to ``key``, and their tokens."""
    engine = await EngineHandle.open(paths.root, purpose="crash test", key_holder=unlock(PASSPHRASE))
    try:
        client = engine.client(ADMINISTRATOR)
        for subject in (REQUESTER, APPROVER, REVIEWER):
            await client.add_subject(subject)
        await client.create_device(
            DeviceRequest(
                name=CONFIG,
                encryption_keys=(EncryptionKeyRequest(algorithm=ENCRYPTION),),
                signing_keys=(SigningKeyRequest(algorithm=SIGNING),),
                use=(REQUESTER,),
                approve=(APPROVER, REVIEWER),
            )
        )
        await client.export_device_key(CONFIG, key, confirmed=True)
        tokens = {
            each: (await client.create_token(TokenRequest(name="storm", subject=each))).secret
            for each in (REQUESTER, APPROVER, REVIEWER)
        }
    finally:
        await engine.close()
    return key.read_bytes(), tokens
