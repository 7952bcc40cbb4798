"""Tests of the worker settings: the example, the schema, secrets, and errors that name the key but never a secret."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from sealyard.keys import worker_settings
from sealyard.keys.worker_settings import (
    OPTION_TYPES,
    ProviderSection,
    load_worker_settings,
    worker_settings_schema,
)
from sealyard.model.errors import KeyProviderError
from sealyard.model.provider_routes import ProviderRoute
from sealyard.model.provider_settings import ProcessSettings
from sealyard.model.workspace import WorkspacePaths

FOLDER = Path(worker_settings.__file__).parent
EXAMPLE = FOLDER / "worker.example.toml"
SCHEMA = FOLDER / "worker.schema.json"
PIN = "canary-1234"
SECTION = '[keys.seal]\nprovider = "pkcs11"\nmodule = "/m.so"\ntoken = "seal"\n'


@pytest.fixture
def paths(tmp_path: Path) -> WorkspacePaths:
    return WorkspacePaths(tmp_path)


def load(paths: WorkspacePaths, text: str) -> tuple[ProviderSection, ...]:
    paths.worker_settings.write_text(text)
    return load_worker_settings(paths, {})


def load_error(paths: WorkspacePaths, text: str) -> str:
    with pytest.raises(KeyProviderError) as caught:
        load(paths, text)
    assert caught.value.hint
    assert PIN not in str(caught.value)
    return caught.value.message


def test_workspace_without_settings_has_no_sections(paths: WorkspacePaths) -> None:
    assert load_worker_settings(paths, {}) == ()
    assert load(paths, "") == ()


def test_example_is_valid(paths: WorkspacePaths) -> None:
    seal, corp, cloud = load(paths, EXAMPLE.read_text())
    assert (seal.settings.name, seal.settings.provider) == ("seal", "pkcs11")
    assert seal.settings.options == {"module": "/usr/lib/softhsm/libsofthsm2.so", "token": "seal"}
    assert {name: source.credential for name, source in seal.secret_sources.items()} == {"pin": "seal-pin"}
    assert (corp.settings.provider, list(corp.secret_sources)) == ("vault", ["secret_id"])
    assert (cloud.settings.provider, list(cloud.secret_sources)) == ("awskms", ["access_key_id", "secret_access_key"])


def test_schema_file_is_current() -> None:
    expected = msgspec.json.format(msgspec.json.encode(worker_settings_schema()), indent=2) + b"\n"
    assert SCHEMA.read_bytes() == expected, "write worker_settings_schema() to worker.schema.json"


def test_schema_accepts_and_rejects_like_the_loader() -> None:
    import tomllib

    validator = Draft202012Validator(worker_settings_schema())
    Draft202012Validator.check_schema(validator.schema)
    assert validator.is_valid(tomllib.loads(EXAMPLE.read_text()))
    for text in (SECTION + 'modul = "x"', SECTION.replace("/m.so", "m.so"), '[keys.a]\ntoken = "a"', "[other]"):
        assert not validator.is_valid(tomllib.loads(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[keys", "is not valid TOML"),
        (f"[server]\npin = '{PIN}'", "can only have sections"),
        ("keys = 1", "can only have sections"),
        ("[keys.Seal]", "invalid section keys.Seal"),
        ("keys.seal = 1", "invalid section keys.seal"),
        ("[keys.seal]", "does not name the provider of keys.seal"),
        ("[keys.seal]\nprovider = 1", "does not name the provider"),
        ('[keys.seal]\nprovider = "local"', "does not name the provider"),
        ('[keys.seal]\nprovider = "pkcs11"\ntoken = "seal"', "provider seal needs the option module"),
        (SECTION.replace('"/m.so"', "1"), "option module of .* seal is not valid: expected a string, got an integer"),
        (SECTION.replace("/m.so", "m.so"), "option module of .* has another form"),
        (SECTION + f"pin = '{PIN}'", "provider seal has no option pin"),
        (SECTION + f"secrets.pin = '{PIN}'", "must set each secret of keys.seal"),
        (SECTION + "secrets.pin = {}", "must set each secret"),
        (SECTION + "secrets.pin = {file = '/a', credential = 'b'}", "must set each secret"),
        (SECTION + f"secrets.pin = {{value = '{PIN}'}}", "must set each secret"),
        (SECTION + "secrets.pin = {credential = '../b'}", "must set each secret"),
        ('[keys.corp]\nprovider = "vault"\naddress = "vault:8200"', "option address of .* corp"),
        ('[keys.corp]\nprovider = "vault"\naddress = "https://v"\nmount = "a/../b"', "option mount of"),
        ('[keys.cloud]\nprovider = "awskms"\nregion = "Frankfurt"', "option region of .* cloud"),
        (
            '[keys.cloud]\nprovider = "awskms"\nregion = "eu-central-1"\nsignatures_per_second = 0',
            "_per_second of .* expected a number > 0",
        ),
        (SECTION + "paths = ['tokens']", "option paths of .* seal is not valid"),
        (SECTION + "paths = ['/a\\u0000b']".replace("'", '"'), "option paths of"),
        (SECTION + "environment.'A=B' = 'c'", "option environment of"),
        (SECTION + 'environment.A = "\\u0000"', "option environment of"),
        (SECTION + "environment.A = 1", "option environment of .* expected a string, got an integer"),
        ("#" * (64 * 1024 + 1), "more than 65536 bytes"),
    ],
)
def test_invalid_settings_are_explained(paths: WorkspacePaths, text: str, message: str) -> None:
    with pytest.raises(KeyProviderError, match=message):
        load(paths, text)
    load_error(paths, text)


def test_hints_name_the_options_and_where_they_are_set(paths: WorkspacePaths) -> None:
    for text, hint in (
        (
            SECTION + f"pin = '{PIN}'",
            "Options of pkcs11: module, token, sessions, serial. Secrets are set in [keys.seal.secrets].",
        ),
        (
            '[keys.seal]\nprovider = "pkcs11"\nmodule = "/m.so"',
            "Add it to [keys.seal] of the worker settings. Label of the token.",
        ),
        (
            SECTION.replace("/m.so", "m.so"),
            "Correct it in [keys.seal] of the worker settings. Absolute path of the PKCS#11 module, a shared library.",
        ),
    ):
        with pytest.raises(KeyProviderError) as caught:
            load(paths, text)
        assert caught.value.hint == hint


def test_process_of_a_provider_is_set_up(paths: WorkspacePaths) -> None:
    (section,) = load(
        paths, SECTION + "paths = ['/var/lib/tokens']\nenvironment.SOFTHSM2_CONF = '/etc/s.conf'\nunix_sockets = true"
    )
    assert section.process == ProcessSettings(
        paths=("/var/lib/tokens",), environment={"SOFTHSM2_CONF": "/etc/s.conf"}, network=False, unix_sockets=True
    )
    assert section.settings.options == {"module": "/m.so", "token": "seal"}


def test_key_services_use_the_network_unless_it_is_forbidden(
    paths: WorkspacePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[keys.a]\nprovider = "{}"\n{}\n'
    monkeypatch.setattr(worker_settings, "NETWORK_PROVIDERS", frozenset({"cloud"}))
    for provider, line, expected in (
        ("acme", "", False),
        ("acme", "network = true", True),
        ("cloud", "", True),
        ("cloud", "network = false", False),
    ):
        (section,) = load(paths, text.format(provider, line))
        assert section.process.network is expected


def test_route_uses_the_defaults_of_options(paths: WorkspacePaths) -> None:
    (section,) = load(paths, '[keys.corp]\nprovider = "vault"\naddress = "https://vault.example"\n')
    assert section.route == ProviderRoute(section="corp", scheme="vault", attributes={"mount": "transit"})
    (section,) = load(paths, '[keys.cloud]\nprovider = "acme"\nmount = "a"\n')
    assert section.route == ProviderRoute(section="cloud", scheme="acme")


def test_folder_of_a_library_is_readable(paths: WorkspacePaths) -> None:
    (section,) = load(paths, SECTION.replace("/m.so", "/opt/vendor/m.so.2"))
    assert section.find_option_paths(paths.root) == (Path("/opt/vendor"),)
    (section,) = load(paths, SECTION)
    assert section.find_option_paths(paths.root) == (Path("/m.so"),)


def test_null_character_in_an_option_is_no_failure(paths: WorkspacePaths) -> None:
    (section,) = load(paths, SECTION.replace("/m.so", "/m\\u0000.so"))
    assert section.find_option_paths(paths.root) == (Path("/m\0.so"),)


def test_loop_of_links_is_no_failure(paths: WorkspacePaths, tmp_path: Path) -> None:
    loop = tmp_path.parent / "loop"
    loop.symlink_to(loop)
    (section,) = load(paths, f"{SECTION.replace('/m.so', f'{loop}/m.so')}paths = ['{loop}/token']")
    assert section.process.paths == (f"{loop}/token",)


def test_no_provider_reaches_the_workspace(paths: WorkspacePaths) -> None:
    for path in (paths.root, paths.root.parent, paths.keys, paths.root / "x" / ".." / "keys"):
        message = load_error(paths, f"{SECTION}paths = ['{path}']")
        assert "gives the key provider seal access to the workspace" in message
    link = paths.root.parent / "link"
    link.symlink_to(paths.root)
    assert "access to the workspace" in load_error(paths, f"{SECTION}paths = ['{link}']")


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=8), values, max_size=3),
    max_leaves=6,
)
KEYS = ("module", "token", "paths", "environment", "network", "unix_sockets", "secrets", "provider", "address", "mount")


def to_toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {to_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    return json.dumps(value)


@given(st.sampled_from([*OPTION_TYPES, "acme"]), st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), VALUES))
def test_any_other_section_is_refused_or_loaded(provider: str, values: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = WorkspacePaths(Path(folder))
        section = {"provider": provider, **values}
        lines = [f"{json.dumps(key)} = {to_toml(value)}" for key, value in section.items()]
        with contextlib.suppress(KeyProviderError):
            (loaded,) = load(paths, "\n".join(("[keys.seal]", *lines)))
            assert loaded.route.section == "seal"
            loaded.find_option_paths(paths.root)


def test_options_of_other_packages_are_passed_on(paths: WorkspacePaths) -> None:
    (section,) = load(paths, '[keys.cloud]\nprovider = "acme"\nregion = "eu"\nretries = 3\n')
    assert (section.settings.provider, section.settings.options) == ("acme", {"region": "eu", "retries": 3})


def test_variable_names_another_file(paths: WorkspacePaths, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    environ = {"SEALYARD_WORKER_SETTINGS": str(other)}
    with pytest.raises(KeyProviderError, match="cannot be read"):
        load_worker_settings(paths, environ)
    other.write_text(SECTION)
    assert [section.settings.name for section in load_worker_settings(paths, environ)] == ["seal"]
    assert load_worker_settings(paths, environ, tenant="acme") == ()


def test_settings_that_others_can_write_are_refused(paths: WorkspacePaths) -> None:
    load(paths, SECTION)
    for mode in (0o620, 0o602):
        paths.worker_settings.chmod(mode)
        with pytest.raises(KeyProviderError, match="Other users can write") as caught:
            load_worker_settings(paths, {})
        assert "chmod go-w" in caught.value.hint


def test_secrets_come_from_files_and_credentials(paths: WorkspacePaths, tmp_path: Path) -> None:
    pin_file = tmp_path / "pin"
    pin_file.write_text(f"{PIN}\n")
    pin_file.chmod(0o600)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    for source in (f"file = '{pin_file}'", "credential = 'pin'"):
        (section,) = load(paths, f"{SECTION}secrets.pin = {{{source}}}")
        secrets = section.read_secrets(environ)
        assert secrets.require("pin", section.settings) == PIN.encode()
        assert PIN not in repr(secrets)
        assert PIN not in repr(section)


def test_unusable_secrets_are_explained(paths: WorkspacePaths, tmp_path: Path) -> None:
    pin_file = tmp_path / "pin"
    (section,) = load(paths, f"{SECTION}secrets.pin = {{file = '{pin_file}'}}")
    with pytest.raises(KeyProviderError, match="secret pin of the key provider seal: cannot read"):
        section.read_secrets({})
    pin_file.write_text(PIN)
    pin_file.chmod(0o640)
    with pytest.raises(KeyProviderError, match="other users can read") as caught:
        section.read_secrets({})
    assert PIN not in str(caught.value)
    pin_file.write_text("\n")
    pin_file.chmod(0o600)
    with pytest.raises(KeyProviderError, match="is empty"):
        section.read_secrets({})
    (section,) = load(paths, f"{SECTION}secrets.pin = {{credential = 'pin-of-seal'}}")
    for environ in ({}, {"CREDENTIALS_DIRECTORY": str(tmp_path)}):
        with pytest.raises(KeyProviderError, match="there is no systemd credential pin-of-seal") as caught:
            section.read_secrets(environ)
        assert "LoadCredential=pin-of-seal:PATH" in caught.value.hint


def test_missing_secret_hint_names_its_section(paths: WorkspacePaths) -> None:
    (section,) = load(paths, SECTION)
    with pytest.raises(KeyProviderError, match="seal has no secret named pin") as caught:
        section.read_secrets({}).require("pin", section.settings)
    assert caught.value.hint == "Add it to [keys.seal.secrets] of the worker settings: pin = { file = PATH }."
