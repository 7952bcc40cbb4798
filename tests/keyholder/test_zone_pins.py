"""Tests of the enrollment that the key store of a crypto host has pinned."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from sealyard.keyholder.zone_pins import open_zone
from sealyard.keys.derived_keys import derive_zone_keys
from sealyard.keys.master_key import KEYRING_FILE, PASSPHRASE, OpenedKeyStore, open_key_store
from sealyard.model.errors import ConflictError, KeyStoreCorruptedError, KeyStoreLockedError
from sealyard.model.key_holder_messages import KeyStoreLocation, OpenKeyHolder, PassphraseSource
from sealyard.model.workspace import WorkspacePaths
from sealyard.model.zones import Enrollment, ZoneIdentity
from tests.support.zone_engine import ZoneEngine

ENROLLMENT = ZoneEngine().enrollment
WORD = "a canary among passphrases"


def open_store(folder: Path, *, create: bool = False) -> OpenedKeyStore:
    return open_key_store(PASSPHRASE, folder / "keys", "w1", WORD, create)


def open_folder(
    folder: Path, enrollment: Enrollment | None = None, *, crypto_host: bool = True, create: bool = False
) -> ZoneIdentity | None:
    """Open the zone of a folder like the key holder does."""
    location = KeyStoreLocation(workspace=str(folder), workspace_id="w1", key_store=PASSPHRASE, crypto_host=crypto_host)
    request = OpenKeyHolder(location=location, source=PassphraseSource.ENVIRONMENT, enrollment=enrollment)
    return open_zone(request, open_store(folder, create=create), WorkspacePaths(folder))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    open_folder(folder, ENROLLMENT, create=True)
    return folder


@pytest.fixture
def host(template: Path, tmp_path: Path) -> Path:
    """The folder of a crypto host whose enrollment is pinned."""
    shutil.copytree(template / "keys", tmp_path / "keys")
    return tmp_path


def test_pinned_enrollment_is_found_again(host: Path) -> None:
    keys = derive_zone_keys(open_store(host).master_key).public
    assert open_folder(host) == ZoneIdentity(enrollment=ENROLLMENT, keys=keys)
    assert open_folder(host, ENROLLMENT) == ZoneIdentity(enrollment=ENROLLMENT, keys=keys)


def test_workspace_location_does_not_disable_pins(host: Path) -> None:
    zone = open_folder(host, crypto_host=False)
    assert zone is not None
    assert zone.enrollment == ENROLLMENT


@pytest.mark.parametrize(
    "change",
    [{"order_key": bytes(32)}, {"zone": "other"}, {"workspace_id": "w2"}, {"workspace_name": "other"}],
    ids=lambda change: next(iter(change)),
)
def test_other_enrollment_is_refused(host: Path, change: dict[str, object]) -> None:
    with pytest.raises(ConflictError, match="enrolled for another"):
        open_folder(host, msgspec.structs.replace(ENROLLMENT, **change))
    zone = open_folder(host)
    assert zone is not None
    assert zone.enrollment == ENROLLMENT


def test_missing_enrollment_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path, create=True)
    with pytest.raises(KeyStoreCorruptedError, match="no enrollment"):
        open_folder(tmp_path)


def test_workspace_has_no_zone(tmp_path: Path) -> None:
    open_store(tmp_path, create=True)
    assert open_folder(tmp_path, crypto_host=False) is None


def test_changed_pins_are_refused(host: Path) -> None:
    path = host / "keys" / KEYRING_FILE
    content = msgspec.json.decode(path.read_bytes())
    content["ciphertext"] = content["ciphertext"][::-1]
    path.write_bytes(msgspec.json.encode(content))
    with pytest.raises((KeyStoreCorruptedError, KeyStoreLockedError)):
        open_folder(host)


def test_unreadable_enrollment_is_refused(host: Path) -> None:
    open_store(host).save_enrollment("{}")
    with pytest.raises(KeyStoreCorruptedError, match="cannot be read"):
        open_folder(host)


def test_enrollment_of_copy_forgets_other_state(host: Path) -> None:
    open_store(host).save_state_epoch("of the first host")
    open_folder(host)
    assert open_store(host).load_state_epoch() == "of the first host"
    open_folder(host, ENROLLMENT)
    assert open_store(host).load_state_epoch() is None


def test_enrollment_keeps_existing_state(host: Path) -> None:
    open_store(host).save_state_epoch("of this host")
    state = WorkspacePaths(host).worker_state
    state.parent.mkdir()
    state.write_bytes(b"")
    open_folder(host, ENROLLMENT)
    assert open_store(host).load_state_epoch() == "of this host"
