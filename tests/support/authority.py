"""A certificate authority for tests: issues certificates with chosen extensions and validity."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from sealyard.crypto.signatures import PrivateKey

START = datetime(2026, 1, 1, tzinfo=UTC)


class Authority:
    """The key and certificate of an authority. Without ``issuer``, the certificate is that of a root."""

    def __init__(
        self,
        name: str,
        issuer: Authority | None = None,
        *,
        key: PrivateKey | None = None,
        path_length: int | None = None,
        extensions: Iterable[x509.ExtensionType] | None = None,
        start: datetime = START,
        days: int = 3650,
        digest: hashes.SHA224 | hashes.SHA256 | None = None,
    ) -> None:
        self.key: PrivateKey = key or ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        if extensions is None:
            extensions = (x509.BasicConstraints(ca=True, path_length=path_length), key_usage(key_cert_sign=True))
        signer = issuer or self
        self.certificate = signer.issue(
            self.key.public_key(), name, extensions=extensions, start=start, days=days, digest=digest
        )

    def issue(
        self,
        public_key: PublicKeyTypes,
        name: str = "signer",
        *,
        extensions: Iterable[x509.ExtensionType] = (),
        start: datetime = START,
        days: int = 700,
        digest: hashes.SHA224 | hashes.SHA256 | None = None,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(self.name)
            .public_key(cast(CertificatePublicKeyTypes, public_key))
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=days))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        needs_hash = isinstance(self.key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        return builder.sign(self.key, (digest or hashes.SHA256()) if needs_hash else None)


def key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )


def encode_chain(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
