"""Commands to the keys of a workspace, which a worker executes."""

from __future__ import annotations

from typing import ClassVar

from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.base import FrozenStruct, SecretStruct
from sealyard.model.device_configs import EncryptionKey, SigningKey


class GenerateKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Generates a key. ``wrapping_key``: the URI of the key that wraps a local symmetric key, or empty."""

    uri: str
    kind: KeyType
    purpose: KeyPurpose
    subject: str
    created_by: str
    wrapping_key: str = ""


class DescribeKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests the description of a key in a token or key service. The response has it in ``described``."""

    uri: str


class RegisterKey(SecretStruct, frozen=True, kw_only=True, tag=True):
    """Registers a key that its token or key service has already. The response names it by its canonical URI.

    ``certificate``: the content of a file with the certificate of its current version.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("uri",)

    uri: str
    kind: KeyType
    purpose: KeyPurpose
    created_by: str
    certificate: bytes | None = None


class ListBackendKeys(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests the keys that can be registered: those of a section of the worker settings, or of all of them.

    The response has them in ``provider_keys``.
    """

    section: str = ""


class ProbeProviders(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Tests the providers of all sections of the worker settings. The response has the results in ``providers``."""


class ImportKey(SecretStruct, frozen=True, kw_only=True, tag=True):
    """Imports a key from the contents of a key file and, optionally, of a certificate file.

    ``wrapping_key``: as for :class:`GenerateKey`.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("uri",)

    uri: str
    content: bytes
    kind: KeyType
    purpose: KeyPurpose
    created_by: str
    password: str | None = None
    certificate: bytes | None = None
    wrapping_key: str = ""


class RotateKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    uri: str


class ImportCertificate(SecretStruct, frozen=True, kw_only=True, tag=True):
    """Creates a key version with the private key of ``version`` and a certificate from the content of a file."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("uri", "version")

    uri: str
    version: int
    content: bytes


class CreateCertificateRequest(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests a PKCS#10 certificate request (PEM) for a signing key."""

    uri: str
    version: int


class ExportKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests the bytes of a symmetric key, to provision devices."""

    uri: str
    version: int


class SignCheckpoint(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests a signed note for the audit log with ``size`` entries and the root hash ``root`` (hex).

    ``proof``: RFC 6962 consistency proof (hex) from the last signed checkpoint; see :class:`GetSignedCheckpoint`.
    """

    size: int
    root: str
    proof: tuple[str, ...] = ()


class GetSignedCheckpoint(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests the last signed checkpoint according to the worker state. The response has it in ``state``."""


class ConfirmAudited(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Confirms that the audit log has an entry for each of the unaudited events in :class:`GetSignedCheckpoint`."""


class AuditPublicKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Requests the public audit key. The worker creates the audit key if there is none yet.

    ``last_note``: the newest checkpoint of the audit log; the worker reports an error if the audit key did not sign it.
    """

    last_note: str | None = None


class ProbeSigningKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Tests a signing key: the worker signs a message that it creates itself and verifies the signature.

    ``certificate`` (PEM) is the recorded certificate, which verifies the signature. The signature never leaves the
    worker; the response is empty.
    """

    key: SigningKey
    certificate: str


class ProbeEncryptionKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Tests an encryption key: the worker encrypts a block and decrypts it again. The response is empty."""

    key: EncryptionKey


class ProbeAuditKey(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Tests the audit key like :class:`ProbeSigningKey`. ``public_key`` (PEM) verifies the signature."""

    public_key: str


ProviderCommand = (
    GenerateKey
    | DescribeKey
    | RegisterKey
    | ImportKey
    | RotateKey
    | ImportCertificate
    | CreateCertificateRequest
    | ExportKey
    | ListBackendKeys
    | ProbeProviders
    | ProbeSigningKey
    | ProbeEncryptionKey
    | ProbeAuditKey
)
"""Commands that use a key provider, which can take long."""

AuditCommand = SignCheckpoint | GetSignedCheckpoint | ConfirmAudited | AuditPublicKey

KeyCommand = ProviderCommand | AuditCommand
