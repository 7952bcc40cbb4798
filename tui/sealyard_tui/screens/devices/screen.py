"""The device configurations screen, for listing configurations, showing their versions and creating new ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.timer import Timer

from sealyard.client.capabilities import Capabilities, load_capabilities
from sealyard.client.protocol import Client
from sealyard.model.access import Action, ResourceType, device_resource, is_allowed, resource_type_uri
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import PermissionDeniedError
from sealyard.model.formatting import format_count, format_duration
from sealyard.model.safe_text import escape_text
from sealyard_tui.action_keys import action_keys, insert_keys
from sealyard_tui.fuzzy import find_matches
from sealyard_tui.screens.devices.actions import DeviceActions
from sealyard_tui.screens.devices.detail_pane import DeviceDetailPane
from sealyard_tui.screens.devices.format import DeviceContext, format_detail, format_warning_count, list_keys
from sealyard_tui.screens.list_screen import ListScreen
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.session.state import SessionState
from sealyard_tui.widgets.columns import Cell, Column, join_cells
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.pane_title import set_pane_title
from sealyard_tui.widgets.sort_order import SortOrder, sort_rows
from sealyard_tui.widgets.virtual_table import VirtualTable

RESOURCES = ("DEVICE_CONFIG", "KEY", "ACL", "SUBJECT")
"""Types of the resources whose changes cause this screen to reload its data."""

SORT_VALUES: Mapping[str, Callable[[DeviceConfig], str | int]] = {
    "name": lambda each: each.name.casefold(),
    "version": lambda each: each.version,
    "encryption": lambda each: each.encryption.algorithm,
    "signing": lambda each: each.signing.algorithm,
    "approvals": lambda each: each.approvals_required,
    "format": lambda each: each.format,
    "link": lambda each: each.link_ttl_seconds,
    "kept": lambda each: each.retention_seconds,
}
"""Functions that return the value by which configurations are sorted, by column."""

DETAIL_DELAY = 0.05
"""Delay in seconds between the last cursor movement and the update of the detail pane."""


class DevicesScreen(ListScreen):
    """Screen that lists device configurations and shows the versions of the current one."""

    NAME = "devices"
    CSS_PATH = "screen.tcss"
    SORTABLE = frozenset(SORT_VALUES)
    HELP = (
        "A device configuration defines the keys and algorithms that encrypt and sign packages for a type "
        "of device, the number of approvals required, and how long results are kept. Versions are "
        "immutable: a change creates a new version, and tasks keep the version they were created with."
    )

    DISABLED_HINTS: ClassVar[Mapping[str, str]] = {
        "step(-1)": "This is the first version.",
        "step(1)": "This is the newest version.",
    }

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column(key="name", title="NAME", width=20, min_width=14, max_width=60, grow=1),
        Column(key="version", title="VER", width=4, right=True),
        Column(key="encryption", title="ENCRYPTION", width=24, min_width=20, give_way=6),
        Column(key="signing", title="SIGNING", width=20, min_width=18, give_way=5),
        Column(key="approvals", title="APPROVALS", width=9, right=True, give_way=4),
        Column(key="format", title="FORMAT", width=7, give_way=3),
        Column(key="link", title="LINK", width=7, right=True, give_way=2),
        Column(key="kept", title="KEPT", width=7, right=True, give_way=1),
        Column(key="warnings", title="!", width=3),
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "create", "New", id="devices.create", tooltip="Create a device configuration"),
        Binding(
            "e",
            "next_version",
            "Next version",
            id="devices.new_version",
            tooltip="Create a new version with other settings",
        ),
        Binding(
            "left_square_bracket",
            "step(-1)",
            "Older",
            show=False,
            id="devices.older",
            tooltip="Show the previous version",
        ),
        Binding(
            "right_square_bracket",
            "step(1)",
            "Newer",
            show=False,
            id="devices.newer",
            tooltip="Show the next version",
        ),
        Binding(
            "d", "certificates", "Certs", id="devices.certificates", tooltip="Export the certificates as PEM files"
        ),
        Binding("R", "rotate", "Rotate", id="devices.rotate", tooltip="Create a new version of a key"),
        Binding(
            "I",
            "import_certificate",
            "Import cert",
            show=False,
            id="devices.import_certificate",
            tooltip="Import a renewed certificate of a signing key",
        ),
        Binding("E", "export", "Export", id="devices.export", tooltip="Export the symmetric key to a file"),
        Binding("c", "copy", "Copy id", show=False, id="devices.copy", tooltip="Copy the id to the clipboard"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.context = DeviceContext()
        self.shown_version: DeviceConfig | None = None
        """Version shown in the detail pane."""
        self._actions = DeviceActions(
            self,
            devices=lambda: self.devices,
            context=lambda: self.context,
            load_capabilities=self._load_capabilities,
            show_device=self.show_device,
        )
        self._devices: tuple[DeviceConfig, ...] = ()
        self._capabilities: Capabilities | None = None
        self._detail_timer: Timer | None = None

    def compose_body(self) -> ComposeResult:
        yield FilterBar(self.saved_state.filter, hint="name, algorithm or key")
        with Container(id="list-and-detail"):
            yield VirtualTable[DeviceConfig](
                self.COLUMNS, self._render_cells, key=lambda each: each.id, empty="Loading…", id="rows", classes="pane"
            )
            yield DeviceDetailPane()

    def on_mount(self) -> None:
        self.set_focus(self.query_one(VirtualTable))
        self._show_detail()

    def _render_cells(self, device: DeviceConfig) -> tuple[Cell, ...]:
        return (
            escape_text(device.name),
            str(device.version),
            device.encryption.algorithm,
            device.signing.algorithm,
            str(device.approvals_required),
            escape_text(device.format),
            format_duration(device.link_ttl_seconds),
            format_duration(device.retention_seconds),
            format_warning_count(device, self.context, self.now()),
        )

    def _build_search_text(self, device: DeviceConfig) -> str:
        """Return everything that the row shows, and other properties of the configuration, in lowercase."""
        keys = (f"{key.algorithm} {key.uri}" for key in list_keys(device))
        properties = "\n".join((device.id, device.description, *keys)).casefold()
        return f"{join_cells(self._render_cells(device))}\n{properties}"

    # ---- load and update

    async def load(self) -> None:
        client = await self.client()
        self.context = await _load_context(client)
        self._devices = await client.devices()
        self._apply_filter()
        await self._update_detail(client)
        # Load these in advance: the screen would handle any keys pressed while a form waits for them.
        await self._load_capabilities()

    async def _update_detail(self, client: Client) -> None:
        """Show the latest version of the current configuration in the detail pane, unless an older one is selected.

        The version just before the latest one is not kept, because it may have been the latest one until this update.
        """
        row, current = self.latest_version, self.shown_version
        if row is not None and current is not None and current.id == row.id and current.version < row.version - 1:
            self.shown_version = await client.device(row.id, current.version)
        else:
            self.shown_version = row
        self._show_detail()

    async def apply_update(self, update: EngineUpdate) -> None:
        if update.missed_events or any(each.partition(":")[0] in RESOURCES for each in update.resources):
            await self.load()

    def _on_state_changed(self, state: SessionState) -> None:
        super()._on_state_changed(state)
        self._show_detail()

    def reset(self) -> None:
        self.context = DeviceContext()
        self.shown_version = None
        self._devices = ()
        self.remove_class("-detail")
        table = self.query_one(VirtualTable)
        table.set_empty_text("Loading…")
        table.replace(())
        self._show_detail()

    async def _load_capabilities(self) -> Capabilities:
        if self._capabilities is None:
            self._capabilities = await asyncio.to_thread(load_capabilities)
        return self._capabilities

    @on(FilterBar.Changed)
    def _apply_filter(self) -> None:
        bar = self.query_one(FilterBar)
        devices, is_similar = find_matches(self._devices, bar.text, self._build_search_text)
        table = self.query_one(VirtualTable)
        table.set_empty_text(self._format_empty_text())
        table.replace(devices if is_similar else sort_rows(devices, self.order, SORT_VALUES))
        bar.show_count(len(devices), len(self._devices), similar=is_similar)
        set_pane_title(table, format_count(len(devices), "device configuration"))

    def apply_order(self, order: SortOrder) -> None:
        table: VirtualTable[DeviceConfig] = self.list_table
        table.replace(sort_rows(table.rows, order, SORT_VALUES))

    def _format_empty_text(self) -> str:
        if self._devices:
            return insert_keys(
                self.app, "No device configurations match the filter.\nPress {key[screen.back]} to clear it."
            )
        if is_allowed(self.context.permissions, Action.CREATE, resource_type_uri(ResourceType.DEVICE_CONFIG)):
            return insert_keys(self.app, "No device configurations yet.\nPress {key[devices.create]} to create one.")
        return "No device configurations available.\nAsk an administrator for USE or APPROVE permission."

    # ---- detail

    @on(VirtualTable.RowHighlighted)
    def _on_row_highlighted(self) -> None:
        """Show the details once the cursor has stopped moving, so that moving it by holding down a key remains fast."""
        row: DeviceConfig | None = self.query_one(VirtualTable).cursor_row
        if row is None or self.shown_version is None or self.shown_version.id != row.id:
            self.shown_version = row
        if self._detail_timer is not None:
            self._detail_timer.stop()
        self._detail_timer = self.set_timer(DETAIL_DELAY, self._show_detail)

    @on(VirtualTable.RowActivated)
    def _open_detail(self) -> None:
        self.add_class("-detail")
        self.set_focus(self.query_one(DeviceDetailPane))

    @property
    def latest_version(self) -> DeviceConfig | None:
        """Latest version of the configuration under the cursor."""
        row: DeviceConfig | None = self.query_one(VirtualTable).cursor_row
        return row

    def _show_detail(self) -> None:
        pane = self.query_one(DeviceDetailPane)
        shown_version, latest = self.shown_version, self.latest_version
        if shown_version is None or latest is None:
            pane.show(lambda _: Content.styled("Select a device configuration to see details.", "$text-muted"))
        else:
            steps = insert_keys(self.app, "{key[devices.older]} older  {key[devices.newer]} newer")
            pane.border_subtitle = Content(steps if latest.version > 1 else "")
            keys = action_keys(self.app)
            context = msgspec.structs.replace(self.context, names=self.state.subject_names)
            pane.show(partial(format_detail, shown_version, latest.version, context, self.now(), keys))
        self.refresh_bindings()

    def action_step(self, step: int) -> None:
        if self.shown_version is not None:
            self.run_background(
                self._step(self.shown_version, self.shown_version.version + step), group="step", exclusive=True
            )

    async def _step(self, config: DeviceConfig, version: int) -> None:
        device = await (await self.client()).device(config.id, version)
        if self.latest_version is not None and self.latest_version.id == device.id:
            self.shown_version = device
            self._show_detail()

    def action_back(self) -> None:
        if self.has_class("-detail"):
            self.remove_class("-detail")
            self.set_focus(self.query_one(VirtualTable))
            return
        super().action_back()

    # ---- actions

    def action_create(self) -> None:
        self.run_opening(self._actions.create())

    def action_next_version(self) -> None:
        if self.latest_version is not None:
            self.run_opening(self._actions.create_version(self.latest_version))

    def action_certificates(self) -> None:
        if self.latest_version is not None:
            self._actions.export_certificates(self.latest_version)

    def action_export(self) -> None:
        if self.latest_version is not None:
            self._actions.export_key(self.latest_version)

    def action_rotate(self) -> None:
        if self.latest_version is not None:
            self.run_opening(self._actions.rotate(self.latest_version))

    def action_import_certificate(self) -> None:
        if self.latest_version is not None:
            self.run_guarded(self._actions.import_certificate(self.latest_version))

    def action_copy(self) -> None:
        if self.latest_version is not None:
            self.app.copy_to_clipboard(self.latest_version.id)
            self.flash(f"Copied {self.latest_version.id}")

    @property
    def devices(self) -> tuple[DeviceConfig, ...]:
        return self._devices

    def show_device(self, config_id: str) -> None:
        self.query_one(VirtualTable).move_cursor_to(config_id)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        latest = self.latest_version if self.is_mounted else None
        match action:
            case "create":
                return self._is_allowed(Action.CREATE, resource_type_uri(ResourceType.DEVICE_CONFIG))
            case "next_version":
                return latest is not None and self._is_allowed(Action.UPDATE, device_resource(latest.id))
            case "export":
                return latest is not None and self._is_allowed(Action.EXPORT, device_resource(latest.id))
            case "rotate" | "import_certificate":
                return latest is not None and self._is_allowed(Action.UPDATE, resource_type_uri(ResourceType.KEY))
            case "certificates" | "copy":
                return latest is not None
            case "step":
                return self._can_step(latest, parameters)
        return super().check_action(action, parameters)

    def _can_step(self, latest: DeviceConfig | None, parameters: tuple[object, ...]) -> bool | None:
        if latest is None or self.shown_version is None or latest.version == 1:
            return False
        return 1 <= self.shown_version.version + int(str(parameters[0])) <= latest.version or None

    def _is_allowed(self, action: Action, resource: str) -> bool:
        return self.state.can_write and self.state.is_allowed(action, resource)


async def _load_context(client: Client) -> DeviceContext:
    """Load the permissions and, if the user may view them, the keys and the access control list."""
    permissions = (await client.workspace()).rights
    keys = access = None
    # Without permission, the requests would be rejected, and every rejection is recorded in the audit log.
    with contextlib.suppress(PermissionDeniedError):
        if is_allowed(permissions, Action.VIEW, resource_type_uri(ResourceType.KEY)):
            keys = await client.keys()
        if is_allowed(permissions, Action.VIEW, resource_type_uri(ResourceType.ACL)):
            access = await client.access()
    return DeviceContext(permissions=permissions, keys=keys, access=access)
