"""Test `sealyard login` and token refresh against the certified issuer `oidc-provider`."""

from __future__ import annotations

import asyncio
import io
import re
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec
import pytest

from sealyard import cli as sealyard_cli
from sealyard.cli.commands import login
from sealyard.client.config.profiles import Profile, read_profiles, user_profiles_path
from sealyard.client.config.server_tokens import LoginTokens, load_stored_token, load_token, save_token
from sealyard.client.oauth import device_login
from sealyard.client.oauth.issuer import IssuerClient, OAuthError
from sealyard.client.oauth.session import load_token_source
from sealyard.concurrency.clock import SystemClock
from sealyard.concurrency.loop_thread import LoopThread
from sealyard.keys import file_keyring
from sealyard.model.credentials import TokenRequest
from sealyard.model.login import METADATA_PATH
from sealyard.server.server import Server
from sealyard.server.settings import ServerSettings
from sealyard_tui.session.connections import ServerConnection
from tests.support.cli_runner import PASSPHRASE, command, environment, sealyard, value_of
from tests.support.key_holders import LOW_COST
from tests.support.limits import TIMEOUT
from tests.support.node import Node
from tests.support.oidc_provider import AUDIENCE, OidcProvider, run_oidc_provider
from tests.support.server_harness import ADMIN, DEV, create_test_workspace, open_workspace

pytestmark = pytest.mark.interop

CLI_README = Path(sealyard_cli.__file__).with_name("README.md")
ENVIRON = {"SEALYARD_PASSPHRASE": PASSPHRASE}


class ImpatientClock(SystemClock):
    """Lets one second pass in a hundredth of a second."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)


@pytest.fixture(scope="module")
def provider(node: Node) -> Iterator[OidcProvider]:
    with run_oidc_provider(node) as provider:
        yield provider


class RunningServer(NamedTuple):
    """``token``: an access token of the server itself, for DEV."""

    url: str
    token: str


@pytest.fixture(scope="module")
def server(provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that trusts the issuer, and knows its role `devs`."""
    thread = LoopThread("server")
    folder = tmp_path_factory.mktemp("served") / "workspace"
    asyncio.run(create_test_workspace(folder))
    server, token = asyncio.run(thread.call(_open_server(folder, provider)))
    yield RunningServer(server.address, token)
    asyncio.run(thread.call(server.stop()))
    thread.stop()


async def _open_server(folder: Path, provider: OidcProvider) -> tuple[Server, str]:
    engine = await open_workspace(folder)
    admin = engine.client(ADMIN)
    await admin.add_subject("GROUP:devs")
    token = (await admin.create_token(TokenRequest(name="test", subject=DEV))).secret
    settings = ServerSettings(listen="127.0.0.1:0", oidc=provider.settings, shutdown_timeout_seconds=0)
    return await Server.open(settings, {"acme": engine}), token


@pytest.fixture
def server_url(server: RunningServer) -> str:
    return server.url


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    for name in ("SEALYARD_TOKEN", "SEALYARD_WORKSPACE", "SEALYARD_PROFILE", "BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(file_keyring, "DEFAULT_COST", LOW_COST)
    monkeypatch.setattr("sealyard.keys.master_key.os_keyring_available", lambda: False)
    return tmp_path


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], object]], None]:
    """Replaces the browser of the user, for both grants."""

    def use(visit: Callable[[str], object]) -> None:
        monkeypatch.setattr("webbrowser.open", visit)
        show_code = login._show_code

        def show_and_visit(ctx: object, code: device_login.DeviceCode) -> None:
            show_code(ctx, code)  # type: ignore[arg-type]
            threading.Thread(target=visit, args=(code.verification_uri_complete,)).start()

        monkeypatch.setattr(login, "_show_code", show_and_visit)
        monkeypatch.setattr(login, "SystemClock", ImpatientClock)

    return use


def stored_tokens(profile: Profile | None = None) -> tuple[Profile, LoginTokens]:
    file = read_profiles(user_profiles_path())
    profile = profile or file.get(file.current)
    assert profile is not None
    tokens = load_token(profile, ENVIRON, None)
    assert isinstance(tokens, LoginTokens)
    return profile, tokens


def expire_access_token() -> LoginTokens:
    """Make the stored access token expired for the client, and return the previous tokens."""
    profile, tokens = stored_tokens()
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired = msgspec.structs.replace(tokens, access_token="expired", refresh_at=past, expires_at=past)
    save_token(profile, expired, ENVIRON, None)
    return tokens


@pytest.fixture
def logged_in(provider: OidcProvider, server_url: str, browser: Callable[[Callable[[str], object]], None]) -> None:
    browser(lambda url: provider.log_in(url, "anna"))
    value_of("login", server_url, "--browser")


@pytest.mark.parametrize("way", ["--browser", "--device"])
def test_login_stores_profile_and_tokens(
    provider: OidcProvider,
    server_url: str,
    browser: Callable[[Callable[[str], object]], None],
    home: Path,
    way: str,
) -> None:
    browser(lambda url: provider.log_in(url, "anna"))
    result = sealyard("login", server_url, way, "--json")
    assert result.code == 0, result
    assert result.value["identity"] == "USER:anna"
    assert provider.url in result.err
    assert value_of("tasks") == []
    _, tokens = stored_tokens()
    assert tokens.refresh_token
    for secret in (tokens.access_token, tokens.refresh_token):
        assert secret not in result.out + result.err
        assert secret not in repr(tokens)
        assert not any(secret.encode() in path.read_bytes() for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize("way", ["--browser", "--device"])
def test_refused_login_stores_nothing(
    provider: OidcProvider, server_url: str, browser: Callable[[Callable[[str], object]], None], way: str
) -> None:
    browser(provider.refuse)
    result = sealyard("login", server_url, way)
    assert result.code == 3, result
    assert "access_denied" in result.err
    assert value_of("profile", "list") == []


@pytest.mark.usefixtures("logged_in")
def test_expired_access_token_is_refreshed_and_rotated() -> None:
    before = expire_access_token()
    assert value_of("tasks") == []
    _, after = stored_tokens()
    assert after.access_token != before.access_token
    assert after.refresh_token != before.refresh_token
    assert after.expires_at > datetime.now(UTC)


@pytest.mark.usefixtures("logged_in")
def test_processes_refresh_one_at_a_time() -> None:
    """The issuer revokes the login if one refresh token is used twice."""
    expire_access_token()
    processes = [
        subprocess.Popen(
            command("tasks"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    results = [(process.communicate(timeout=TIMEOUT)[1], process.returncode) for process in processes]
    assert results == [("", 0)] * 3
    expire_access_token()
    assert value_of("tasks") == []


@pytest.mark.usefixtures("logged_in")
def test_connection_of_application_refreshes_token() -> None:
    expire_access_token()
    profile, _ = stored_tokens()

    async def fetch_subject() -> str:
        connection = ServerConnection(
            profile.server, lambda user_profile: load_token_source(user_profile, ENVIRON, None)
        )
        try:
            client = await connection.connect(profile, lambda _: None)
            return (await client.workspace()).subject
        finally:
            await connection.close()

    assert asyncio.run(fetch_subject()) == "USER:anna"


@pytest.mark.usefixtures("logged_in")
def test_revoked_login_asks_to_log_in_again(provider: OidcProvider, server_url: str) -> None:
    tokens = expire_access_token()
    provider.revoke(tokens.refresh_token)
    result = sealyard("tasks")
    assert result.code == 3
    assert "Log in again." in result.err
    assert f"sealyard login {server_url}" in result.err
    assert tokens.refresh_token not in result.err


@pytest.mark.usefixtures("logged_in")
def test_logout_revokes_and_removes_tokens(provider: OidcProvider) -> None:
    profile, tokens = stored_tokens()
    assert sealyard("logout").err == ""
    assert value_of("profile", "list") == []
    assert load_stored_token(profile, ENVIRON, None) is None
    form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token}
    with pytest.raises(OAuthError, match="invalid_grant"):
        IssuerClient(provider.method).request_tokens(form, datetime.now(UTC))


@pytest.mark.usefixtures("logged_in")
def test_logout_without_issuer_removes_tokens_with_warning() -> None:
    profile, tokens = stored_tokens()
    unreachable = msgspec.structs.replace(tokens.method, issuer="http://127.0.0.1:1")
    save_token(profile, msgspec.structs.replace(tokens, method=unreachable), ENVIRON, None)
    result = sealyard("logout")
    assert result.code == 0
    assert "not ended at http://127.0.0.1:1" in result.err
    assert load_stored_token(profile, ENVIRON, None) is None


def test_server_publishes_how_to_log_in(provider: OidcProvider, server_url: str) -> None:
    document = httpx.get(f"{server_url}{METADATA_PATH}").raise_for_status().json()
    assert document["resource"] == server_url
    assert document["authorization_servers"] == [provider.url]
    (method,) = document["sealyard_login"]
    assert (method["issuer"], method["client_id"]) == (provider.url, "sealyard-cli")
    assert method["parameters"] == {"resource": AUDIENCE}
    refused = httpx.get(f"{server_url}/api/v1/workspace")
    assert f'resource_metadata="{server_url}{METADATA_PATH}"' in refused.headers["WWW-Authenticate"]


def test_documented_logins_work(
    provider: OidcProvider,
    server: RunningServer,
    browser: Callable[[Callable[[str], object]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Run the commands in the README of the command line."""
    block = re.search(r"<!-- login -->\n```sh\n(.*?)```", CLI_README.read_text(), re.DOTALL)
    assert block is not None
    browser(lambda url: provider.log_in(url, "anna"))
    for line in block[1].splitlines():
        command_line, _, redirected_file = line.partition("#")[0].partition("<")
        assert redirected_file.strip() in ("", "token.txt")
        monkeypatch.setattr("sys.stdin", io.StringIO(server.token if redirected_file else ""))
        program, *arguments = shlex.split(
            command_line.replace("$url", server.url).replace("$issuer", provider.url), comments=True
        )
        assert program == "sealyard"
        result = sealyard(*arguments)
        assert result.code == 0, (line, result)
    assert [profile["identity"] for profile in value_of("profile", "list")] == ["USER:anna", DEV]
