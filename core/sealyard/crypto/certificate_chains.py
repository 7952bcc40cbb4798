"""Build certificate chains: the path from the certificate of a key to the topmost certificate of its authority.

The certificates may be in any order, with or without that of the root. A chain for signing keys is accepted if

- each certificate is signed by the next one, with SHA-256, SHA-384 or SHA-512 (or a scheme that needs no hash
  function, such as Ed25519), and each is valid now;
- the key usage of the key's certificate, if present, contains ``digitalSignature``;
- the extended key usage of any certificate but the root, if present, contains ``codeSigning`` or
  ``anyExtendedKeyUsage``;
- the issuers are certificate authorities (``basicConstraints``) within their path lengths, and their key usage, if
  present, contains ``keyCertSign``.

Revocation and name constraints are not checked (RFC 5280 describes all of these).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from sealyard.crypto.certificates import compute_fingerprint, format_name
from sealyard.model.errors import InvalidKeyError
from sealyard.model.formatting import format_count
from sealyard.model.safe_text import escape_text

MAX_CHAIN_LENGTH = 10
"""Maximum number of certificates in a chain."""

_ACCEPTED_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_ACCEPTED_USAGES = (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
_MAX_NAME_LENGTH = 80
_REPLACE_CERTIFICATE = "Ask the certificate authority for another certificate."
_REPLACE_ISSUER = "Use the present certificate of this certificate authority."

E = TypeVar("E", bound=x509.ExtensionType)

Chain = tuple[x509.Certificate, ...]
"""Certificates, of which each is signed by the next one. The first one is that of the key."""


def build_chain(public_key: PublicKeyTypes, certificates: Sequence[x509.Certificate], now: datetime) -> Chain:
    """Return the chain of the certificate for ``public_key``, which must consist of all ``certificates``.

    Raises :class:`InvalidKeyError` if the file has no or several certificates of the key, certificates that do not
    belong to the chain, or a chain that is not accepted. The message names the certificate by its subject.
    """
    certificates = _without_duplicates(certificates)
    chain = order_chain(_find_leaf(public_key, certificates), certificates)
    # Before the chain is checked for gaps: a signature by an unsupported algorithm cannot be verified.
    _check_signature_algorithms(chain)
    _require_complete(chain, [certificate for certificate in certificates if certificate not in chain])
    if len(chain) > MAX_CHAIN_LENGTH:
        raise InvalidKeyError(f"The chain has more than {MAX_CHAIN_LENGTH} certificates.", "Use a shorter chain.")
    for index, certificate in enumerate(chain):
        _check_validity(certificate, now, is_leaf=index == 0)
        if index:
            # Certificates that an authority issued to itself, to replace its key, do not count (RFC 5280, 6.1.4).
            _check_issuer(certificate, sum(each.issuer != each.subject for each in chain[1:index]))
    _check_leaf_usage(chain[0])
    _check_extended_usages(chain)
    return chain


def order_chain(leaf: x509.Certificate, certificates: Iterable[x509.Certificate]) -> Chain:
    """Return ``leaf`` and its issuers among ``certificates``, in order. Only names and signatures are verified.

    If several certificates have the issuer's name and key, the one that expires last is used.
    """
    chain, candidates = [leaf], _without_duplicates(certificates)
    while not is_root(chain[-1]):
        issuers = [each for each in candidates if each not in chain and is_issuer(each, chain[-1])]
        if not issuers:
            break
        chain.append(max(issuers, key=lambda each: (each.not_valid_after_utc, each.fingerprint(hashes.SHA256()))))
    return tuple(chain)


def is_issuer(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Return whether the key and name of ``issuer`` are those that signed ``certificate``."""
    if certificate.issuer != issuer.subject:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
    return True


def is_root(certificate: x509.Certificate) -> bool:
    """Return whether the certificate is self-signed.

    The signature of a root protects nothing, so one by an algorithm that is not accepted is not verified.
    """
    if certificate.issuer != certificate.subject:
        return False
    return bool(_find_weak_algorithm(certificate)) or is_issuer(certificate, certificate)


def certificates_of(
    public_key: PublicKeyTypes, certificates: Iterable[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    """Return the certificates of ``public_key``."""
    fingerprint = compute_fingerprint(public_key)
    return tuple(certificate for certificate in certificates if _fingerprint_of(certificate) == fingerprint)


def require_certificate_of(
    public_key: PublicKeyTypes, certificates: Sequence[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    """Return the certificates of ``public_key``. Raises :class:`InvalidKeyError` if there are none."""
    matches = certificates_of(public_key, certificates)
    if not matches:
        count = len(certificates)
        raise InvalidKeyError(
            "The certificate belongs to a different key."
            if count == 1
            else f"Each of the {count} certificates belongs to a different key.",
            "Use the certificate that was issued for this key.",
        )
    return matches


def without_root(chain: Chain) -> Chain:
    """Return the chain without the self-signed certificate at its end, which verifiers must have from elsewhere.

    The certificate of the key remains, even if it is self-signed.
    """
    return chain[:-1] if len(chain) > 1 and is_root(chain[-1]) else chain


# ---- certificates of a file


def _without_duplicates(certificates: Iterable[x509.Certificate]) -> list[x509.Certificate]:
    return list({certificate.fingerprint(hashes.SHA256()): certificate for certificate in certificates}.values())


def _fingerprint_of(certificate: x509.Certificate) -> str:
    """Return the fingerprint of the certificate's key; empty if the type of the key is unknown."""
    try:
        return compute_fingerprint(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return ""


def _find_leaf(public_key: PublicKeyTypes, certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    matches = require_certificate_of(public_key, certificates)
    if len(matches) > 1:
        descriptions = sorted(f"{_quote(each)} until {each.not_valid_after_utc:%Y-%m-%d}" for each in matches)
        raise InvalidKeyError(
            f"The file contains {len(matches)} certificates of the key: {', '.join(descriptions)}.",
            "Use a file with only one of them, and its issuers.",
        )
    return matches[0]


def _require_complete(chain: Chain, others: list[x509.Certificate]) -> None:
    """Raise :class:`InvalidKeyError` if the file contains ``others`` besides the chain."""
    if not others:
        return
    top = chain[-1]
    names = ", ".join(sorted(_quote(certificate) for certificate in others))
    if is_root(top) or not any(_is_above(other, chain) for other in others):
        raise InvalidKeyError(
            f"The file contains {format_count(len(others), 'certificate')} that the chain does not need: {names}.",
            "Use a file with the certificate of the key and its issuers only.",
        )
    if any(other.subject == top.issuer for other in others):
        raise InvalidKeyError(
            f"The certificate of {_quote(top)} is not signed by the key of {_quote_name(top.issuer)} in the file.",
            "Use the certificate of the authority that issued it.",
        )
    raise InvalidKeyError(
        f"The chain has a gap: the certificate of {_quote_name(top.issuer)}, which issued that of {_quote(top)}, is"
        f" missing. The file also contains {names}.",
        "Add the missing certificate to the file, or remove those above the gap.",
    )


def _is_above(other: x509.Certificate, chain: Chain) -> bool:
    """Return whether the certificate can be one of the authorities above ``chain``."""
    constraints = _find_extension(other, x509.BasicConstraints)
    is_related = any(is_issuer(other, certificate) or is_issuer(certificate, other) for certificate in chain)
    return constraints is not None and constraints.ca and not is_related


# ---- checks of a certificate


def _check_validity(certificate: x509.Certificate, now: datetime, *, is_leaf: bool) -> None:
    hint = _REPLACE_CERTIFICATE if is_leaf else _REPLACE_ISSUER
    if now > certificate.not_valid_after_utc:
        raise InvalidKeyError(
            f"The certificate of {_quote(certificate)} expired on {certificate.not_valid_after_utc:%Y-%m-%d} UTC.", hint
        )
    if now < certificate.not_valid_before_utc:
        raise InvalidKeyError(
            f"The certificate of {_quote(certificate)} is not valid before"
            f" {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC.",
            f"Import it then. {hint}",
        )


def _check_signature_algorithms(chain: Chain) -> None:
    for certificate in without_root(chain):
        if name := _find_weak_algorithm(certificate):
            raise InvalidKeyError(
                f"The certificate of {_quote(certificate)} is signed with {name}, which is not accepted.",
                "Ask the certificate authority for a certificate with SHA-256, SHA-384 or SHA-512.",
            )


def _find_weak_algorithm(certificate: x509.Certificate) -> str:
    """Return the hash or signature algorithm of the signature if it is not accepted; otherwise an empty string."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return f"the algorithm {certificate.signature_algorithm_oid.dotted_string}"
    return "" if algorithm is None or isinstance(algorithm, _ACCEPTED_HASHES) else algorithm.name.upper()


def _check_leaf_usage(certificate: x509.Certificate) -> None:
    usage = _find_extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise InvalidKeyError(
            f"The certificate of {_quote(certificate)} is not for signatures: its key usage lacks digitalSignature.",
            _REPLACE_CERTIFICATE,
        )


def _check_extended_usages(chain: Chain) -> None:
    for certificate in without_root(chain):
        _check_extended_usage(certificate)


def _check_extended_usage(certificate: x509.Certificate) -> None:
    usage = _find_extension(certificate, x509.ExtendedKeyUsage)
    if usage is not None and not any(accepted in usage for accepted in _ACCEPTED_USAGES):
        raise InvalidKeyError(
            f"The certificate of {_quote(certificate)} is not for code signing: its extended key usage contains neither"
            " codeSigning nor anyExtendedKeyUsage.",
            "Ask the certificate authority for a certificate for code signing, or without an extended key usage.",
        )


def _check_issuer(certificate: x509.Certificate, intermediate_count: int) -> None:
    """Check that the certificate may issue others. ``intermediate_count``: number of those between it and the leaf."""
    constraints = _find_extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise InvalidKeyError(
            f"The certificate of {_quote(certificate)} is not that of a certificate authority: its basic constraints"
            " lack CA.",
            _REPLACE_ISSUER,
        )
    if constraints.path_length is not None and intermediate_count > constraints.path_length:
        raise InvalidKeyError(
            f"The certificate of {_quote(certificate)} allows"
            f" {format_count(constraints.path_length, 'intermediate certificate')} below it, but the chain has"
            f" {intermediate_count}.",
            "Ask the certificate authority for a shorter chain.",
        )
    usage = _find_extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise InvalidKeyError(
            f"The certificate of {_quote(certificate)} may not issue certificates: its key usage lacks keyCertSign.",
            _REPLACE_ISSUER,
        )


def _find_extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    """Return an extension, or None if the certificate has none of this kind."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except Exception as error:  # the parser raises undocumented exception types
        raise InvalidKeyError(
            f"The extensions of the certificate of {_quote(certificate)} cannot be read.", _REPLACE_CERTIFICATE
        ) from error


def _quote(certificate: x509.Certificate) -> str:
    return _quote_name(certificate.subject)


def _quote_name(name: x509.Name) -> str:
    return f'"{escape_text(format_name(name), _MAX_NAME_LENGTH)}"'
