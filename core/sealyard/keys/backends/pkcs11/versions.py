"""Find the keys that names refer to, and their versions.

PKCS#11 has no versions. The versions of a key are objects with the same label and type, whose identifiers (CKA_ID) have
the same length and differ in the last two bytes only, which count them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec
from pkcs11 import Attribute, ObjectClass

from sealyard.keys.backends.pkcs11.connection import TokenSession
from sealyard.keys.backends.pkcs11.key_objects import KeyObject, search_keys
from sealyard.model.errors import InvalidKeyError, NotFoundError
from sealyard.model.pkcs11_uris import Pkcs11Name, parse_pkcs11_name

SCHEME = "pkcs11"
COUNTER_LENGTH = 2
"""Length in bytes of the number of a version at the end of its identifier."""

_KEY_CLASSES = (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY)


def format_uri(name: str) -> str:
    return f"{SCHEME}:{name}"


def parse_name(session: TokenSession, text: str) -> Pkcs11Name:
    """Parse the name of a key. Raises :class:`NotFoundError` if it names a key of another token."""
    name = parse_pkcs11_name(text)
    token = session.token
    expected_values = (
        ("token", name.token, token.label),
        ("manufacturer", name.manufacturer, token.manufacturer_id),
        ("model", name.model, token.model),
        ("serial", name.serial, token.serial.decode(errors="replace").rstrip("\0 ")),
    )
    for attribute, requested, actual in expected_values:
        if requested is not None and requested != actual:
            raise NotFoundError(
                f"{format_uri(text)} is not in the token {token.label}: its {attribute} is {actual or 'empty'}.",
                "Correct the URI, or set up the token in a section of its own in the worker settings.",
            )
    return name


def find_versions(session: TokenSession, text: str) -> list[KeyObject]:
    """Return the versions of the key ``text``, the newest last; exactly one if the name contains an identifier.

    Raises :class:`NotFoundError` if there is no such key, and :class:`InvalidKeyError` if the name is ambiguous, or if
    the key has no identifier.
    """
    name = parse_name(session, text)
    keys = _search(session, name)
    if not keys:
        raise _not_found(session, text)
    uri, token = format_uri(text), session.token.label
    if any(not key.identifier for key in keys):
        raise InvalidKeyError(
            f"The key {uri} in the token {token} has no CKA_ID.", "Give the key and its public key the same CKA_ID."
        )
    if len(keys) > 1 and (name.id is not None or not _are_versions(keys)):
        raise _ambiguous(session, text, len(keys))
    return sorted(keys, key=_version_order)


def find_version(session: TokenSession, text: str, native_id: str) -> KeyObject:
    """Return one version of the key ``text``; it is searched only once in each session.

    Other keys with the same label do not matter. Raises :class:`NotFoundError` if there is no such version, and
    :class:`InvalidKeyError` if several keys have this identifier.
    """
    cached_key = session.cache.get((text, native_id))
    if isinstance(cached_key, KeyObject):
        return cached_key
    name = parse_name(session, text)
    identifier = _parse_native_id(native_id)
    keys = _search(session, msgspec.structs.replace(name, id=identifier)) if name.id in (None, identifier) else []
    if not identifier or not keys:
        raise _not_found(session, f"{text} with the CKA_ID {native_id}")
    if len(keys) > 1:
        raise _ambiguous(session, text, len(keys))
    session.cache[text, native_id] = keys[0]
    return keys[0]


def canonical_name(session: TokenSession, text: str, key: KeyObject) -> str:
    """Return the name of a key without attributes of its token besides the label, but with the label of the key."""
    identifier = parse_name(session, text).id
    return str(Pkcs11Name(token=session.token.label, object=key.label or None, id=identifier))


def list_key_groups(session: TokenSession) -> list[tuple[str, list[KeyObject]]]:
    """Return all keys of the token by their names: those that are versions of each other have one name."""
    session.check_presence()
    groups: dict[str, list[KeyObject]] = defaultdict(list)
    for object_class in _KEY_CLASSES:
        for key in search_keys(session, object_class):
            if key.identifier:
                groups[key.label].append(key)
    named_groups: list[tuple[str, list[KeyObject]]] = []
    token = session.token.label
    for label, keys in groups.items():
        if label and (len(keys) == 1 or _are_versions(keys)):
            named_groups.append((str(Pkcs11Name(token=token, object=label)), sorted(keys, key=_version_order)))
            continue
        named_groups += [
            (str(Pkcs11Name(token=token, object=label or None, id=key.identifier)), [key])
            for key in _select_unique(keys)
        ]
    return named_groups


def next_identifier(session: TokenSession, newest: KeyObject, uri: str) -> bytes:
    """Return the first unused identifier for a version after ``newest``."""
    length = len(newest.identifier)
    counter_length = min(COUNTER_LENGTH, length)
    prefix, counter = newest.identifier[:-counter_length], newest.identifier[-counter_length:]
    for number in range(int.from_bytes(counter, "big") + 1, 256**counter_length):
        identifier = prefix + number.to_bytes(counter_length, "big")
        if not is_used(session, identifier):
            return identifier
    raise InvalidKeyError(
        f"The key {uri} cannot be rotated: there is no CKA_ID after {newest.native_id}.", "Generate another key."
    )


def is_used(session: TokenSession, identifier: bytes) -> bool:
    """Return whether a key or certificate of the token has this identifier."""
    return any(
        list(
            session.session.get_objects(
                {Attribute.CLASS: object_class, Attribute.TOKEN: True, Attribute.ID: identifier}
            )
        )
        for object_class in (*_KEY_CLASSES, ObjectClass.PUBLIC_KEY, ObjectClass.CERTIFICATE)
    )


def _search(session: TokenSession, name: Pkcs11Name) -> list[KeyObject]:
    return [
        key
        for object_class in _KEY_CLASSES
        for key in search_keys(session, object_class, label=name.object, identifier=name.id)
    ]


def _not_found(session: TokenSession, text: str) -> NotFoundError:
    session.check_presence()
    return NotFoundError(
        f"Key {format_uri(text)} not found in the token {session.token.label}.",
        "Check its label and id. The public key alone is not enough: the private key must be in the token.",
    )


def _ambiguous(session: TokenSession, text: str, count: int) -> InvalidKeyError:
    return InvalidKeyError(
        f"The name {format_uri(text)} is ambiguous: the token {session.token.label} has {count} keys that match it.",
        "Name one of them by its object and its id. The token's tools or the list of keys show them.",
    )


def _parse_native_id(native_id: str) -> bytes:
    """Return the identifier, or no bytes if ``native_id`` is not hexadecimal."""
    try:
        return bytes.fromhex(native_id)
    except ValueError:
        return b""


def _are_versions(keys: Iterable[KeyObject]) -> bool:
    """Return whether several keys of one label can be versions of each other."""
    identifiers = [key.identifier for key in keys]
    families = {(key.kind, len(key.identifier), key.identifier[:-COUNTER_LENGTH]) for key in keys}
    return len(families) == 1 and len(set(identifiers)) == len(identifiers)


def _version_order(key: KeyObject) -> int:
    return int.from_bytes(key.identifier, "big")


def _select_unique(keys: list[KeyObject]) -> list[KeyObject]:
    """Return the keys whose label and identifier no other key has."""
    identifiers = [key.identifier for key in keys]
    return [key for key in keys if identifiers.count(key.identifier) == 1]
