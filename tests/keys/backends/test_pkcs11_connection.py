"""Tests of the connection to PKCS#11 tokens: modules, logins, PINs, and tokens that are lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pkcs11
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pkcs11 import exceptions

from sealyard.crypto.signatures import verify
from sealyard.keys.backend import KeyBackend
from sealyard.keys.backends.pkcs11 import backend as backend_module
from sealyard.keys.backends.pkcs11 import generation as generation_module
from sealyard.keys.backends.pkcs11.connection import TokenConnection, TokenSession
from sealyard.keys.backends.pkcs11.errors import LOST_TOKEN_ERRORS, PIN_ERRORS, describe_error
from sealyard.keys.backends.pkcs11.key_objects import search_keys
from sealyard.keys.backends.pkcs11.module import Pkcs11Module
from sealyard.model.algorithms import KeyType, SigningAlgorithm
from sealyard.model.backend_keys import BackendKey
from sealyard.model.errors import (
    KeyProviderError,
    KeyProviderUnavailableError,
    NotFoundError,
    SealyardError,
)
from sealyard.model.provider_settings import ProviderSettings, Secrets
from tests.support.extent import choose_count
from tests.support.p11_kit import TokenServer, server_socket, token_server
from tests.support.softhsm import (
    PIN,
    TOKEN,
    SoftHsm,
    make_secrets,
    make_settings,
    opened_backend,
    own_softhsm,
    shared_softhsm,
    softhsm,
)

__all__ = ["own_softhsm", "server_socket", "shared_softhsm", "softhsm", "token_server"]

NAME = f"token={TOKEN};object=gateway-sign"
ECDSA = SigningAlgorithm.SHA256_ECDSA


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that were logged in to, each time."""
    labels: list[str] = []
    log_in = TokenConnection._log_in

    def count_login(connection: TokenConnection) -> Any:
        labels.append(connection._label)
        return log_in(connection)

    monkeypatch.setattr(TokenConnection, "_log_in", count_login)
    return labels


async def sign(backend: KeyBackend, key: BackendKey, message: bytes = b"message") -> None:
    """Sign with the key ``NAME`` and verify the signature."""
    assert key.public_key is not None
    signature = await backend.sign(NAME, key.native_id, ECDSA, message, None)
    assert verify(load_pem_public_key(key.public_key.encode()), ECDSA, message, signature, prehashed=False)


def open_error(settings: ProviderSettings, secrets: Secrets) -> KeyProviderError:
    """Return the error of opening a backend, which has a hint and no PIN."""

    async def scenario() -> None:
        async with opened_backend(settings, secrets):
            pass

    with pytest.raises(KeyProviderError) as caught:
        asyncio.run(scenario())
    check_error(caught.value, secrets)
    return caught.value


def check_error(error: SealyardError, secrets: Secrets) -> None:
    texts = [str(error), repr(error), error.hint, *map(repr, (error.__cause__, error.__context__))]
    assert error.hint
    assert not [text for text in texts if secrets.values["pin"].decode() in text]


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


def test_module_is_usable_after_failed_open(softhsm: SoftHsm) -> None:
    open_error(make_settings(token="missing"), make_secrets())

    async def scenario() -> None:
        async with opened_backend(make_settings(), make_secrets()) as backend:
            await backend.probe()

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


def count_pins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that receives each PIN that is sent to a token."""
    pins: list[str] = []
    find_token = Pkcs11Module.find_token

    class CountingToken:
        def __init__(self, token: pkcs11.Token) -> None:
            self._token = token

        def __getattr__(self, name: str) -> Any:
            return getattr(self._token, name)

        def open(self, **options: Any) -> pkcs11.Session:
            if "user_pin" in options:
                pins.append(options["user_pin"])
            return self._token.open(**options)

    monkeypatch.setattr(
        Pkcs11Module,
        "find_token",
        lambda module, label: CountingToken(find_token(module, label)),
    )
    return pins


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


# ---- several backends


def test_two_tokens_work_at_once(own_softhsm: SoftHsm) -> None:
    own_softhsm.create_token("second", "another PIN")
    other_name = "token=second;object=gateway-sign"

    async def scenario() -> None:
        async with (
            opened_backend(make_settings(), make_secrets()) as first,
            opened_backend(make_settings(token="second"), make_secrets("another PIN")) as second,
        ):
            _, key = await first.generate(NAME, KeyType.EC_P256)
            _, other_key = await second.generate(other_name, KeyType.EC_P256)
            assert key.public_key != other_key.public_key
            await asyncio.gather(
                *(sign(first, key, b"%d" % number) for number in range(10)),
                *(second.sign(other_name, other_key.native_id, ECDSA, b"message", None) for _ in range(10)),
            )
            for backend, name in ((first, other_name), (second, NAME)):
                with pytest.raises(NotFoundError, match="its token is"):
                    await backend.describe(name)

    asyncio.run(scenario())


def test_token_of_two_sections_is_refused(softhsm: SoftHsm) -> None:
    async def scenario() -> None:
        async with opened_backend(make_settings(), make_secrets()) as backend:
            with pytest.raises(KeyProviderError, match="Another section"):
                async with opened_backend(make_settings(), make_secrets()):
                    pass
            await backend.probe()

    asyncio.run(scenario())


def test_restarted_module_serves_both_tokens(
    own_softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch, logins: list[str]
) -> None:
    own_softhsm.create_token("second")
    errors: list[pkcs11.PKCS11Error] = []

    async def scenario() -> None:
        async with (
            opened_backend(make_settings(), make_secrets()) as first,
            opened_backend(make_settings(token="second"), make_secrets()) as second,
        ):
            _, key = await first.generate(NAME, KeyType.EC_P256)
            fail_searches(monkeypatch, errors)
            errors.append(pkcs11.SessionHandleInvalid())
            await second.probe()
            await sign(first, key)
            await second.probe()
            assert sorted(logins) == ["seal", "seal", "second", "second"]

    asyncio.run(scenario())


def fail_searches(monkeypatch: pytest.MonkeyPatch, errors: list[pkcs11.PKCS11Error]) -> None:
    """Let searches of the health check raise the next of ``errors`` as long as there are any."""

    def fail(*arguments: Any, **criteria: Any) -> Any:
        if errors:
            raise errors.pop(0)
        return search_keys(*arguments, **criteria)

    monkeypatch.setattr(backend_module, "search_keys", fail)


# ---- lost tokens


@pytest.mark.parametrize(
    "error", [pkcs11.SessionHandleInvalid, pkcs11.DeviceRemoved, pkcs11.TokenNotPresent, pkcs11.GeneralError]
)
def test_connection_is_repeated_once(
    softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch, logins: list[str], error: type[pkcs11.PKCS11Error]
) -> None:
    errors: list[pkcs11.PKCS11Error] = []
    fail_searches(monkeypatch, errors)

    async def scenario() -> None:
        async with opened_backend(make_settings(), make_secrets()) as backend:
            errors.append(error())
            await backend.probe()
            assert len(logins) == 2
            errors.extend([error(), error()])
            with pytest.raises(KeyProviderUnavailableError) as caught:
                await backend.probe()
            check_error(caught.value, make_secrets())
            assert len(logins) == 3
            await backend.probe()

    asyncio.run(scenario())


def test_failed_operation_is_released_before_a_restart(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    restart = Pkcs11Module.restart

    class Search:
        def __del__(self) -> None:
            events.append("released")

    def fail_once(_: TokenSession) -> None:
        search = Search()
        if "restarted" not in events:
            raise pkcs11.SessionHandleInvalid
        del search

    def record_restart(module: Pkcs11Module, generation: int) -> None:
        events.append("restarted")
        restart(module, generation)

    monkeypatch.setattr(Pkcs11Module, "restart", record_restart)

    async def scenario() -> None:
        async with opened_backend(make_settings(), make_secrets()) as backend:
            await backend._connection.run("fail", fail_once)

    asyncio.run(scenario())
    assert events == ["released", "restarted", "released"]


def test_lost_object_is_searched_again(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch, logins: list[str]) -> None:
    errors: list[pkcs11.PKCS11Error] = []
    fail_searches(monkeypatch, errors)

    async def scenario() -> None:
        async with opened_backend(make_settings(), make_secrets()) as backend:
            errors.append(pkcs11.ObjectHandleInvalid())
            await backend.probe()
            assert len(logins) == 1

    asyncio.run(scenario())


def test_key_removed_by_other_program_is_not_found(own_softhsm: SoftHsm) -> None:
    async def scenario() -> None:
        async with opened_backend(make_settings(sessions=1), make_secrets()) as backend:
            _, key = await backend.generate(NAME, KeyType.EC_P256)
            await sign(backend, key)
            own_softhsm.run_tool("--delete-object", "--type", "privkey", "--label", "gateway-sign")
            with pytest.raises(NotFoundError, match="not found in the token seal"):
                await sign(backend, key)

    asyncio.run(scenario())


def test_generation_with_lost_answer_makes_one_key(own_softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    generate_objects = generation_module._generate_objects
    errors = [pkcs11.DeviceError(), pkcs11.DeviceError()]

    def lose_answer(*arguments: Any) -> Any:
        objects = generate_objects(*arguments)
        raise errors.pop() if errors else AssertionError("generated again", objects)

    async def scenario() -> None:
        async with opened_backend(make_settings(), make_secrets()) as backend:
            monkeypatch.setattr(generation_module, "_generate_objects", lose_answer)
            name, first = await backend.generate(NAME, KeyType.EC_P256)
            second = await backend.rotate(name)
            assert first.native_id != second.native_id
            assert await backend.describe(name) == second

    asyncio.run(scenario())
    assert own_softhsm.run_tool("--list-objects", "--type", "privkey").count(b"gateway-sign") == 2


# python-pkcs11 reports a failed end of a search on standard error.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_killed_module_is_connected_again(token_server: TokenServer) -> None:
    async def scenario() -> None:
        async with opened_backend(make_settings(module=token_server.module), make_secrets()) as backend:
            _, key = await backend.generate(NAME, KeyType.EC_P256)
            await sign(backend, key)
            token_server.kill()
            for _ in range(2):
                with pytest.raises(KeyProviderUnavailableError) as caught:
                    await sign(backend, key)
                check_error(caught.value, make_secrets())
            with pytest.raises(KeyProviderUnavailableError):
                await backend.probe()
            token_server.start()
            await sign(backend, key)
            token_server.kill()
            token_server.start()
            await asyncio.gather(*(sign(backend, key, b"%d" % number) for number in range(8)))

    asyncio.run(scenario())


# python-pkcs11 reports a failed end of a search on standard error.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_operations_survive_repeated_kills(token_server: TokenServer) -> None:
    unavailable = 0

    async def sign_repeatedly(backend: KeyBackend, key: BackendKey) -> None:
        nonlocal unavailable
        for number in range(40):
            try:
                await sign(backend, key, b"%d" % number)
            except KeyProviderUnavailableError:
                unavailable += 1

    async def scenario() -> None:
        async with opened_backend(make_settings(module=token_server.module), make_secrets()) as backend:
            _, key = await backend.generate(NAME, KeyType.EC_P256)
            for _ in range(choose_count(share=3, full=50)):
                tasks = [asyncio.create_task(sign_repeatedly(backend, key)) for _ in range(4)]
                rotation = asyncio.create_task(backend.rotate(NAME))
                await sign(backend, key)
                await asyncio.to_thread(token_server.kill)
                await asyncio.to_thread(token_server.start)
                await asyncio.gather(*tasks)
                await asyncio.gather(rotation, return_exceptions=True)
                assert (await backend.describe(NAME)).kind is KeyType.EC_P256
            await sign(backend, key)

    asyncio.run(scenario())


# python-pkcs11 reports a failed end of a search on standard error.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_changed_pin_is_refused_once(
    own_softhsm: SoftHsm, token_server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = count_pins(monkeypatch)

    async def scenario() -> None:
        async with opened_backend(make_settings(module=token_server.module), make_secrets()) as backend:
            _, key = await backend.generate(NAME, KeyType.EC_P256)
            own_softhsm.run_tool("--change-pin", "--new-pin", "another PIN")
            token_server.kill()
            token_server.start()
            for _ in range(3):
                with pytest.raises(KeyProviderError, match="refused the PIN") as caught:
                    await sign(backend, key)
                assert not isinstance(caught.value, KeyProviderUnavailableError)
                check_error(caught.value, make_secrets())
            assert attempts == [PIN, PIN]

    asyncio.run(scenario())

    async def scenario_after_correction() -> None:
        secrets = make_secrets("another PIN")
        async with opened_backend(make_settings(module=token_server.module), secrets) as backend:
            await sign(backend, await backend.describe(NAME))

    asyncio.run(scenario_after_correction())


def test_removed_token_is_unavailable_until_it_returns(own_softhsm: SoftHsm, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened_backend(make_settings(), make_secrets()) as backend:
            _, key = await backend.generate(NAME, KeyType.EC_P256)
            await sign(backend, key)
            own_softhsm.tokens.rename(tmp_path / "removed")
            own_softhsm.tokens.mkdir()
            for operation in (sign(backend, key), backend.describe(NAME), backend.list_keys(), backend.probe()):
                with pytest.raises(KeyProviderUnavailableError, match="seal is not present"):
                    await operation
            own_softhsm.tokens.rmdir()
            (tmp_path / "removed").rename(own_softhsm.tokens)
            await sign(backend, key)

    asyncio.run(scenario())
