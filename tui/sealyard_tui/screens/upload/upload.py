"""The upload place: a form for one task, and what the watch folder offers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Button, Input, Static

from sealyard.client.capabilities import signs_digest
from sealyard.client.config.settings_loader import WatchFolderSettings
from sealyard.model.access import Action, device_resource
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import SealyardError, ServerUnreachableError
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import TaskKind
from sealyard_tui.screens.dialogs.dialog import ConfirmDialog, PickDialog
from sealyard_tui.screens.place import Place
from sealyard_tui.screens.upload.dialogs import WatchDialog
from sealyard_tui.screens.upload.drops import DropsPane
from sealyard_tui.screens.upload.fields import FormFields
from sealyard_tui.screens.upload.file_browser import Chosen, FileBrowser
from sealyard_tui.screens.upload.files import FilesPane
from sealyard_tui.screens.upload.form import Form, Part
from sealyard_tui.screens.upload.handing import Handing
from sealyard_tui.screens.upload.notes import FitNotes
from sealyard_tui.screens.upload.shown import KINDS, device_choice, device_terms, summary, watch_words
from sealyard_tui.session.messages import EngineState, News
from sealyard_tui.session.standing import Standing
from sealyard_tui.session.watching_folder import WatchDesk

GOODBYE_SECONDS = 2.0
"""How long the application's end waits for uploads to be given back; what is not, the engine drops by itself."""

CHANGING = {"submit", "browse", "add", "device", "kind", "signs", "name", "clear", "watch"}


class Upload(Place):
    PLACE = "upload"
    CSS_PATH = "upload.tcss"
    AUTO_FOCUS = "#files"
    HELP = (
        "Here you ask for a package, an encryption or a signature. Add files, choose the device configuration, then"
        " ctrl+s. Files are handed in and hashed at once; what is not submitted is given back. Files dropped into the"
        " watch folder are offered below."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "submit", "Submit", id="upload.submit", tooltip="Ask for the task"),
        Binding("a", "add", "Add", id="upload.add", tooltip="Type or paste paths"),
        Binding("b,ctrl+o", "browse", "Browse", id="upload.browse", tooltip="Choose files in a list"),
        Binding("d", "device", "Device", id="upload.device", tooltip="Choose the device configuration"),
        Binding("t", "kind", "Kind", show=False, id="upload.kind", tooltip="Package, encryption or signing"),
        Binding("i", "signs", "What is signed", show=False, id="upload.signs", tooltip="Hash the file, or take it"),
        Binding("n", "name", "Name", show=False, id="upload.name", tooltip="Type a name for the task"),
        Binding("w", "watch", "Watch", show=False, id="upload.watch", tooltip="Folder whose files are offered here"),
        Binding("X", "clear", "Empty the form", show=False, id="upload.clear", tooltip="Gives all files back"),
        Binding("o", "show_made", "Show the task", id="upload.show_made", tooltip="The task that was just made"),
        Binding("down", "field(1)", show=False, id="upload.next_field"),
        Binding("up", "field(-1)", show=False, id="upload.previous_field"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._forms: dict[str, Form] = {}
        self._handings: dict[str, Handing] = {}
        self._who = ""
        self._devices: dict[str, DeviceConfig] = {}
        self._known = False
        self._made = ""
        self._due = False
        self._acting: object = None

    # ---- the frame

    def compose_place(self) -> ComposeResult:
        with Horizontal(classes="row"):
            yield Static("New task", id="title", markup=False)
            yield Static("", id="watch", markup=False)
        yield FormFields()
        yield FilesPane()
        yield FitNotes()
        yield DropsPane(lambda offer: offer in self.form.taken)
        with Horizontal(id="end"):
            yield Button(Content("Submit (ctrl+s)"), id="submit", variant="primary", compact=True)
            yield Static("", id="ready", markup=False)

    def on_mount(self) -> None:
        self._who = self.standing.identity
        self.sealyard.watch_desk.changed.subscribe(self, self._watch_changed)
        self.sealyard.standing_changed.subscribe(self, self._rights_changed)
        self._fill()

    async def on_unmount(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                for each in self._handings.values():
                    await each.end()

    async def load(self) -> None:
        client = await self.client()
        self._devices = {each.id: each for each in await client.devices()}
        self._known = True
        self._choose_the_only()
        self._begin([each.key for each in self.form.entries if isinstance(each.error, ServerUnreachableError)])
        self._show()

    async def take(self, news: News) -> None:
        if news.gap or news.resources:
            await self.load()

    def tick(self, now: object) -> None:  # noqa: ARG002 - ages are counted from the application's own clock
        self.query_one("#drops").refresh()

    def forget(self) -> None:
        """The form stays that person's; the next one has another."""
        self._who = self.standing.identity
        self._devices = {}
        self._known = False
        self._made = ""
        self._fill()

    @property
    def form(self) -> Form:
        """Of the person who looks."""
        return self._forms.setdefault(self._who, Form())

    @property
    def _usable(self) -> list[DeviceConfig]:
        return [each for each in self._devices.values() if self.standing.may(Action.USE, device_resource(each.id))]

    @property
    def _device(self) -> DeviceConfig | None:
        return next((each for each in self._usable if each.id == self.form.device), None)

    @property
    def _fields(self) -> FormFields:
        return self.query_one(FormFields)

    @property
    def _files(self) -> FilesPane:
        return self.query_one(FilesPane)

    @property
    def _notes(self) -> FitNotes:
        return self.query_one(FitNotes)

    @property
    def _desk(self) -> WatchDesk:
        return self.sealyard.watch_desk

    def _rights_changed(self, _: Standing) -> None:
        self._choose_the_only()
        self._show_soon()

    def _choose_the_only(self) -> None:
        if not self.form.device and len(self._usable) == 1:
            self.form.device = self._usable[0].id

    def _watch_changed(self, _: None) -> None:
        self._show_soon()

    # ---- showing

    def _fill(self) -> None:
        """All anew, from the form."""
        self._fields.fill(self.form)
        self._show()

    def _told(self, form: Form) -> None:
        if form is self.form:
            self._show_soon()

    def _show_soon(self) -> None:
        """Once for all that changes within a moment."""
        if not self._due and self.is_attached:
            self._due = True
            self.call_later(self._show)

    def _show(self) -> None:
        self._due = False
        form, device = self.form, self._device
        self._files.show(form)
        self.query_one(DropsPane).show()
        self._notes.judge(form, device)
        self.query_one("#watch", Static).update(watch_words(self._desk))
        self._fields.show(device, self._terms(), asks_what_is_signed=self._asks_what_is_signed)
        self._show_ready()
        self._renew_keys()

    def _renew_keys(self) -> None:
        """Only when other keys may act: to build the foot of the screen anew is dear, and progress comes often."""
        acting = (bool(self.form.entries), self._asks_what_is_signed, self._made)
        if acting != self._acting:
            self._acting = acting
            self.refresh_bindings()

    def _terms(self) -> Content:
        if self._device is not None:
            return device_terms(self._device)
        if self._known and not self._usable:
            return Content.styled("✗ There is no configuration you may use; an administrator gives USE.", "$warning")
        return Content("")

    def _show_ready(self) -> None:
        self.sealyard.unsent = not all(each.is_empty for each in self._forms.values())
        hindrance = self._hindrance()
        if self.form.sending:
            words = Content.styled("… submitting", "$accent")
        elif hindrance:
            words = Content.styled(f"○ not yet: {hindrance}", "$text-muted")
        else:
            words = Content.styled("● ready", "$success")
        self.query_one("#ready", Static).update(words)
        self.query_one("#submit", Button).disabled = not self.standing.writable or self.form.sending

    def _hindrance(self) -> str:
        """Why there can be no task now; safe text."""
        if self.standing.read_only:
            return "this workspace can only be read now"
        if not self.standing.writable:
            return "the engine is not there yet"
        if hindrance := self.form.hindrance():
            return hindrance
        if self._device is None:
            return "choose a device configuration (d)"
        return "see above what does not fit" if self._notes.refusal is not None else ""

    @property
    def _asks_what_is_signed(self) -> bool:
        device = self._device
        return self.form.kind is TaskKind.SIGNING and device is not None and signs_digest(device.signing.algorithm)

    # ---- files

    def add_paths(self, paths: tuple[Path, ...], part: Part = Part.FIRMWARE) -> None:
        """Takes files into the form and hands them in."""
        if not self.standing.writable and self.standing.engine is not EngineState.STARTING:
            self.flash("This workspace can only be read now.", warning=True)
            return
        entries = [entry for path in paths if (entry := self.form.add(path, part)) is not None]
        if known := len(paths) - len(entries):
            self.flash(f"{known} of them in the form already" if len(paths) > 1 else "In the form already")
        self._begin([each.key for each in entries])
        if entries:
            self._show()
            self._files.table.go_to(entries[-1].key)

    def _begin(self, keys: list[str]) -> None:
        if keys:
            self.attempt(self._hand_in(self._who, keys), group="hand in")

    async def _hand_in(self, who: str, keys: list[str]) -> None:
        handing = self._handings.get(who)
        if handing is None:
            client = await self.client()
            handing = self._handings.setdefault(who, Handing(client, self._forms[who], self._told))
        for key in keys:
            handing.begin(key)

    def _remove(self, keys: list[str]) -> None:
        handing = self._handings.get(self._who)
        if handing is None:
            self.form.remove(keys)
            self._show()
        else:
            handing.remove(keys)

    def on_paste(self, event: events.Paste) -> None:
        """Files that are dropped onto the terminal arrive as a paste."""
        if not isinstance(self.focused, Input):
            event.stop()
            self._fields.take_text(event.text)

    @on(FormFields.Paths)
    def _paths_named(self, event: FormFields.Paths) -> None:
        self.add_paths(event.paths)

    @on(FormFields.Folder)
    def _folder_named(self, event: FormFields.Folder) -> None:
        self._browse(event.folder)

    @on(FormFields.Checksums)
    def _checksums_pasted(self, event: FormFields.Checksums) -> None:
        self._files.expect(event.checksums)

    @on(FormFields.Typed)
    @on(FitNotes.Judged)
    def _judged(self) -> None:
        self._show_ready()

    @on(FilesPane.Changed)
    def _files_changed(self) -> None:
        self._show()

    @on(FilesPane.Again)
    def _hand_in_again(self, event: FilesPane.Again) -> None:
        self._begin(event.keys)

    @on(FilesPane.Remove)
    def _take_out(self, event: FilesPane.Remove) -> None:
        self._remove(event.keys)

    # ---- fields

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "kind":
                self.action_kind()
            case "device":
                self.action_device()
            case "signs":
                self.action_signs()
            case "submit":
                self.action_submit()

    def action_kind(self) -> None:
        choices = [(kind.value, label) for kind, label in KINDS.items()]
        self.app.push_screen(PickDialog("What do you ask for?", choices, self.form.kind), self._kind_picked)

    def _kind_picked(self, kind: str | None) -> None:
        if kind is not None:
            self.form.kind = TaskKind(kind)
            self._show()

    def action_device(self) -> None:
        choices = [(each.id, device_choice(each)) for each in self._usable]
        if not choices:
            self.flash("There is no configuration you may use here.", warning=True)
            return
        self.app.push_screen(PickDialog("For which devices?", choices, self.form.device), self._device_picked)

    def _device_picked(self, device: str | None) -> None:
        if device is not None:
            self.form.device = device
            self._show()

    def action_signs(self) -> None:
        self.form.hash_file = not self.form.hash_file
        self._show()

    def action_name(self) -> None:
        self.set_focus(self.query_one("#name", Input))

    def action_add(self) -> None:
        self.set_focus(self._fields.line)

    def action_browse(self) -> None:
        self._browse(None)

    def _browse(self, folder: Path | None) -> None:
        def answered(chosen: Chosen | None) -> None:
            if chosen is not None:
                self.add_paths(chosen.paths, Part.METADATA if chosen.metadata else Part.FIRMWARE)

        self.app.push_screen(FileBrowser(folder), answered)

    def action_field(self, by: int) -> None:
        self.focus_next() if by > 0 else self.focus_previous()

    def action_back(self) -> None:
        if isinstance(self.focused, Input):
            self.set_focus(self._files.table)
            return
        super().action_back()

    def action_clear(self) -> None:
        if self.form.is_empty:
            return
        question = "Take all files out of the form, and what was typed?"
        self.app.push_screen(ConfirmDialog("Empty the form", question, yes="Empty it", no="Keep it"), self._cleared)

    def _cleared(self, sure: bool | None) -> None:
        if sure:
            self._remove([each.key for each in self.form.entries])
            self.form.empty()
            self._fill()

    # ---- the task

    def action_submit(self) -> None:
        form, hindrance = self.form, self._hindrance()
        if form.sending:
            return
        if hindrance:
            self.flash(f"Not yet: {hindrance}", warning=True)
            return
        self.attempt(self._ask(form, self._handings[self._who]))

    async def _ask(self, form: Form, handing: Handing) -> None:
        device = self._device
        assert device is not None
        changed = await handing.changed_since()
        question = summary(form, device, self._notes.warnings, changed)

        def answered(sure: bool | None) -> None:
            if sure:
                signs = signs_digest(device.signing.algorithm)
                self.attempt(self._submit(handing, signs_digests=signs), group="submit")

        self.app.push_screen(ConfirmDialog("Submit?", question, yes="Submit (y)", no="Back (n)"), answered)

    async def _submit(self, handing: Handing, *, signs_digests: bool) -> None:
        form = handing.form
        if form.sending:
            return
        sent = form.snapshot()
        form.sending = True
        self._show_ready()
        try:
            task = await handing.submit(signs_digests=signs_digests)
        finally:
            form.sending = False
            self._show_ready()
        form.clear_sent(sent)
        if form is self.form:
            self._made = task.id
            self._fill()
            self.flash(f"Task {task.id} was made; o shows it")
        for offer in sent.taken:
            with suppress(SealyardError):  # it changed since: then it is offered anew, and rightly
                await self._desk.dismiss(offer)

    def action_show_made(self) -> None:
        self.sealyard.show_task(self._made)

    # ---- the watch folder

    def action_watch(self) -> None:
        def answered(plan: WatchFolderSettings | None) -> None:
            if plan is not None:
                self.attempt(self._desk.set_up(plan), group="watch")

        self.app.push_screen(WatchDialog(self._desk.plan, self._usable, self._who), answered)

    @on(DropsPane.Made)
    def _made_of_offer(self, event: DropsPane.Made) -> None:
        self._made = event.task_id
        self.flash(f"Task {event.task_id} was made of {event.offer.name}; o shows it")
        self._renew_keys()

    @on(DropsPane.Take)
    def _take_offer(self, event: DropsPane.Take) -> None:
        """Its files go into the form; it counts as taken when the form's task is made."""
        offer, form = event.offer, self.form
        form.taken.append(offer)
        form.device = offer.device
        if not form.name:
            form.name = escape_text(offer.name)
        self.add_paths(tuple(Path(each) for each in offer.firmware))
        self.add_paths(tuple(Path(each) for each in offer.metadata), Part.METADATA)
        self._fill()
        self.set_focus(self._files.table)

    # ---- what may be done

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in CHANGING and self.standing.read_only:
            return False
        match action:
            case "signs":
                return self._asks_what_is_signed
            case "show_made":
                return bool(self._made)
            case "field":
                return isinstance(self.focused, Input | Button)
        return super().check_action(action, parameters)
