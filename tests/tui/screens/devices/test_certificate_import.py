"""Tests of the import of renewed certificates on the devices screen."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from sealyard.model.algorithms import SigningAlgorithm
from sealyard.model.requests import SigningKeyRequest
from tests.support.authority import Authority, encode_chain
from tests.support.key_files import certificate_for
from tests.tui.form_helpers import fill_field, open_form, type_text
from tests.tui.pilot_helpers import assert_visible, make_app, run_app
from tests.tui.workspace import DEVELOPER, OWNER, TuiWorkspace


async def test_renewed_certificate_makes_key_version(workspace: TuiWorkspace, tmp_path: Path) -> None:
    key = workspace.shelf.private["local:gateway-signing", 1]
    (tmp_path / "renewed.pem").write_bytes(certificate_for(key, name="new").public_bytes(Encoding.PEM))
    app = make_app(workspace, "administrator", start_screen="devices")
    async with run_app(app, size=(100, 40)) as pilot:
        await open_form(pilot, "I")
        await assert_visible(pilot, "Certificate of local:gateway-signing", "uses it: gateway")
        type_text(app, str(tmp_path / "missing.pem"))
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "✗ Cannot read the file")
        fill_field(app, "file", str(tmp_path / "renewed.pem"))
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Imported the certificate into local:gateway-signing version 2")
        await assert_visible(pilot, "version 3 of 3", "version 2 (EC_P256, for package, renewed)")


async def test_certificate_import_offers_several_signing_keys(workspace: TuiWorkspace) -> None:
    await workspace.create_device(
        "aaa",
        signing_keys=tuple(
            SigningKeyRequest(algorithm=SigningAlgorithm.ECC_NIST_P256, name=name) for name in ("new", "old")
        ),
        use=(DEVELOPER,),
        approve=(OWNER,),
    )
    app = make_app(workspace, "administrator", start_screen="devices")
    async with run_app(app, size=(100, 40)) as pilot:
        await pilot.press("I")
        await assert_visible(pilot, "Choose the key of the certificate", "2 local:aaa-signing-2  aaa")
        await pilot.press("2")
        await assert_visible(pilot, "Certificate of local:aaa-signing-2")


async def test_chain_is_checked_and_shown(workspace: TuiWorkspace, tmp_path: Path) -> None:
    key = workspace.shelf.private["local:gateway-signing", 1]
    root = Authority("root")
    issuer = Authority("issuer", root)
    leaf = issuer.issue(key.public_key())
    (tmp_path / "gap.pem").write_bytes(encode_chain(root.certificate, leaf))
    (tmp_path / "chain.pem").write_bytes(encode_chain(root.certificate, issuer.certificate, leaf))
    app = make_app(workspace, "administrator", start_screen="devices")
    async with run_app(app, size=(120, 44)) as pilot:
        await open_form(pilot, "I")
        type_text(app, str(tmp_path / "gap.pem"))
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "The chain has a gap")
        fill_field(app, "file", str(tmp_path / "chain.pem"))
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Imported the certificate into local:gateway-signing version 2")
        await assert_visible(pilot, "CN=signer, issued by CN=issuer (chain of 2 certificates)")
