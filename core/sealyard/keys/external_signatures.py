"""Create certificates and certificate requests whose signature is made in a token or key service.

The X.509 library signs with a private key of this process only. A document is therefore signed by a throwaway key of
the same type first, which determines the identifier of the signature algorithm, and its signature is replaced.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealyard.crypto.algorithms import SHA256_LENGTH, SIGNATURES, SignatureScheme, SigningInput
from sealyard.crypto.certificates import build_self_signed, load_subject
from sealyard.crypto.signatures import PrivateKey, key_type_of
from sealyard.keys.der import SEQUENCE, Element, encode_element, encode_elements, read_element, read_elements
from sealyard.keys.material import generate_key
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.errors import InvalidKeyError

_BIT_STRING = 0x03
_NO_UNUSED_BITS = b"\0"
_THROWAWAY_KEY_TYPES = {KeyType.RSA_3072: KeyType.RSA_2048, KeyType.RSA_4096: KeyType.RSA_2048}
"""The size of an RSA key does not change the identifier of its algorithm, and short keys are generated quickly."""

SignDocument = Callable[[SigningAlgorithm, bytes], Awaitable[bytes]]
"""Returns the signature of a message by the key that the document is for."""


async def create_self_signed(
    public_key: CertificatePublicKeyTypes,
    common_name: str,
    now: datetime,
    algorithms: tuple[SigningAlgorithm, ...],
    sign: SignDocument,
) -> bytes:
    """Create a self-signed certificate (PEM); see :func:`sealyard.crypto.certificates.create_self_signed`.

    ``algorithms``: those of the key. Raises :class:`InvalidKeyError` if none of them can sign certificates.
    """
    algorithm = _choose_algorithm(algorithms)
    builder = build_self_signed(public_key, common_name, now)
    template = builder.sign(_create_template_key(public_key), _hash(algorithm), rsa_padding=_rsa_padding(algorithm))
    signature = await sign(algorithm, template.tbs_certificate_bytes)
    certificate = _replace(template.public_bytes(Encoding.DER), template.tbs_certificate_bytes, signature)
    return x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)


async def create_certificate_request(
    public_key: CertificatePublicKeyTypes,
    certificate: str,
    algorithms: tuple[SigningAlgorithm, ...],
    sign: SignDocument,
) -> str:
    """Create a PKCS#10 request (PEM); see :func:`sealyard.crypto.certificates.create_certificate_request`."""
    algorithm = _choose_algorithm(algorithms)
    builder = x509.CertificateSigningRequestBuilder().subject_name(load_subject(certificate))
    template = builder.sign(_create_template_key(public_key), _hash(algorithm), rsa_padding=_rsa_padding(algorithm))
    # The request is built for the throwaway key, because the builder knows no other (RFC 2986, section 4.1).
    version, subject, _, attributes = read_elements(read_element(template.tbs_certrequest_bytes, SEQUENCE))
    key_info = read_element(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), SEQUENCE)
    request_info = encode_element(
        SEQUENCE, encode_elements([version, subject, Element(SEQUENCE, key_info), attributes])
    )
    signature = await sign(algorithm, request_info)
    request = _replace(template.public_bytes(Encoding.DER), request_info, signature)
    return x509.load_der_x509_csr(request).public_bytes(Encoding.PEM).decode()


def _choose_algorithm(algorithms: tuple[SigningAlgorithm, ...]) -> SigningAlgorithm:
    """Return the algorithm that most programs can verify in a certificate."""
    specs = [
        spec
        for spec in map(SIGNATURES.__getitem__, algorithms)
        if spec.input is SigningInput.MESSAGE and spec.hash in (HashName.SHA256, None)
    ]
    if not specs:
        raise InvalidKeyError(
            "The key cannot sign certificates with SHA-256.", "Register it with the certificate of a PKI."
        )
    specs.sort(key=lambda spec: spec.scheme is not SignatureScheme.PKCS1_V15)
    return specs[0].algorithm


def _create_template_key(public_key: PublicKeyTypes) -> PrivateKey:
    """Generate a throwaway key that has the same type as ``public_key``."""
    kind = key_type_of(public_key)
    key = generate_key(_THROWAWAY_KEY_TYPES.get(kind, kind))
    assert isinstance(key, PrivateKey)
    return key


def _rsa_padding(algorithm: SigningAlgorithm) -> PSS | None:
    is_pss = SIGNATURES[algorithm].scheme is SignatureScheme.PSS
    return PSS(MGF1(SHA256()), SHA256_LENGTH) if is_pss else None


def _hash(algorithm: SigningAlgorithm) -> SHA256 | None:
    return SHA256() if SIGNATURES[algorithm].hash else None


def _replace(document: bytes, signed_part: bytes, signature: bytes) -> bytes:
    """Return ``document`` (DER of signed part, algorithm, signature) with another signed part and signature."""
    _, algorithm, _ = read_elements(read_element(document, SEQUENCE))
    return encode_element(
        SEQUENCE,
        signed_part + encode_elements([algorithm, Element(_BIT_STRING, _NO_UNUSED_BITS + signature)]),
    )
