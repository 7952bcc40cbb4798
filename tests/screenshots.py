"""Remakes the pictures of the README from the real program: `python -m tests.screenshots`.

Two of them also as PNG, which wants the extra `pictures`.
"""

from __future__ import annotations

import asyncio
import html
import io
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cairosvg
import msgspec
from rich.console import Console
from rich.text import Text
from textual.pilot import Pilot

from sealyard.client.config.profiles import workspace_profiles
from sealyard.client.config.settings import StartScreen
from sealyard.client.config.settings_loader import Settings
from sealyard.client.demo import GATEWAY, OWNER, DemoWorkspace, create_populated_demo, temporary_dir
from sealyard.client.protocol import Client
from sealyard.model.credentials import TokenRequest
from sealyard.model.requests import PackageRequest
from sealyard.model.tasks import TaskStatus, Verdict
from sealyard_tui.app import SealyardApp
from sealyard_tui.screens.dashboard.screen import DashboardScreen
from sealyard_tui.screens.upload.form_model import FileRole
from sealyard_tui.screens.upload.screen import UploadScreen
from sealyard_tui.session.connections import LocalConnection, ServerConnection, WorkspaceConnection
from sealyard_tui.session.session import Session
from tests.crash.workspace_process import PASSPHRASE, ServerProcess
from tests.support.key_holders import unlock

FOLDER = Path(__file__).parents[1] / "screenshots"
WIDTH = 150
SIZE = (120, 36)
LIMIT = 90.0
"""Seconds that anything may take."""

GIB = 1 << 30
BIG = {"gateway-2.0.0.bin": 3 * GIB, "gateway-2.0.1.bin": 3 * GIB, "gateway-2.1.0.bin": 2 * GIB}
"""Packages that take long enough to be looked at."""
SEEN_SHARE = 0.35
"""How much of the last package is packed when the dashboard is taken."""

THROW_AWAY = re.compile(r"/\S*/sealyard-demo-\w+")
AS_PNG = ("dashboard", "approvals")
PNG_SCALE = 1.5
FONT = '"Fira Code", "DejaVu Sans Mono", Menlo, Consolas, monospace'
PNG_FONT = '"DejaVu Sans Mono"'
CELL = 12.2
"""Width of a character in the pictures."""


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    with temporary_dir() as root:
        _neutral(root)
        pictures = asyncio.run(_application(root))
        for name, svg in pictures.items():
            _keep(name, svg, root)
    _headless()
    _forget_others({*pictures, "demo-headless"})
    return 0


def _neutral(root: Path) -> None:
    """A home whose place does not show, and nothing of the person's who runs this."""
    home = root / "home"
    (home / "firmware").mkdir(parents=True)
    for name in [each for each in os.environ if each.startswith(("SEALYARD_", "XDG_"))] + ["NO_COLOR", "LC_ALL"]:
        os.environ.pop(name, None)
    os.environ |= {"HOME": str(home), "TZ": "UTC", "LANG": "C.UTF-8"}
    time.tzset()
    os.chdir(home)


# ---- the application


async def _application(root: Path) -> dict[str, str]:
    """The pictures by name."""
    place = await create_populated_demo(root, unlock(PASSPHRASE))
    connection = LocalConnection(place.folder, lambda: place.key_holder)
    stage = _Stage(place, connection)
    try:
        await stage.upload()
        await stage.approvals()
        await stage.audit()
        await stage.administration()
        await stage.dashboard()
        token = await stage.token("owner")
    finally:
        await connection.close()
        place.key_holder.close()
    return stage.pictures | await _on_server(place, token, root / "server.log")


async def _on_server(place: DemoWorkspace, token: str, log: Path) -> dict[str, str]:
    server = ServerProcess(place.folder, log, passphrase=PASSPHRASE)
    connection = ServerConnection(server.url, lambda _: token)
    stage = _Stage(place, connection, server.url)
    try:
        await server.start()
        await stage.line_lost(server)
    finally:
        server.close()
        await connection.close()
    return stage.pictures


class _Stage:
    """Goes through the places, as the person who has most to do in each."""

    def __init__(self, place: DemoWorkspace, connection: WorkspaceConnection, server: str = "") -> None:
        self._place = place
        self._connection = connection
        self._server = server
        self._firmware = Path.home() / "firmware"
        self.pictures: dict[str, str] = {}

    @asynccontextmanager
    async def _open(self, who: str, place: StartScreen, theme: str = "sealyard-dark") -> AsyncIterator[Pilot[None]]:
        profiles = workspace_profiles(self._place.folder)
        profile = profiles.get(who)
        assert profile is not None
        profile = msgspec.structs.replace(profile, server=self._server)
        settings = Settings(bell=False, theme=theme, start_screen=place)
        session = Session(self._connection, profile, profiles.profiles)
        app = SealyardApp(session, settings, download_dir=Path.home() / "Downloads")
        async with app.run_test(size=SIZE, tooltips=False) as pilot:
            await _until(pilot, lambda: app.state.workspace and "● ready" in _text(pilot))
            yield pilot

    async def _take(self, pilot: Pilot[None], name: str, *words: str) -> None:
        """Once ``words`` can be read."""
        await _until(pilot, lambda: all(each in _text(pilot) for each in words))
        pilot.app.clear_notifications()
        await pilot.pause(0.5)
        self.pictures[name] = pilot.app.export_screenshot(title="Sealyard", simplify=True)

    async def upload(self) -> None:
        for name, size in (("gateway-boot-1.6.0.bin", 256 << 10), ("gateway-1.6.0.bin", 6 << 20)):
            (self._firmware / name).write_bytes(os.urandom(size))
        (self._firmware / "gateway-1.6.0.json").write_text('{\n  "product": "gateway",\n  "version": "1.6.0"\n}\n')
        (self._firmware / "archive").mkdir()
        async with self._open("developer", "upload") as pilot:
            place = pilot.app.screen
            assert isinstance(place, UploadScreen)
            os.chdir(self._firmware)
            await pilot.press("b")
            await _until(pilot, lambda: "gateway-1.6.0.json" in _text(pilot))
            await pilot.press("j", "space")
            await self._take(pilot, "file-browser", "1 marked")
            await pilot.press("escape", "escape")
            await _until(pilot, lambda: not pilot.app.screen.is_modal)
            place.add_paths((self._firmware / "gateway-boot-1.6.0.bin", self._firmware / "gateway-1.6.0.bin"))
            place.add_paths((self._firmware / "gateway-1.6.0.json",), FileRole.METADATA)
            await pilot.press("d")
            await _until(pilot, lambda: pilot.app.screen.is_modal and GATEWAY in _text(pilot))
            await pilot.press("1")
            await self._take(pilot, "upload", "2 firmware, 1 metadata", "● ready")

    async def approvals(self) -> None:
        async with self._open("owner", "approvals") as pilot:
            await self._take(pilot, "approvals", "to approve", "gateway 1.5.0", "sha256")
            await pilot.press("A")
            await _until(pilot, lambda: pilot.app.screen.is_modal)
            await pilot.press(*GATEWAY[:8])
            await self._take(pilot, "approve", "cannot be undone")

    async def audit(self) -> None:
        async with self._open("auditor", "audit") as pilot:
            await self._take(pilot, "audit", "REJECTED", "by a signed checkpoint", '"author"')

    async def administration(self) -> None:
        async with self._open("administrator", "devices", "sealyard-light") as pilot:
            await self._take(pilot, "devices", GATEWAY, "fingerprint")
        async with self._open("administrator", "access") as pilot:
            await self._take(pilot, "access", OWNER, "APPROVE")

    async def dashboard(self) -> None:
        """While some GiB are packed; the chart shows three minutes, so it begins before."""
        async with self._open("developer", "dashboard") as pilot:
            await pilot.press("question_mark")
            await self._take(pilot, "help", "Help: Dashboard")
            await pilot.press("escape")
            last = [await self._package(name, size) for name, size in BIG.items()][-1]
            place = pilot.app.screen
            assert isinstance(place, DashboardScreen)
            place.show_task(last)
            await _until(pilot, lambda: _share(place, last) > SEEN_SHARE)
            await self._take(pilot, "dashboard", TaskStatus.RUNNING, "MiB/s")

    async def line_lost(self, server: ServerProcess) -> None:
        """An approval is being typed as the server dies."""
        async with self._open("owner", "approvals") as pilot:
            await _until(pilot, lambda: "gateway 1.5.0" in _text(pilot))
            await pilot.press("A")
            await _until(pilot, lambda: pilot.app.screen.is_modal)
            await pilot.press(*GATEWAY[:8])
            server.kill()
            await self._take(pilot, "connection-lost", "reconnecting", "cannot be undone")

    async def token(self, who: str) -> str:
        issued = await (await self._client(who)).create_token(TokenRequest(name="pictures"))
        return issued.secret

    async def _package(self, name: str, size: int) -> str:
        """The id of a package of one file of zeros, approved at once."""
        path = self._firmware / name
        with path.open("wb") as file:
            file.truncate(size)
        developer = await self._client("developer")
        firmware = await developer.upload(path)
        request = PackageRequest(config=GATEWAY, firmware=(firmware,), name=path.stem.replace("-", " "))
        task = await developer.create_package(request)
        owner = await self._client("owner")
        await owner.decide(task.id, Verdict.APPROVED, "Tested in the lab.")
        return task.id

    async def _client(self, who: str) -> Client:
        profile = workspace_profiles(self._place.folder).get(who)
        assert profile is not None
        return await self._connection.connect(profile, lambda _: None)


def _share(place: DashboardScreen, task_id: str) -> float:
    row = place.table.row(task_id)
    if row is None or row.live is None or not row.live.bytes_total:
        return 0.0
    return row.live.bytes_done / row.live.bytes_total


async def _until(pilot: Pilot[Any], condition: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(_text(pilot))
        await pilot.pause(0.05)


def _text(pilot: Pilot[Any]) -> str:
    return "\n".join("".join(each.text for each in strip) for strip in pilot.app.screen._compositor.render_strips())


# ---- pictures


def _keep(name: str, svg: str, root: Path) -> None:
    """As SVG without a font from a network, and as PNG. Nothing of this machine may be in it."""
    if str(root) in svg or root.name in svg:
        raise AssertionError(f"{name} shows a path of this machine")
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"terminal-\d+", "terminal", svg)
    svg = re.sub(r"<text [^>]*>\n</text>", "", svg)
    svg = svg.replace("Fira Code, monospace", FONT)
    (FOLDER / f"{name}.svg").write_text("\n".join(each.rstrip() for each in svg.splitlines()) + "\n", encoding="utf-8")
    if name in AS_PNG:
        for_png = re.sub(r"<text([^>]*terminal-r\d+[^>]*)>(.*?)</text>", _in_cells, svg, flags=re.DOTALL)
        drawn = for_png.replace(FONT, PNG_FONT).encode()
        cairosvg.svg2png(bytestring=drawn, write_to=str(FOLDER / f"{name}.png"), scale=PNG_SCALE)


def _in_cells(found: re.Match[str]) -> str:
    """Each character at its own place: the font may be narrower than its cells, or lack a character."""
    attributes, text = found[1], html.unescape(found[2])
    left = float(re.findall(r' x="([\d.]+)"', attributes)[0])
    attributes = re.sub(r' (x|textLength)="[\d.]+"', "", attributes)
    cells = [(left + CELL * index, each) for index, each in enumerate(text) if not each.isspace()]
    places = " ".join(f"{x:.1f}" for x, _ in cells)
    return f'<text{attributes} x="{places}">{html.escape("".join(each for _, each in cells))}</text>' if cells else ""


def _forget_others(made: set[str]) -> None:
    for each in FOLDER.iterdir():
        if each.stem not in made or (each.suffix == ".png" and each.stem not in AS_PNG):
            each.unlink()


# ---- the command


def _headless() -> None:
    output = subprocess.run(
        [Path(sys.executable).parent / "sealyard", "demo", "--headless"], check=True, capture_output=True, text=True
    ).stdout
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ sealyard demo --headless", style="bold"))
    for line in THROW_AWAY.sub("…", output).splitlines():
        console.print(_coloured(line))
    console.save_svg(str(FOLDER / "demo-headless.svg"), title="Sealyard")


def _coloured(line: str) -> Text:
    """The step in bold; a refusal stands out."""
    text = Text(line)
    step = line.partition(" ")[0]
    text.stylize("bold red" if step == "refused" else "bold green", 0, len(step))
    return text


if __name__ == "__main__":
    sys.exit(main())
