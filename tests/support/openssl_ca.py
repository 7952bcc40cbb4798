"""A certificate authority operated with ``openssl ca``: a root, an issuing authority, and profiles for certificates."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.programs import require

_CONFIG = """\
[ca]
default_ca = authority
[authority]
dir = .
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
default_days = 365
policy = policy
unique_subject = no
[policy]
commonName = supplied
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:TRUE, pathlen:1
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[issuer]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[signer]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = codeSigning
authorityKeyIdentifier = keyid
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
[encipherment]
basicConstraints = critical, CA:FALSE
keyUsage = critical, keyEncipherment
"""


class OpensslAuthority:
    """A folder with the files of one authority. Certificates are issued by ``openssl ca``."""

    def __init__(
        self,
        folder: Path,
        name: str,
        issuer: OpensslAuthority | None = None,
        profile: str = "root",
        digest: str = "sha256",
    ) -> None:
        folder.mkdir()
        self._folder = folder
        self.key, self.certificate = folder / "key.pem", folder / "certificate.pem"
        (folder / "config").write_text(_CONFIG)
        (folder / "index.txt").touch()
        (folder / "serial").write_text("1000\n")
        request = folder / "request.pem"
        key_options = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-keyout", self.key)
        self._run("req", "-config", "config", *key_options, "-subj", f"/CN={name}", "-out", request)
        if issuer is None:
            self._run("ca", "-config", "config", "-batch", "-selfsign", "-keyfile", self.key, "-notext", "-md", digest,
                "-extensions", profile, "-days", "3650", "-in", request, "-out", self.certificate)  # fmt: skip
        else:
            self.certificate.write_bytes(issuer.issue(request, profile, "-days", "1825").read_bytes())

    def issue(self, request: Path, profile: str = "signer", *options: str) -> Path:
        """Issue a certificate with the extensions of ``profile``, and return its file."""
        serial = (self._folder / "serial").read_text().strip()
        certificate = self._folder / f"issued-{serial}.pem"
        self._run("ca", "-config", "config", "-batch", "-notext", "-cert", self.certificate, "-keyfile", self.key,
            "-extensions", profile, *options, "-in", request, "-out", certificate)  # fmt: skip
        return certificate

    def _run(self, *arguments: str | Path) -> None:
        result = subprocess.run(
            [require("openssl"), *map(str, arguments)], cwd=self._folder, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr


def verifies(root: Path, leaf: Path, *issuers: Path) -> bool:
    """Return whether OpenSSL accepts the chain."""
    untrusted = [argument for issuer in issuers for argument in ("-untrusted", str(issuer))]
    arguments = ["verify", "-x509_strict", "-CAfile", str(root), *untrusted, str(leaf)]
    return subprocess.run([require("openssl"), *arguments], capture_output=True, check=False).returncode == 0
