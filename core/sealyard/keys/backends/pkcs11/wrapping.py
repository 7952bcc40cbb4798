"""Wrap secrets with an AES key in a token.

A wrapped secret begins with a byte for its form:

1. The token encrypts the secret and authenticates it with the associated data (CKM_AES_GCM): a random nonce of 12
   bytes, and the ciphertext with its tag of 16 bytes.
2. For tokens without CKM_AES_GCM. A new data key of 32 bytes is wrapped by the token with AES Key Wrap
   (CKM_AES_KEY_WRAP, RFC 3394), and this process encrypts the secret with AES-256-GCM under the data key: the wrapped
   data key of 40 bytes, a random nonce of 12 bytes, and the ciphertext with its tag of 16 bytes.

In both forms, AES-GCM authenticates the form byte followed by the associated data. In form 2, the data key is used
once, so a part of one wrapped secret cannot be combined with a part of another. The data key is an object of the
session only, and is destroyed after each use. A key is used with one of the forms: AES-GCM if the token and the
attributes of the key permit it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pkcs11
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pkcs11 import Attribute, GCMParams, Mechanism, MechanismFlag, ObjectClass

from sealyard.keys.backends.pkcs11.connection import TokenSession
from sealyard.keys.backends.pkcs11.key_objects import KeyObject
from sealyard.keys.backends.pkcs11.mechanisms import has_mechanism
from sealyard.keys.wrapping import check_secret_size
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import InvalidKeyError, KeyProviderError

_IN_TOKEN, _BY_DATA_KEY = b"\x01", b"\x02"
_NONCE_LENGTH = 12
_TAG_LENGTH = 16
_DATA_KEY_LENGTH = 32
_WRAPPED_KEY_LENGTH = 40

ENCRYPTION = MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
WRAPPING = MechanismFlag.WRAP | MechanismFlag.UNWRAP

_REJECTIONS = (
    pkcs11.ArgumentsBad,
    pkcs11.DataInvalid,
    pkcs11.DataLenRange,
    pkcs11.EncryptedDataInvalid,
    pkcs11.EncryptedDataLenRange,
    pkcs11.FunctionFailed,
    pkcs11.GeneralError,
    pkcs11.MechanismParamInvalid,
    pkcs11.SignatureInvalid,
    pkcs11.WrappedKeyInvalid,
    pkcs11.WrappedKeyLenRange,
)
"""Errors by which tokens reject a changed value. Some of them can also mean that the token is lost."""


def has_wrapping_mechanism(session: TokenSession) -> bool:
    return has_mechanism(session.mechanisms, Mechanism.AES_GCM, ENCRYPTION) or has_mechanism(
        session.mechanisms, Mechanism.AES_KEY_WRAP, WRAPPING
    )


def can_wrap(session: TokenSession, key: KeyObject) -> bool:
    return _encrypts(session, key) or _wraps_keys(session, key)


def wrap_secret(session: TokenSession, key: KeyObject, uri: str, secret: bytes, associated_data: bytes) -> bytes:
    """Wrap ``secret``; see :meth:`sealyard.keys.backend.KeyBackend.wrap`.

    The result is unwrapped again before it is returned, because some tokens choose the nonce themselves.
    """
    _check_wrapping_key(session, key, uri)
    check_secret_size(secret)
    encrypts = _encrypts(session, key)
    wrap, unwrap = (_wrap_in_token, _unwrap_in_token) if encrypts else (_wrap_by_data_key, _unwrap_by_data_key)
    wrapped = wrap(session, key, secret, associated_data)
    try:
        is_valid = unwrap(session, key, wrapped, associated_data) == secret
    except (InvalidTag, pkcs11.EncryptedDataInvalid, pkcs11.WrappedKeyInvalid):
        is_valid = False
    if not is_valid:
        raise KeyProviderError(
            f"The token {session.token.label} does not unwrap what it wrapped with the key {uri}.",
            "Use a local key instead: the token does not implement the mechanism as required.",
        )
    return wrapped


def unwrap_secret(session: TokenSession, key: KeyObject, uri: str, wrapped: bytes, associated_data: bytes) -> bytes:
    """Unwrap a secret; see :meth:`sealyard.keys.backend.KeyBackend.unwrap`."""
    _check_wrapping_key(session, key, uri)
    try:
        if wrapped[:1] == _IN_TOKEN and _encrypts(session, key):
            return _unwrap_in_token(session, key, wrapped, associated_data)
        if wrapped[:1] == _BY_DATA_KEY and _wraps_keys(session, key):
            return _unwrap_by_data_key(session, key, wrapped, associated_data)
    except (*_REJECTIONS, InvalidTag, ValueError):
        # Tokens report a wrong tag by general errors, too. If the key works, the value is wrong.
        wrap_secret(session, key, uri, secrets.token_bytes(_TAG_LENGTH), b"")
    raise InvalidKeyError(
        f"A secret that was wrapped with the key {uri} cannot be opened: it was changed, or wrapped for another use.",
        "Restore the workspace from a backup.",
    )


def _check_wrapping_key(session: TokenSession, key: KeyObject, uri: str) -> None:
    if not can_wrap(session, key):
        raise InvalidKeyError(
            f"The key {uri} in the token {session.token.label} cannot wrap secrets.",
            f"Use a key of type {KeyType.AES_256} that may encrypt and decrypt, or wrap and unwrap.",
        )


def _encrypts(session: TokenSession, key: KeyObject) -> bool:
    is_permitted = key.kind is KeyType.AES_256 and key.allows(Attribute.ENCRYPT, Attribute.DECRYPT)
    return is_permitted and key.can_use(session, Mechanism.AES_GCM, ENCRYPTION)


def _wraps_keys(session: TokenSession, key: KeyObject) -> bool:
    is_permitted = key.kind is KeyType.AES_256 and key.allows(Attribute.WRAP, Attribute.UNWRAP)
    return is_permitted and key.can_use(session, Mechanism.AES_KEY_WRAP, WRAPPING)


def _wrap_in_token(session: TokenSession, key: KeyObject, secret: bytes, associated_data: bytes) -> bytes:  # noqa: ARG001 - both forms have one signature
    nonce = secrets.token_bytes(_NONCE_LENGTH)
    ciphertext: bytes = key.pkcs11_object.encrypt(
        secret, mechanism=Mechanism.AES_GCM, mechanism_param=_gcm_parameters(nonce, _IN_TOKEN + associated_data)
    )
    return _IN_TOKEN + nonce + ciphertext


def _unwrap_in_token(session: TokenSession, key: KeyObject, wrapped: bytes, associated_data: bytes) -> bytes:  # noqa: ARG001
    nonce, ciphertext = wrapped[1 : 1 + _NONCE_LENGTH], wrapped[1 + _NONCE_LENGTH :]
    if len(ciphertext) <= _TAG_LENGTH:
        raise InvalidTag
    secret: bytes = key.pkcs11_object.decrypt(
        ciphertext, mechanism=Mechanism.AES_GCM, mechanism_param=_gcm_parameters(nonce, _IN_TOKEN + associated_data)
    )
    return secret


def _gcm_parameters(nonce: bytes, associated_data: bytes) -> GCMParams:
    return GCMParams(nonce, associated_data, _TAG_LENGTH * 8)


def _wrap_by_data_key(session: TokenSession, key: KeyObject, secret: bytes, associated_data: bytes) -> bytes:
    data_key, nonce = secrets.token_bytes(_DATA_KEY_LENGTH), secrets.token_bytes(_NONCE_LENGTH)
    template = {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: pkcs11.KeyType.AES,
        Attribute.VALUE: data_key,
        **_DATA_KEY_ATTRIBUTES,
    }
    with _destroyed_at_exit(session.session.create_object(template)) as data_key_object:
        wrapped_key: bytes = key.pkcs11_object.wrap_key(data_key_object, mechanism=Mechanism.AES_KEY_WRAP)
    ciphertext = AESGCM(data_key).encrypt(nonce, secret, _BY_DATA_KEY + associated_data)
    return _BY_DATA_KEY + wrapped_key + nonce + ciphertext


def _unwrap_by_data_key(session: TokenSession, key: KeyObject, wrapped: bytes, associated_data: bytes) -> bytes:  # noqa: ARG001
    wrapped_key, rest = wrapped[1 : 1 + _WRAPPED_KEY_LENGTH], wrapped[1 + _WRAPPED_KEY_LENGTH :]
    nonce, ciphertext = rest[:_NONCE_LENGTH], rest[_NONCE_LENGTH:]
    data_key_object = key.pkcs11_object.unwrap_key(
        ObjectClass.SECRET_KEY,
        pkcs11.KeyType.AES,
        wrapped_key,
        mechanism=Mechanism.AES_KEY_WRAP,
        capabilities=MechanismFlag(0),
        template=_DATA_KEY_ATTRIBUTES,
    )
    with _destroyed_at_exit(data_key_object):
        data_key: bytes = data_key_object[Attribute.VALUE]
    return AESGCM(data_key).decrypt(nonce, ciphertext, _BY_DATA_KEY + associated_data)


_DATA_KEY_ATTRIBUTES = {
    Attribute.TOKEN: False,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: False,
    Attribute.EXTRACTABLE: True,
}
"""A data key is an object of the session that can be wrapped and read."""


@contextmanager
def _destroyed_at_exit(pkcs11_object: Any) -> Iterator[Any]:
    try:
        yield pkcs11_object
    finally:
        # The object ends with its session at the latest.
        with suppress(pkcs11.PKCS11Error):
            pkcs11_object.destroy()
