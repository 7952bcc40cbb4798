"""Tests of the Compose file, the settings that it needs, and the roles of a workspace with a crypto zone."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealyard.cli.parser import build_parser
from sealyard.jobs.zone.schema import BusSettings, check_bus, upgrade_bus
from sealyard.server.settings import load_server_settings
from sealyard.storage.postgres.connection import Database
from sealyard.storage.postgres.schema import upgrade_schema
from tests.support.limits import TIMEOUT
from tests.support.postgres import PostgresServer, find_programs
from tests.support.programs import require, require_module

DEPLOY = Path(__file__).parents[2] / "core" / "sealyard" / "server" / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
AGENT_README = (DEPLOY.parents[1] / "agent" / "README.md").read_text()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the folder with what the script has created."""
    require("openssl")
    folder = tmp_path_factory.mktemp("deploy")
    script = DEPLOY / "prepare-compose.sh"
    subprocess.run([script, folder], capture_output=True, check=True, timeout=TIMEOUT)
    return folder


def load_compose() -> dict[str, Any]:
    require_module("yaml")
    import yaml  # type: ignore[import-untyped]

    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return content


def mounted_paths(compose: dict[str, Any]) -> set[str]:
    """Return the relative paths of the host that services mount."""
    volumes = [volume.split(":")[0] for service in compose["services"].values() for volume in service["volumes"]]
    secrets = [secret["file"] for secret in compose["secrets"].values()]
    return {path for path in (*volumes, *secrets) if path.startswith(".")}


@pytest.mark.interop
def test_compose_file_conforms_to_specification() -> None:
    require_module("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert result.returncode == 0, result.stdout


def test_images_have_versions() -> None:
    for name, service in load_compose()["services"].items():
        tag = service["image"].rpartition(":")[2]
        assert "build" in service or re.search(r"\d+[.-]\d+", tag), name


def test_crypto_host_has_no_network_with_the_servers() -> None:
    compose = load_compose()
    assert compose["services"]["crypto1"]["networks"] == ["backend"]
    assert compose["networks"]["backend"] == {"internal": True}
    assert "ports" not in compose["services"]["crypto1"]
    assert "s3-credentials" not in str(compose["services"]["crypto1"]["secrets"])


def test_script_creates_what_the_compose_file_mounts(prepared: Path) -> None:
    for path in mounted_paths(load_compose()):
        assert (prepared / path).exists() or (DEPLOY / path).exists(), path
    modes = {path.stat().st_mode & 0o077 for path in prepared.rglob("*")}
    assert modes == {0}


def test_script_refuses_to_replace_the_folder(prepared: Path) -> None:
    result = subprocess.run([DEPLOY / "prepare-compose.sh", prepared], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (1, "The folder zone exists already.\n")


def test_commands_and_settings_are_valid(prepared: Path) -> None:
    services = load_compose()["services"]
    commands = {name: services[name]["command"] for name in ("server1", "server2", "crypto1")}
    for name, arguments in commands.items():
        parsed = build_parser().parse_args(arguments)
        if name == "crypto1":
            continue
        settings = load_server_settings(prepared / "zone" / "server" / parsed.config.name)
        assert settings.cluster is not None
        assert settings.cluster.url == f"https://{name}:8751"


def test_certificates_are_valid_for_their_hosts(prepared: Path) -> None:
    zone = prepared / "zone"
    for name, path in (("server1", "server/server1.pem"), ("postgres", "postgres/postgres.pem")):
        command = ["openssl", "verify", "-CAfile", str(zone / "ca.pem"), "-verify_hostname", name, str(zone / path)]
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)


def test_services_are_those_of_the_documentation(prepared: Path) -> None:
    services = {}
    for role in ("server", "crypto"):
        parser = configparser.ConfigParser()
        parser.read(prepared / "zone" / role / "pg_service.conf")
        services[role] = {name: parser[name]["user"] for name in parser.sections()}
    assert services["crypto"] == {"sealyard-bus": "sealyard_crypto"}
    assert set(services["server"]) == {"sealyard", "sealyard-bus", "sealyard-owner", "sealyard-bus-owner"}
    for name in services["server"]:
        assert f"`{name}`" in AGENT_README


# ---- roles


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """Start a server without the roles of other tests."""
    require_module("alembic", "postgres")
    with tempfile.TemporaryDirectory(prefix="sealyard-pg-") as folder:
        server = PostgresServer(find_programs(), Path(folder))
        yield server
        server.stop()


def test_roles_get_what_they_need_and_no_more(server: PostgresServer) -> None:
    psql = shutil.which("psql") or str(require("psql"))
    connection = server.connection_string("postgres", "postgres")
    command = [psql, connection, "--file", str(DEPLOY / "roles.sql")]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)
    upgrade_schema(Database(server.connection_string("sealyard", "sealyard_owner")))
    bus = server.connection_string("sealyard_bus", "sealyard_owner")
    upgrade_bus(Database(bus), BusSettings(zone="plant", engine_role="sealyard_server", agent_role="sealyard_crypto"))
    report = check_bus(Database(bus))
    assert report.is_suitable, report
    refused = server.connection_string("sealyard", "sealyard_crypto")
    result = subprocess.run([psql, refused, "-c", "SELECT 1"], capture_output=True, text=True, check=False)
    assert "permission denied for database" in result.stderr


def test_documented_compose_commands_are_valid() -> None:
    (block,) = re.findall(r"<!-- compose -->\n```console\n(.*?)\n```", AGENT_README, re.DOTALL)
    services = load_compose()["services"]
    pattern = re.compile(r"# docker compose run --rm (?:-T )?(\w+) (.*?)(?: > .*)?$", re.MULTILINE)
    commands = pattern.findall(block)
    assert len(commands) == block.count("docker compose run")
    for service, arguments in commands:
        assert service in services
        build_parser().parse_args(shlex.split(arguments))
