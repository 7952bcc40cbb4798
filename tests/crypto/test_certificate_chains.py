"""Tests of building and checking certificate chains."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from sealyard.crypto.certificate_chains import MAX_CHAIN_LENGTH, Chain, build_chain, order_chain
from sealyard.crypto.signatures import PrivateKey
from sealyard.model.errors import InvalidKeyError
from tests.support.authority import START, Authority, key_usage
from tests.support.key_files import certificate_for

NOW = START + timedelta(days=100)
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ed25519.Ed25519PrivateKey.generate()
ROOT = Authority("root", path_length=2)
OUTER = Authority("outer", ROOT, path_length=1)
INNER = Authority("inner", OUTER, path_length=0)
LEAF = INNER.issue(KEY.public_key())
FULL = (LEAF, INNER.certificate, OUTER.certificate, ROOT.certificate)
SIGNATURE = key_usage(digital_signature=True)
CODE_SIGNING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
ANY_USAGE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
CA = x509.BasicConstraints(ca=True, path_length=None)


def build(*certificates: x509.Certificate, now: datetime = NOW) -> Chain:
    return build_chain(KEY.public_key(), certificates, now)


def build_error(*certificates: x509.Certificate, now: datetime = NOW) -> str:
    with pytest.raises(InvalidKeyError) as caught:
        build(*certificates, now=now)
    assert caught.value.hint
    return str(caught.value.message)


@given(st.permutations(FULL), st.integers(1, 4), st.lists(st.sampled_from(FULL), max_size=3))
def test_order_and_duplicates_do_not_matter(
    order: list[x509.Certificate], length: int, duplicates: list[x509.Certificate]
) -> None:
    """A chain may also end below the root: the rest is known to those who verify it."""
    chain = FULL[:length]
    certificates = [each for each in (*duplicates, *order) if each in chain]
    assert build(*certificates) == chain


@given(st.sets(st.sampled_from(FULL), min_size=1))
def test_any_subset_is_chain_or_rejected(subset: set[x509.Certificate]) -> None:
    if LEAF not in subset:
        assert "different key" in build_error(*subset)
    elif len(subset) == max(FULL.index(each) for each in subset) + 1:
        assert build(*subset) == FULL[: len(subset)]
    else:
        assert build_error(*subset).startswith("The chain has a gap: the certificate of ")


def test_gap_names_the_missing_certificate() -> None:
    message = build_error(LEAF, OUTER.certificate, ROOT.certificate)
    assert message == (
        'The chain has a gap: the certificate of "inner", which issued that of "signer", is missing. The file also'
        ' contains "outer", "root".'
    )


@pytest.mark.parametrize(
    "authority_key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
        OTHER_KEY,
        mldsa.MLDSA44PrivateKey.generate(),
    ],
)
def test_authority_may_have_a_key_of_any_type(authority_key: PrivateKey) -> None:
    root = Authority("root", key=authority_key)
    leaf = root.issue(KEY.public_key())
    assert build(root.certificate, leaf) == (leaf, root.certificate)


def test_self_signed_certificate_is_a_chain() -> None:
    certificate = certificate_for(KEY)
    assert build(certificate) == (certificate,)


def test_certificate_of_another_key_is_rejected() -> None:
    other = INNER.issue(OTHER_KEY.public_key())
    assert build_error(other) == "The certificate belongs to a different key."
    message = build_error(other, INNER.certificate)
    assert message == "Each of the 2 certificates belongs to a different key."


def test_two_certificates_of_the_key_are_ambiguous() -> None:
    renewed = INNER.issue(KEY.public_key(), "renewed", days=900)
    message = build_error(LEAF, renewed, INNER.certificate)
    assert message == (
        'The file contains 2 certificates of the key: "renewed" until 2028-06-19, "signer" until 2027-12-02.'
    )


@pytest.mark.parametrize(
    "others",
    [
        (INNER.issue(OTHER_KEY.public_key(), "other"),),
        (certificate_for(OTHER_KEY, name="other"),),
        (ROOT.certificate, Authority("other").certificate),
        (ROOT.certificate, Authority("other", ROOT).certificate),
    ],
)
def test_unrelated_certificate_is_rejected(others: tuple[x509.Certificate, ...]) -> None:
    message = build_error(LEAF, INNER.certificate, OUTER.certificate, *others)
    assert message == 'The file contains 1 certificate that the chain does not need: "other".'


def test_second_certificate_of_an_issuer_is_rejected() -> None:
    renewed = Authority("inner", OUTER, key=INNER.key, path_length=0, days=4000)
    message = build_error(*FULL, renewed.certificate)
    assert message == 'The file contains 1 certificate that the chain does not need: "inner".'
    assert order_chain(LEAF, (*FULL, renewed.certificate)) == (LEAF, renewed.certificate, *FULL[2:])


def test_issuer_with_another_key_is_rejected() -> None:
    message = build_error(LEAF, Authority("inner").certificate)
    assert message == 'The certificate of "signer" is not signed by the key of "inner" in the file.'


@pytest.mark.parametrize(
    ("position", "name"),
    [(0, "signer"), (1, "inner"), (2, "root")],
)
@pytest.mark.parametrize(
    ("start", "words"), [(-400, "expired on 2025-12-27 UTC."), (120, "is not valid before 2026-05-01 00:00 UTC.")]
)
def test_each_certificate_must_be_valid_now(position: int, name: str, start: int, words: str) -> None:
    starts = [START, START, START]
    starts[position] = START + timedelta(days=start)
    root = Authority("root", start=starts[2], days=395)
    inner = Authority("inner", root, start=starts[1], days=395)
    leaf = inner.issue(KEY.public_key(), start=starts[0], days=395)
    assert build_error(leaf, inner.certificate, root.certificate) == f'The certificate of "{name}" {words}'


@pytest.mark.parametrize("extensions", [(), (SIGNATURE,), (CODE_SIGNING,), (ANY_USAGE,), (SIGNATURE, CODE_SIGNING)])
def test_certificate_for_code_signing_is_accepted(extensions: tuple[x509.ExtensionType, ...]) -> None:
    leaf = ROOT.issue(KEY.public_key(), extensions=extensions)
    assert build(leaf) == (leaf,)


@pytest.mark.parametrize(
    ("extensions", "words"),
    [
        ((key_usage(key_cert_sign=True),), "is not for signatures: its key usage lacks digitalSignature"),
        ((SIGNATURE, SERVER), "is not for code signing: its extended key usage contains neither codeSigning nor any"),
    ],
)
def test_certificate_for_another_purpose_is_rejected(extensions: tuple[x509.ExtensionType, ...], words: str) -> None:
    leaf = ROOT.issue(KEY.public_key(), extensions=extensions)
    assert f'The certificate of "signer" {words}' in build_error(leaf, ROOT.certificate)


@pytest.mark.parametrize(
    ("extensions", "words"),
    [
        ((), "is not that of a certificate authority: its basic constraints lack CA"),
        ((x509.BasicConstraints(ca=False, path_length=None),), "is not that of a certificate authority"),
        ((CA, SIGNATURE), "may not issue certificates: its key usage lacks keyCertSign"),
        ((CA, SERVER), "is not for code signing"),
    ],
)
def test_issuer_must_be_an_authority_for_code_signing(extensions: tuple[x509.ExtensionType, ...], words: str) -> None:
    inner = Authority("inner", ROOT, extensions=extensions)
    message = build_error(inner.issue(KEY.public_key()), inner.certificate, ROOT.certificate)
    assert f'The certificate of "inner" {words}' in message


def test_extended_usage_of_root_is_ignored() -> None:
    root = Authority("root", extensions=(CA, SERVER))
    assert len(build(root.issue(KEY.public_key()), root.certificate)) == 2


def test_path_length_is_checked() -> None:
    root = Authority("root", path_length=1)
    outer = Authority("outer", root, path_length=None)
    inner = Authority("inner", outer)
    assert len(build(outer.issue(KEY.public_key()), outer.certificate, root.certificate)) == 3
    leaf = inner.issue(KEY.public_key())
    message = build_error(leaf, inner.certificate, outer.certificate, root.certificate)
    assert message == ('The certificate of "root" allows 1 intermediate certificate below it, but the chain has 2.')


def test_self_issued_certificate_does_not_count() -> None:
    root = Authority("root", path_length=1)
    old = Authority("outer", root, path_length=0)
    new = Authority("outer", old, path_length=0)
    leaf = new.issue(KEY.public_key())
    chain = (leaf, new.certificate, old.certificate, root.certificate)
    assert build(*reversed(chain)) == chain


def test_weak_signature_is_rejected() -> None:
    root = Authority("root", key=rsa.generate_private_key(65537, 2048), digest=hashes.SHA224())
    leaf = root.issue(KEY.public_key(), digest=hashes.SHA224())
    message = build_error(leaf, root.certificate)
    assert message == 'The certificate of "signer" is signed with SHA224, which is not accepted.'
    leaf = root.issue(KEY.public_key())
    assert build(leaf, root.certificate) == (leaf, root.certificate)


def test_long_chain_is_rejected() -> None:
    authorities = [Authority("0")]
    for number in range(1, MAX_CHAIN_LENGTH):
        authorities.append(Authority(str(number), authorities[-1]))
    certificates = [authority.certificate for authority in authorities]
    message = build_error(authorities[-1].issue(KEY.public_key()), *certificates)
    assert message == f"The chain has more than {MAX_CHAIN_LENGTH} certificates."
    assert len(build(authorities[-2].issue(KEY.public_key()), *certificates[:-1])) == MAX_CHAIN_LENGTH


def test_names_are_escaped() -> None:
    leaf = ROOT.issue(KEY.public_key(), "a\x1b[31m", days=1)
    assert '"a\\x1b[31m" expired' in build_error(leaf)


def test_chain_of_cross_signed_authorities_ends() -> None:
    """Two authorities that have issued each other's certificates are no endless chain."""
    first, second = Authority("first"), Authority("second")
    second_by_first = first.issue(second.key.public_key(), "second", extensions=(CA,))
    first_by_second = second.issue(first.key.public_key(), "first", extensions=(CA,))
    leaf = first.issue(KEY.public_key())
    assert build(leaf, first_by_second, second_by_first) == (leaf, first_by_second, second_by_first)
