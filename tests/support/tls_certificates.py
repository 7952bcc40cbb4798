"""TLS certificates for tests, issued by a CA of their own."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)


def create_cert_pair(folder: Path, name: str, passphrase: bytes = b"") -> tuple[Path, Path]:
    """Create a certificate of this machine and its key; return the paths of their files.

    The first file also contains the certificate of the CA, so that clients can use it as trust anchor. The key is
    encrypted if ``passphrase`` is given.
    """
    ca = trustme.CA()
    issued = ca.issue_cert("localhost", "127.0.0.1")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    chain = [*issued.cert_chain_pems, ca.cert_pem]
    certificate.write_bytes(b"".join(pem.bytes() for pem in chain))
    key_pem = issued.private_key_pem.bytes()
    if passphrase:
        private_key = load_pem_private_key(key_pem, None)
        key_pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
    key.write_bytes(key_pem)
    return certificate, key


class ClusterAuthority:
    """An authority that issues the certificates of the servers of a cluster."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.certificate = folder / "cluster-ca.pem"
        self.certificate.write_bytes(self._ca.cert_pem.bytes())

    def issue(self, name: str, *hosts: str) -> tuple[Path, Path]:
        """Issue a certificate for this machine or other hosts; return the paths of certificate and key."""
        issued = self._ca.issue_cert(*(hosts or ("localhost", "127.0.0.1")))
        certificate, key = self._folder / f"{name}-cluster.pem", self._folder / f"{name}-cluster.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key


def first_certificate(path: Path) -> str:
    """Return the first certificate in a PEM file, normalized."""
    end = "-----END CERTIFICATE-----"
    pem = path.read_text().partition(end)[0] + end
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(pem))
