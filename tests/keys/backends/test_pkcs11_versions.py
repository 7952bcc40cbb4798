"""Tests of the names and versions of keys in PKCS#11 tokens."""

from __future__ import annotations

import asyncio
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute, ObjectClass

from sealyard.keys.backends.pkcs11 import generation
from sealyard.keys.backends.pkcs11.backend import Pkcs11Backend
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import InvalidKeyError, KeyProviderError, NotFoundError, UsageError
from tests.support.pkcs11_scenarios import (
    ECDSA,
    NAME,
    change_token,
    generate_p256,
    use_backend,
)
from tests.support.softhsm import (
    PIN,
    TOKEN,
    SoftHsm,
    own_softhsm,
)

__all__ = ["own_softhsm"]


def test_versions_are_ordered_by_identifier(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        name, first = await backend.generate(NAME, KeyType.EC_P256)
        keys = [first, *[await backend.rotate(name) for _ in range(3)]]
        assert [key.native_id[-4:] for key in keys] == ["0001", "0002", "0003", "0004"]
        assert len({key.native_id[:-4] for key in keys}) == 1
        assert await backend.describe(name) == keys[-1]
        assert [listed.name for listed in await backend.list_keys()] == [name]

    use_backend(scenario)


def test_concurrent_changes_make_separate_versions(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        results = await asyncio.gather(
            *(backend.generate(NAME, KeyType.EC_P256) for _ in range(3)), return_exceptions=True
        )
        assert sorted(type(result).__name__ for result in results) == ["AlreadyExistsError"] * 2 + ["tuple"]
        versions = await asyncio.gather(*(backend.rotate(NAME) for _ in range(6)))
        assert sorted(int(version.native_id[-4:], 16) for version in versions) == [2, 3, 4, 5, 6, 7]

    use_backend(scenario)


def test_identifier_names_one_version(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        _, first = await backend.generate(NAME, KeyType.EC_P256)
        second = await backend.rotate(NAME)
        encoded_id = "".join(f"%{byte:02X}" for byte in bytes.fromhex(first.native_id))
        canonical_name = f"{NAME};id={encoded_id}"
        for name in (f"token={TOKEN};id={encoded_id}", canonical_name, f"{canonical_name};type=private"):
            assert await backend.resolve(name) == canonical_name
            described = await backend.describe(name)
            assert (described.public_key, described.capabilities.can_rotate) == (first.public_key, False)
        with pytest.raises(InvalidKeyError, match="cannot be rotated"):
            await backend.rotate(canonical_name)
        with pytest.raises(NotFoundError):
            await backend.sign(canonical_name, second.native_id, ECDSA, b"message", None)
        with pytest.raises(InvalidKeyError, match="must not contain an id"):
            await backend.generate(f"{NAME};id=%01", KeyType.EC_P256)

    use_backend(scenario)


def test_attributes_of_token_are_checked_and_omitted(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        await backend.generate(NAME, KeyType.EC_P256)
        matching_name = f"{NAME};manufacturer=SoftHSM%20project;model=SoftHSM%20v2"
        assert await backend.resolve(matching_name) == NAME
        for attribute in ("manufacturer", "model", "serial"):
            with pytest.raises(NotFoundError, match=f"its {attribute} is"):
                await backend.resolve(f"{NAME};{attribute}=other")
        with pytest.raises(NotFoundError, match="its token is seal"):
            await backend.resolve("token=other;object=gateway-sign")
        with pytest.raises(UsageError):
            await backend.resolve(f"{NAME}?pin-value={PIN}")

    use_backend(scenario)


def test_unrelated_keys_with_one_label_are_ambiguous(own_softhsm: SoftHsm) -> None:
    for identifier in ("01aaaaaa", "02bbbbbb"):
        arguments = ["--keypairgen", "--key-type", "EC:prime256v1", "--label", "gateway-sign", "--id", identifier]
        own_softhsm.run_tool(*arguments)

    async def scenario(backend: Pkcs11Backend) -> None:
        for operation in (backend.resolve(NAME), backend.describe(NAME), backend.rotate(NAME)):
            with pytest.raises(InvalidKeyError, match="ambiguous: the token seal has 2 keys"):
                await operation
        names = [listed.name for listed in await backend.list_keys()]
        assert names == [f"{NAME};id=%01%AA%AA%AA", f"{NAME};id=%02%BB%BB%BB"]
        for name in names:
            assert await backend.resolve(name) == name
            key = await backend.describe(name)
            assert await backend.sign(name, key.native_id, ECDSA, b"message", None)

    use_backend(scenario)


def test_version_is_found_among_equal_labels(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        _, key = await backend.generate(NAME, KeyType.EC_P256)
        arguments = ["--keypairgen", "--key-type", "EC:prime256v1", "--label", "gateway-sign", "--id", "01"]
        own_softhsm.run_tool(*arguments)
        for native_id in (key.native_id, "01"):
            assert await backend.sign(NAME, native_id, ECDSA, b"message", None)
        for native_id in ("", "02", "not hexadecimal"):
            with pytest.raises(NotFoundError):
                await backend.sign(NAME, native_id, ECDSA, b"message", None)
        with pytest.raises(InvalidKeyError, match="ambiguous"):
            await backend.describe(NAME)

    use_backend(scenario)


def test_equal_label_and_identifier_are_ambiguous(own_softhsm: SoftHsm) -> None:
    for _ in range(2):
        arguments = ["--keypairgen", "--key-type", "EC:prime256v1", "--label", "gateway-sign", "--id", "01"]
        own_softhsm.run_tool(*arguments)

    async def scenario(backend: Pkcs11Backend) -> None:
        assert await backend.list_keys() == ()
        for operation in (
            backend.describe(NAME),
            backend.describe(f"{NAME};id=%01"),
            backend.sign(NAME, "01", ECDSA, b"message", None),
        ):
            with pytest.raises(InvalidKeyError, match="ambiguous"):
                await operation

    use_backend(scenario)


def test_keys_of_other_tools_are_rotated(own_softhsm: SoftHsm) -> None:
    own_softhsm.run_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "gateway-sign", "--id", "fe")
    own_softhsm.run_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "other", "--id", "01")

    async def scenario(backend: Pkcs11Backend) -> None:
        assert (await backend.describe(NAME)).native_id == "fe"
        assert (await backend.rotate(NAME)).native_id == "ff"
        with pytest.raises(InvalidKeyError, match="no CKA_ID after ff"):
            await backend.rotate(NAME)
        other_name = f"token={TOKEN};object=other"
        assert (await backend.rotate(other_name)).native_id == "02"

    use_backend(scenario)


def test_used_identifiers_are_skipped(own_softhsm: SoftHsm) -> None:
    for label, identifier in (("gateway-sign", "01"), ("other", "02")):
        own_softhsm.run_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", label, "--id", identifier)

    async def scenario(backend: Pkcs11Backend) -> None:
        assert (await backend.rotate(NAME)).native_id == "03"

    use_backend(scenario)


def test_keys_without_identifier_are_refused(own_softhsm: SoftHsm) -> None:
    own_softhsm.run_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "gateway-sign")

    async def scenario(backend: Pkcs11Backend) -> None:
        with pytest.raises(InvalidKeyError, match="has no CKA_ID"):
            await backend.describe(NAME)
        assert await backend.list_keys() == ()

    use_backend(scenario)


def test_public_key_alone_is_no_key(own_softhsm: SoftHsm) -> None:
    own_softhsm.run_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "gateway-sign", "--id", "01")
    own_softhsm.run_tool("--delete-object", "--type", "privkey", "--id", "01")

    async def scenario(backend: Pkcs11Backend) -> None:
        with pytest.raises(NotFoundError) as caught:
            await backend.describe(NAME)
        assert "the private key must be in the token" in caught.value.hint

    use_backend(scenario)


def test_unsupported_keys_are_not_listed(own_softhsm: SoftHsm) -> None:
    for number, key_type in enumerate(("EC:secp384r1", "rsa:1024", "AES:16"), start=1):
        action = "--keygen" if key_type.startswith("AES") else "--keypairgen"
        own_softhsm.run_tool(action, "--key-type", key_type, "--label", "gateway-sign", "--id", f"0{number}")

    async def scenario(backend: Pkcs11Backend) -> None:
        assert await backend.list_keys() == ()
        for number in (1, 2):
            with pytest.raises(InvalidKeyError, match="not supported"):
                await backend.describe(f"{NAME};id=%0{number}")
        key = await backend.describe(f"{NAME};id=%03")
        assert (key.kind, key.capabilities.can_wrap) == (KeyType.AES_128, False)

    use_backend(scenario)


@pytest.mark.parametrize("label", ["güteprüfung", "a\u00a0b", "a;b=c%20d"])
def test_labels_of_other_characters_are_encoded(own_softhsm: SoftHsm, label: str) -> None:
    own_softhsm.run_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", label, "--id", "01")

    async def scenario(backend: Pkcs11Backend) -> None:
        (listed,) = await backend.list_keys()
        assert listed.label == label
        assert await backend.resolve(listed.name) == listed.name

    use_backend(scenario)


def test_label_that_is_not_text_is_omitted(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        await change_token(backend, lambda session: generate_p256(session, label="a\nb"))
        (listed,) = await backend.list_keys()
        assert (listed.name, listed.label) == (f"token={TOKEN};id=%01", "")
        assert await backend.resolve(listed.name) == listed.name

    use_backend(scenario)


def test_generated_keys_cannot_be_read(own_softhsm: SoftHsm) -> None:
    def find_readable(session: pkcs11.Session) -> list[Any]:
        protection = (Attribute.SENSITIVE, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE, Attribute.PRIVATE)
        keys = [
            key
            for object_class in (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY)
            for key in session.get_objects({Attribute.CLASS: object_class})
        ]
        assert len(keys) == 4
        return [key for key in keys if key[Attribute.EXTRACTABLE] or not all(key[item] for item in protection)]

    async def scenario(backend: Pkcs11Backend) -> None:
        for kind in (KeyType.RSA_2048, KeyType.EC_P256, KeyType.ED25519, KeyType.AES_256):
            await backend.generate(f"token={TOKEN};object={kind}", kind)
        assert await change_token(backend, find_readable) == []

    use_backend(scenario)


def test_extractable_key_is_removed(own_softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(generation._PROTECTED, Attribute.EXTRACTABLE, True)

    async def scenario(backend: Pkcs11Backend) -> None:
        for kind in (KeyType.EC_P256, KeyType.AES_256):
            with pytest.raises(KeyProviderError, match="so that it can be read"):
                await backend.generate(NAME, kind)
        with pytest.raises(NotFoundError):
            await backend.describe(NAME)

    use_backend(scenario)
    assert own_softhsm.run_tool("--list-objects").strip() == b""
