"""Tests of PKCS#11 modules, logins and PINs, and of the errors of tokens."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pkcs11
import pytest
from pkcs11 import exceptions

from sealyard.keys.backends.pkcs11 import backend as backend_module
from sealyard.keys.backends.pkcs11 import module as module_module
from sealyard.keys.backends.pkcs11.connection import TokenConnection
from sealyard.keys.backends.pkcs11.errors import LOST_TOKEN_ERRORS, PIN_ERRORS, describe_error
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import (
    KeyProviderError,
    KeyProviderUnavailableError,
    NotFoundError,
)
from sealyard.model.provider_settings import Secrets
from tests.support.limits import TIMEOUT
from tests.support.pkcs11_scenarios import (
    ECDSA,
    NAME,
    check_error,
    count_pins,
    open_error,
    sign,
)
from tests.support.softhsm import (
    PIN,
    SoftHsm,
    make_secrets,
    make_settings,
    opened_backend,
    own_softhsm,
    shared_softhsm,
    softhsm,
)

__all__ = ["own_softhsm", "shared_softhsm", "softhsm"]


# ---- modules


def test_missing_module_is_named(softhsm: SoftHsm) -> None:
    error = open_error(make_settings(module="/usr/lib/missing.so"), make_secrets())
    assert "/usr/lib/missing.so does not exist" in str(error)
    assert not isinstance(error, KeyProviderUnavailableError)


def test_other_files_are_no_modules(softhsm: SoftHsm, tmp_path: Path) -> None:
    text = tmp_path / "module.so"
    text.write_text("not a library")
    assert "cannot be loaded" in str(open_error(make_settings(module=str(text)), make_secrets()))
    library = next(Path("/usr/lib").glob("*/libz.so.1"))
    assert "not a PKCS#11 module" in str(open_error(make_settings(module=str(library)), make_secrets()))


def test_uninitializable_module_is_reported(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTHSM2_CONF", "/missing/softhsm2.conf")
    error = open_error(make_settings(), make_secrets())
    assert "cannot be initialized" in str(error)
    assert "options paths and environment" in error.hint


def test_missing_token_folder_is_waited_for(own_softhsm: SoftHsm) -> None:
    away = own_softhsm.tokens.rename(own_softhsm.folder / "away")
    error = open_error(make_settings(), make_secrets())
    assert isinstance(error, KeyProviderUnavailableError)
    away.rename(own_softhsm.tokens)

    async def scenario() -> None:
        async with opened_backend(make_settings(), make_secrets()) as backend:
            await backend.probe()

    asyncio.run(scenario())


def test_module_is_usable_after_failed_open(softhsm: SoftHsm) -> None:
    open_error(make_settings(token="missing"), make_secrets())

    async def scenario() -> None:
        async with opened_backend(make_settings(), make_secrets()) as backend:
            await backend.probe()

    asyncio.run(scenario())


def test_module_that_locks_is_called_by_several_threads(softhsm: SoftHsm) -> None:
    barrier = threading.Barrier(4)

    async def scenario() -> None:
        async with opened_backend(make_settings(), make_secrets()) as backend:
            waits = [backend._connection.run("wait", lambda _: barrier.wait(TIMEOUT)) for _ in range(4)]
            assert sorted(await asyncio.gather(*waits)) == [0, 1, 2, 3]

    asyncio.run(scenario())


def test_module_that_cannot_lock_is_called_by_one_thread(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    functions = SimpleNamespace(contents=SimpleNamespace(initialize=lambda _: 0xA))
    monkeypatch.setattr(module_module, "_modules", {})
    monkeypatch.setattr(module_module, "_has_one_function_list", lambda _: True)
    monkeypatch.setattr(module_module, "_get_functions", lambda _: functions)

    async def scenario() -> None:
        async with opened_backend(make_settings(), make_secrets()) as backend:
            assert module_module._modules[SoftHsm.module]._gate.is_serial
            await asyncio.gather(*(backend.list_keys() for _ in range(8)))

    asyncio.run(scenario())


# ---- tokens and PINs


def test_missing_token_error_lists_present_tokens(own_softhsm: SoftHsm) -> None:
    own_softhsm.create_token("second")
    error = open_error(make_settings(token="third"), make_secrets())
    assert isinstance(error, KeyProviderUnavailableError)
    assert "third is not present" in str(error)
    assert "seal, second" in error.hint


def test_tokens_with_one_label_are_refused(own_softhsm: SoftHsm) -> None:
    own_softhsm.create_token()
    assert "Several tokens have the label seal" in str(open_error(make_settings(), make_secrets()))


def test_wrong_pin_is_tried_once(own_softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = count_pins(monkeypatch)
    error = open_error(make_settings(), make_secrets("another canary"))
    assert attempts == ["another canary"]
    assert "seal refused the PIN" in str(error)
    assert not isinstance(error, KeyProviderUnavailableError)


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        (pkcs11.TokenFlag.USER_PIN_LOCKED, "is locked"),
        (pkcs11.TokenFlag.USER_PIN_FINAL_TRY, "would be locked by one more wrong PIN"),
    ],
)
def test_pin_is_not_tried_at_risk(
    softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch, flag: pkcs11.TokenFlag, text: str
) -> None:
    attempts = count_pins(monkeypatch)
    check_token = TokenConnection._check_token

    token = cast(pkcs11.Token, SimpleNamespace(flags=pkcs11.TokenFlag.USER_PIN_INITIALIZED | flag))
    monkeypatch.setattr(TokenConnection, "_check_token", lambda connection, _: check_token(connection, token))
    assert text in str(open_error(make_settings(), make_secrets()))
    assert attempts == []


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (pkcs11.PinLocked(), "is locked"),
        (pkcs11.PinExpired(), "has expired"),
        (pkcs11.PinLenRange(), "refused the PIN"),
        (pkcs11.UserPinNotInitialized(), "has no PIN"),
    ],
)
def test_refused_logins_are_worded(
    softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch, refusal: pkcs11.PKCS11Error, text: str
) -> None:
    def refuse(_: TokenConnection) -> None:
        raise refusal

    monkeypatch.setattr(TokenConnection, "_log_in", refuse)
    assert text in str(open_error(make_settings(), make_secrets()))


def test_token_without_pin_is_reported(own_softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    own_softhsm.create_token_without_pin("new")
    attempts = count_pins(monkeypatch)
    assert "new has no PIN" in str(open_error(make_settings(token="new"), make_secrets()))
    assert attempts == []


def test_pin_of_other_encoding_is_refused(softhsm: SoftHsm) -> None:
    async def scenario() -> None:
        async with opened_backend(make_settings(), Secrets(values={"pin": b"\xff\xfe"})):
            pass

    with pytest.raises(KeyProviderError, match="not UTF-8"):
        asyncio.run(scenario())


def test_pin_is_in_no_output(own_softhsm: SoftHsm, capfd: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with opened_backend(make_settings(), make_secrets()) as backend:
            with pytest.raises(NotFoundError):
                await backend.sign(NAME, "00", ECDSA, b"", None)
            assert PIN not in repr(vars(backend))

    asyncio.run(scenario())
    open_error(make_settings(), make_secrets("another canary"))
    output = "".join(capfd.readouterr())
    assert PIN not in output
    assert "another canary" not in output


def test_wrong_pin_of_one_signature_is_not_tried_again(own_softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = 0

    def refuse(*_: Any) -> bytes:
        nonlocal attempts
        attempts += 1
        raise pkcs11.PinIncorrect

    async def scenario() -> None:
        async with opened_backend(make_settings(), make_secrets()) as backend:
            _, key = await backend.generate(NAME, KeyType.EC_P256)
            monkeypatch.setattr(backend_module, "sign_data", refuse)
            for _ in range(3):
                with pytest.raises(KeyProviderError, match="refused the PIN") as caught:
                    await sign(backend, key)
                check_error(caught.value, make_secrets())
            assert attempts == 1

    asyncio.run(scenario())


ERROR_CLASSES = [value for value in vars(exceptions).values() if isinstance(value, type)]


@pytest.mark.parametrize("error_class", [each for each in ERROR_CLASSES if issubclass(each, pkcs11.PKCS11Error)])
def test_all_errors_are_worded(error_class: type[pkcs11.PKCS11Error]) -> None:
    error = describe_error("seal", "sign with the key pkcs11:token=seal;object=gateway-sign", error_class("detail"))
    assert "The token seal" in str(error)
    assert error.hint
    is_lost = error_class in LOST_TOKEN_ERRORS
    assert isinstance(error, KeyProviderUnavailableError) is is_lost
    assert error_class in PIN_ERRORS or "sign with the key" in str(error) or error_class is pkcs11.SessionCount
