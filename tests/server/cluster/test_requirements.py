"""Test which settings and workspaces several servers can serve."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from sealyard import server
from sealyard.client.config.settings_example import render_toml
from sealyard.model.errors import UsageError
from sealyard.server.cluster.certificates import ClusterCertificates
from sealyard.server.cluster.requirements import check_cluster
from sealyard.server.settings import ClusterSettings, ServerSettings, load_server_settings
from tests.support.cluster_harness import ClusterWorkspace, ServerConfig
from tests.support.server_harness import create_test_workspace
from tests.support.tls_certificates import create_cert_pair

SERVER_README = Path(server.__file__).with_name("README.md")
ANCHORS = {"SEALYARD_ANCHORS": "none"}
VALID = ClusterSettings(
    url="https://seal1.internal:8751", listen="0.0.0.0:8751", certificate="c.pem", key="c.key", ca="ca.pem"
)


def check(folder: Path, cluster: ClusterSettings = VALID, environ: Mapping[str, str] = ANCHORS, **anchors: str) -> None:
    check_cluster(ServerSettings(cluster=cluster, anchors=anchors), {"yard": folder}, environ)


def change(**values: str) -> ClusterSettings:
    return msgspec.structs.replace(VALID, **values)


def test_valid_settings_are_accepted(workspace: ClusterWorkspace) -> None:
    check(workspace.folder)
    check(workspace.folder, environ={}, yard="/srv/anchors")
    check(workspace.folder, change(url="https://[::1]:8751/"))


@pytest.mark.parametrize("name", ["url", "listen", "certificate", "key", "ca"])
def test_missing_setting_is_rejected(workspace: ClusterWorkspace, name: str) -> None:
    with pytest.raises(UsageError, match=f"Missing setting cluster.{name}"):
        check(workspace.folder, change(**{name: ""}))


@pytest.mark.parametrize(
    "url", ["http://seal1:8751", "seal1:8751", "https://", "https://seal1:0", "https://seal1/path", "https://a@seal1"]
)
def test_invalid_url_is_rejected(workspace: ClusterWorkspace, url: str) -> None:
    with pytest.raises(UsageError, match=r"Invalid cluster\.url"):
        check(workspace.folder, change(url=url))


def test_invalid_listen_address_is_rejected(workspace: ClusterWorkspace) -> None:
    with pytest.raises(UsageError, match="Invalid address"):
        check(workspace.folder, change(listen="8751"))


@pytest.mark.anyio
async def test_workspace_without_database_is_rejected(tmp_path: Path) -> None:
    await create_test_workspace(tmp_path / "files")
    with pytest.raises(UsageError, match="store is in a database"):
        check(tmp_path / "files")


def test_anchor_of_one_machine_is_rejected(workspace: ClusterWorkspace) -> None:
    with pytest.raises(UsageError, match="freshness anchor"):
        check(workspace.folder, environ={})


def test_several_tenants_are_rejected(workspace: ClusterWorkspace) -> None:
    with pytest.raises(UsageError, match="serves one workspace"):
        check_cluster(ServerSettings(cluster=VALID), {"a": workspace.folder, "b": workspace.folder}, ANCHORS)


@pytest.mark.parametrize("seconds", ["2.9", "121", '"8"'])
def test_lease_outside_its_range_is_rejected(tmp_path: Path, seconds: str) -> None:
    path = tmp_path / "server.toml"
    path.write_text(f"[cluster]\nlease_seconds = {seconds}\n")
    with pytest.raises(UsageError, match="lease_seconds"):
        load_server_settings(path)


def test_settings_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(render_toml(ServerSettings(cluster=VALID), ""))
    assert load_server_settings(path).cluster == VALID
    assert not ServerSettings().cluster.enabled


def test_documented_settings_are_valid(tmp_path: Path, workspace: ClusterWorkspace) -> None:
    block = re.search(r"<!-- cluster -->\n```toml\n(.*?)```", SERVER_README.read_text(), re.DOTALL)
    assert block is not None
    path = tmp_path / "server.toml"
    path.write_text(block[1])
    check_cluster(load_server_settings(path), {"acme": workspace.folder}, {})


# ---- certificates


def settings_of(workspace: ClusterWorkspace) -> ClusterSettings:
    config = ServerConfig(workspace, "server")
    config.release_ports()
    return config.cluster


@pytest.mark.parametrize("name", ["certificate", "key", "ca"])
def test_unusable_certificate_is_rejected(workspace: ClusterWorkspace, tmp_path: Path, name: str) -> None:
    settings = settings_of(workspace)
    no_pem = tmp_path / "text"
    no_pem.write_text("no PEM")
    for path in (tmp_path / "missing", tmp_path, no_pem):
        with pytest.raises(UsageError):
            ClusterCertificates(msgspec.structs.replace(settings, **{name: str(path)}))


def test_encrypted_key_is_rejected(workspace: ClusterWorkspace, tmp_path: Path) -> None:
    certificate, key = create_cert_pair(tmp_path, "encrypted", b"passphrase")
    settings = msgspec.structs.replace(settings_of(workspace), certificate=str(certificate), key=str(key))
    with pytest.raises(UsageError, match="encrypted"):
        ClusterCertificates(settings)


def test_failed_reload_keeps_certificates(workspace: ClusterWorkspace) -> None:
    settings = settings_of(workspace)
    certificates = ClusterCertificates(settings)
    context = certificates.client_context
    Path(settings.key).write_text("no PEM")
    with pytest.raises(UsageError):
        certificates.reload()
    assert certificates.client_context is context
