"""Tests of several PKCS#11 tokens at once, and of tokens that are lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pkcs11
import pytest

from sealyard.keys.backend import KeyBackend
from sealyard.keys.backends.pkcs11 import generation as generation_module
from sealyard.keys.backends.pkcs11.connection import TokenSession
from sealyard.keys.backends.pkcs11.module import Pkcs11Module
from sealyard.model.algorithms import KeyType
from sealyard.model.backend_keys import BackendKey
from sealyard.model.errors import (
    KeyProviderError,
    KeyProviderUnavailableError,
    NotFoundError,
)
from tests.support.backend_access import check_error
from tests.support.extent import choose_count
from tests.support.p11_kit import TokenServer, server_socket, token_server
from tests.support.pkcs11_scenarios import (
    ECDSA,
    NAME,
    count_pins,
    fail_searches,
    logins,
    sign,
)
from tests.support.softhsm import (
    PIN,
    SoftHsm,
    make_secrets,
    make_settings,
    open_token_backend,
    own_softhsm,
    shared_softhsm,
    softhsm,
)

__all__ = ["logins", "own_softhsm", "server_socket", "shared_softhsm", "softhsm", "token_server"]


# ---- several backends


def test_two_tokens_work_at_once(own_softhsm: SoftHsm) -> None:
    own_softhsm.create_token("second", "another PIN")
    other_name = "token=second;object=gateway-sign"

    async def scenario() -> None:
        async with (
            open_token_backend(make_settings(), make_secrets()) as first,
            open_token_backend(make_settings(token="second"), make_secrets("another PIN")) as second,
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
        async with open_token_backend(make_settings(), make_secrets()) as backend:
            with pytest.raises(KeyProviderError, match="Another section"):
                async with open_token_backend(make_settings(), make_secrets()):
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
            open_token_backend(make_settings(), make_secrets()) as first,
            open_token_backend(make_settings(token="second"), make_secrets()) as second,
        ):
            _, key = await first.generate(NAME, KeyType.EC_P256)
            fail_searches(monkeypatch, errors)
            errors.append(pkcs11.SessionHandleInvalid())
            await second.probe()
            await sign(first, key)
            await second.probe()
            assert sorted(logins) == ["seal", "seal", "second", "second"]

    asyncio.run(scenario())


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
        async with open_token_backend(make_settings(), make_secrets()) as backend:
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
        async with open_token_backend(make_settings(), make_secrets()) as backend:
            await backend._connection.run("fail", fail_once)

    asyncio.run(scenario())
    assert events == ["released", "restarted", "released"]


def test_lost_object_is_searched_again(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch, logins: list[str]) -> None:
    errors: list[pkcs11.PKCS11Error] = []
    fail_searches(monkeypatch, errors)

    async def scenario() -> None:
        async with open_token_backend(make_settings(), make_secrets()) as backend:
            errors.append(pkcs11.ObjectHandleInvalid())
            await backend.probe()
            assert len(logins) == 1

    asyncio.run(scenario())


def test_removed_key_is_not_found(own_softhsm: SoftHsm) -> None:
    async def scenario() -> None:
        async with open_token_backend(make_settings(sessions=1), make_secrets()) as backend:
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
        async with open_token_backend(make_settings(), make_secrets()) as backend:
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
        async with open_token_backend(make_settings(module=token_server.module), make_secrets()) as backend:
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
        async with open_token_backend(make_settings(module=token_server.module), make_secrets()) as backend:
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
        async with open_token_backend(make_settings(module=token_server.module), make_secrets()) as backend:
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
        async with open_token_backend(make_settings(module=token_server.module), secrets) as backend:
            await sign(backend, await backend.describe(NAME))

    asyncio.run(scenario_after_correction())


def test_removed_token_is_unavailable_until_it_returns(own_softhsm: SoftHsm, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_token_backend(make_settings(), make_secrets()) as backend:
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
