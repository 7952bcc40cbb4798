"""The upload place: a form for one task, and what the watch folder offers."""

from __future__ import annotations

import asyncio
import shlex
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, Static

from sealyard.client.checking import check_message, check_package, signs_digests
from sealyard.client.settings import WatchSettings
from sealyard.client.watching import Offer
from sealyard.model.access import Action, device_resource
from sealyard.model.devices import DeviceConfiguration
from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import safe_text
from sealyard.model.tasks import TaskKind
from sealyard_tui.checksums import Checksum, expected_of, read_checksums
from sealyard_tui.messages import EngineState, News
from sealyard_tui.screens.dialog import ConfirmDialog, PickDialog
from sealyard_tui.screens.file_browser import Chosen, FileBrowser
from sealyard_tui.screens.place import Place
from sealyard_tui.screens.upload_dialogs import ExpectedDialog, WatchDialog
from sealyard_tui.screens.upload_files import DROP_COLUMNS, FILE_COLUMNS, DropsTable, FilesTable
from sealyard_tui.screens.upload_form import Entry, Form, Part
from sealyard_tui.screens.upload_handing import Handing
from sealyard_tui.screens.upload_shown import (
    KINDS,
    device_choice,
    device_label,
    device_terms,
    dropped_cells,
    entry_cells,
    entry_detail,
    summary,
    totals,
    watch_words,
)
from sealyard_tui.standing import Standing
from sealyard_tui.typed_paths import find_paths
from sealyard_tui.watching_folder import Dropped, WatchDesk
from sealyard_tui.widgets.big_table import BigTable
from sealyard_tui.widgets.path_input import PathInput

EMPTY = "No files yet: a types or pastes paths, b browses; dropping files onto the terminal works too."
GOODBYE_SECONDS = 2.0
"""How long the application's end waits for uploads to be given back; what is not, the engine drops by itself."""

CHANGING = {
    "submit", "browse", "add", "device", "kind", "expect", "clear", "watch", "remove", "move", "part", "again",
    "submit_offer", "take_offer", "dismiss_offer", "signs", "name",
}  # fmt: skip


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
        Binding("e", "expect", "Expected digest", show=False, id="upload.expect", tooltip="SHA-256 it must have"),
        Binding("w", "watch", "Watch", id="upload.watch", tooltip="Folder whose files are offered here"),
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
        self._devices: dict[str, DeviceConfiguration] = {}
        self._known = False
        self._numbers: dict[str, int] = {}
        self._checked: object = None
        self._warnings: tuple[str, ...] = ()
        self._refusal: SealyardError | None = None
        self._made = ""
        self._due = False

    # ---- the frame

    def compose_place(self) -> ComposeResult:
        with Horizontal(classes="row"):
            yield Static("New task", id="title", markup=False)
            yield Static("", id="watch", markup=False)
        with Vertical(id="fields"):
            with Horizontal(classes="row", id="kind-row"):
                yield Static("Kind", classes="label")
                yield Button("", id="kind", compact=True, classes="field")
                yield Static("Device", classes="label")
                yield Button("", id="device", compact=True, classes="field")
                yield Button("", id="signs", compact=True, classes="field")
            yield Static("", id="terms", markup=False)
            with Vertical(id="names"):
                with Horizontal(classes="row"):
                    yield Static("Name", classes="label")
                    yield Input(id="name", compact=True, select_on_focus=False)
                with Horizontal(classes="row"):
                    yield Static("Content", classes="label")
                    yield Input(placeholder="kind of content, optional", id="content", compact=True)
            with Horizontal(classes="row"):
                yield Static("Add", classes="label")
                yield PathInput(placeholder="paths: Enter adds, Tab completes, ctrl+o browses", id="line")
            yield Static("", id="hint", markup=False)
        with Vertical(classes="pane", id="files-pane"):
            yield FilesTable(
                FILE_COLUMNS,
                lambda entry: entry_cells(entry, self._numbers.get(entry.key, 0)),
                key=lambda entry: entry.key,
                empty=EMPTY,
                markable=True,
                id="files",
            )
            yield Static("", id="detail", markup=False)
        yield Static("", id="notes", markup=False)
        with Vertical(classes="pane", id="drops-pane"):
            yield DropsTable(DROP_COLUMNS, self._drop_cells, key=lambda each: each.name, id="drops")
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
        self._show()

    async def take(self, news: News) -> None:
        if news.gap or news.resources:
            await self.load()

    def tick(self, now: object) -> None:  # noqa: ARG002 - ages are counted from the application's own clock
        self.query_one(DropsTable).refresh()

    def forget(self) -> None:
        """The form stays that person's; the next one has another."""
        self._who = self.standing.identity
        self._devices = {}
        self._known = False
        self._made = ""
        self._hint("")
        self._fill()

    @property
    def form(self) -> Form:
        """Of the person who looks."""
        return self._forms.setdefault(self._who, Form())

    @property
    def _usable(self) -> list[DeviceConfiguration]:
        return [each for each in self._devices.values() if self.standing.may(Action.USE, device_resource(each.id))]

    @property
    def _device(self) -> DeviceConfiguration | None:
        return next((each for each in self._usable if each.id == self.form.device), None)

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
        """The fields that are typed in, from the form."""
        with self.prevent(Input.Changed):
            self.query_one("#name", Input).value = self.form.name
            self.query_one("#content", Input).value = self.form.content_type
            self.query_one("#line", Input).value = self.form.line
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
        self._numbers = {each.key: number for part in Part for number, each in enumerate(form.of(part), 1)}
        files = self.query_one(FilesTable)
        files.replace(form.entries)
        self.query_one("#files-pane").border_title = Content(totals(form))
        self.query_one("#detail", Static).update(entry_detail(files.cursor_row))
        self.query_one("#kind", Button).label = Content(KINDS[form.kind])
        self.query_one("#device", Button).label = device_label(device)
        signs = self.query_one("#signs", Button)
        signs.display = self._asks_what_is_signed
        signs.label = Content("signs the file's SHA-256" if form.hash_file else "the file is the SHA-256")
        self.query_one("#terms", Static).update(self._terms())
        self.query_one("#name", Input).placeholder = form.suggested_name or "suggested from the files"
        self._show_watch()
        self._check()
        self._show_ready()
        self.refresh_bindings()

    def _terms(self) -> Content:
        if self._device is not None:
            return device_terms(self._device)
        if self._known and not self._usable:
            return Content.styled("✗ There is no configuration you may use; an administrator gives USE.", "$warning")
        return Content("")

    def _show_watch(self) -> None:
        self.query_one("#watch", Static).update(watch_words(self._desk))
        dropped = self._desk.dropped
        self.query_one("#drops-pane").set_class(bool(dropped), "-shown")
        self.query_one("#drops-pane").border_title = Content(f"Watch folder: {len(self._desk.offers)} offered")
        self.query_one(DropsTable).replace(dropped)

    def _drop_cells(self, dropped: Dropped) -> tuple[Content | str, ...]:
        return dropped_cells(dropped, self.now(), in_form=dropped.offer in self.form.taken)

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
        if self.standing.engine is EngineState.READ_ONLY:
            return "this workspace can only be read now"
        if not self.standing.writable:
            return "the engine is not there yet"
        if hindrance := self.form.hindrance():
            return hindrance
        if self._device is None:
            return "choose a device configuration (d)"
        return "see above what does not fit" if self._refusal is not None else ""

    def _hint(self, text: str, *, wrong: bool = False) -> None:
        """Under the line for paths. ``text`` must be safe."""
        hint = self.query_one("#hint", Static)
        hint.update(Content(text))
        hint.set_class(bool(text), "-shown")
        hint.set_class(wrong, "-wrong")

    # ---- what fits

    def _check(self) -> None:
        form, device = self.form, self._device
        sizes = [(each.path.name, each.size, each.part) for each in form.entries if each.size]
        shape = (form.kind, device, sizes, form.hash_file)
        if shape == self._checked:
            return
        self._checked = shape
        self.attempt(self._do_check(form.kind, device, sizes), group="check", exclusive=True)

    async def _do_check(
        self, kind: TaskKind, device: DeviceConfiguration | None, sizes: list[tuple[str, int, Part]]
    ) -> None:
        """The first time, formats are loaded: off the loop."""
        self._warnings, self._refusal = (), None
        try:
            if device is not None and sizes:
                self._warnings = await asyncio.to_thread(self._judge, kind, device, sizes)
        except SealyardError as error:
            self._refusal = error
        self._show_notes()
        self._show_ready()

    def _judge(
        self, kind: TaskKind, device: DeviceConfiguration, sizes: list[tuple[str, int, Part]]
    ) -> tuple[str, ...]:
        named = {part: tuple((name, size) for name, size, of in sizes if of is part) for part in Part}
        if kind is TaskKind.PACKAGING and named[Part.FIRMWARE]:
            return check_package(device, named[Part.FIRMWARE], named[Part.METADATA])
        algorithm = device.signing.algorithm
        if kind is TaskKind.SIGNING and not (signs_digests(algorithm) and self.form.hash_file):
            check_message(algorithm, sizes[0][1])
        return ()

    def _show_notes(self) -> None:
        lines = []
        if self._refusal is not None:
            words = f"✗ {self._refusal.message} {self._refusal.advice}"
            lines.append(Content.styled(safe_text(words), "$error"))
        lines += [Content.styled(f"! {safe_text(each)}", "$warning") for each in self._warnings]
        notes = self.query_one("#notes", Static)
        notes.update(Content("\n").join(lines))
        notes.set_class(bool(lines), "-shown")

    @property
    def _asks_what_is_signed(self) -> bool:
        device = self._device
        return self.form.kind is TaskKind.SIGNING and device is not None and signs_digests(device.signing.algorithm)

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
            self.query_one(FilesTable).go_to(entries[-1].key)

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

    @on(PathInput.Submitted, "#line")
    def _line_entered(self, event: PathInput.Submitted) -> None:
        event.stop()
        if event.value.strip():
            self.attempt(self._take_text(event.value, typed=True))

    @on(PathInput.Pasted, "#line")
    def _line_pasted(self, event: PathInput.Pasted) -> None:
        self.attempt(self._take_text(event.text, typed=False))

    def on_paste(self, event: events.Paste) -> None:
        """Files that are dropped onto the terminal arrive as a paste."""
        if isinstance(self.focused, Input) or not event.text.strip():
            return
        event.stop()
        self.attempt(self._take_text(event.text, typed=False))

    async def _take_text(self, text: str, *, typed: bool) -> None:
        checksums = read_checksums(text)
        if checksums is not None:
            self._expect(checksums)
            self._set_line("")
            return
        line = self.query_one("#line", PathInput)
        found = await asyncio.to_thread(find_paths, text, line.base)
        if typed and line.value != text:
            return
        if found.folder is not None:
            self._set_line("")
            self._browse(found.folder)
            return
        if found.paths:
            self.add_paths(found.paths)
        if found.paths or not typed:
            self._set_line(safe_text(shlex.join(found.missing)))
        if found.missing:
            self._hint(f"✗ not there: {safe_text(', '.join(found.missing), 200)}", wrong=True)
            self.set_focus(line)

    def _set_line(self, text: str) -> None:
        line = self.query_one("#line", PathInput)
        line.value = text
        line.cursor_position = len(text)
        self._hint("")

    @on(PathInput.Completed, "#line")
    def _completed(self, event: PathInput.Completed) -> None:
        completion = event.completion
        words = "  ".join(safe_text(each, 30) for each in completion.candidates)
        if completion.unprintable:
            words += f"  {completion.unprintable} name(s) cannot be typed: ctrl+o browses"
        self._hint(words)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        match event.input.id:
            case "name":
                self.form.name = event.value
            case "content":
                self.form.content_type = event.value
            case "line":
                self.form.line = event.value
        self._show_ready()

    @on(Input.Submitted, "#name")
    @on(Input.Submitted, "#content")
    def _field_done(self) -> None:
        self.focus_next()

    @on(BigTable.Highlighted, "#files")
    def _looked_at(self) -> None:
        self.query_one("#detail", Static).update(entry_detail(self.query_one(FilesTable).cursor_row))
        self.refresh_bindings()

    @on(BigTable.Chosen, "#files")
    def _file_chosen(self) -> None:
        self.action_expect()

    @on(BigTable.Highlighted, "#drops")
    def _drop_looked_at(self) -> None:
        self.refresh_bindings()

    @on(BigTable.Chosen, "#drops")
    def _drop_chosen(self) -> None:
        self.action_take_offer()

    def action_remove(self) -> None:
        files = self.query_one(FilesTable)
        keys = [each.key for each in files.chosen_rows]
        files.clear_marks()
        self._remove(keys)

    def action_move(self, by: int) -> None:
        if (key := self.query_one(FilesTable).cursor_key) is not None and self.form.move(key, by):
            self._show()

    def action_part(self) -> None:
        for each in self.query_one(FilesTable).chosen_rows:
            self.form.change(each.key, part=Part.METADATA if each.part is Part.FIRMWARE else Part.FIRMWARE)
        self._show()

    def action_again(self) -> None:
        self._begin([each.key for each in self.query_one(FilesTable).chosen_rows])

    def action_copy(self) -> None:
        entry = self.query_one(FilesTable).cursor_row
        if entry is not None and entry.file is not None:
            self.app.copy_to_clipboard(entry.file.sha256)
            self.flash(f"SHA-256 of {entry.name} copied")

    def action_expect(self) -> None:
        entry = self.query_one(FilesTable).cursor_row
        if entry is None:
            return

        def answered(checksums: tuple[Checksum, ...] | None) -> None:
            if checksums == ():
                self._expect_of(entry, "")
            elif checksums is not None:
                self._expect(checksums, entry)
            self._show()

        self.app.push_screen(ExpectedDialog(str(entry.path), entry.name, entry.expected), answered)

    def _expect(self, checksums: tuple[Checksum, ...], entry: Entry | None = None) -> None:
        """``entry``: the file that a digest without a name is of, else the one under the cursor."""
        entry = entry or self.query_one(FilesTable).cursor_row
        listed = [(each, expected_of(str(each.path), checksums)) for each in self.form.entries]
        of = [(each, sha256) for each, sha256 in listed if sha256]
        if entry is not None and len(checksums) == 1 and not checksums[0].name:
            of = [(entry, checksums[0].sha256)]
        for each, sha256 in of:
            self._expect_of(each, sha256)
        self._show()
        self.flash(f"Expected SHA-256 set for {len(of)} file(s)", warning=not of)

    def _expect_of(self, entry: Entry, sha256: str) -> None:
        changed = self.form.change(entry.key, expected=sha256)
        if changed is not None and changed.error is not None:
            self._begin([changed.key])

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
        self.set_focus(self.query_one("#line", PathInput))

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
            self.set_focus(self.query_one(FilesTable))
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
            self._hint("")
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
        question = summary(form, device, self._warnings, changed)

        def answered(sure: bool | None) -> None:
            if sure:
                signs = signs_digests(device.signing.algorithm)
                self.attempt(self._submit(handing, signs_digests=signs), group="submit")

        self.app.push_screen(ConfirmDialog("Submit?", question, yes="Submit (y)", no="Back (n)"), answered)

    async def _submit(self, handing: Handing, *, signs_digests: bool) -> None:
        form = handing.form
        if form.sending:
            return
        form.sending = True
        self._show_ready()
        try:
            task = await handing.submit(signs_digests=signs_digests)
        finally:
            form.sending = False
            self._show_ready()
        taken = list(form.taken)
        form.empty()
        if form is self.form:
            self._made = task.id
            self._hint("")
            self._fill()
            self.flash(f"Task {task.id} was made; o shows it")
        for offer in taken:
            with suppress(SealyardError):  # it changed since: then it is offered anew, and rightly
                await self._desk.dismiss(offer)

    def action_show_made(self) -> None:
        self.sealyard.show_task(self._made)

    # ---- the watch folder

    def action_watch(self) -> None:
        def answered(plan: WatchSettings | None) -> None:
            if plan is not None:
                self.attempt(self._desk.set_up(plan), group="watch")

        self.app.push_screen(WatchDialog(self._desk.plan, self._usable, self._who), answered)

    @property
    def _offer(self) -> Offer | None:
        dropped = self.query_one(DropsTable).cursor_row
        return dropped.offer if dropped is not None else None

    def action_submit_offer(self) -> None:
        if (offer := self._offer) is not None:
            self.attempt(self._submit_offer(offer), group="watch")

    async def _submit_offer(self, offer: Offer) -> None:
        task = await self._desk.submit(offer)
        self._made = task.id
        self.flash(f"Task {task.id} was made of {offer.name}; o shows it")
        self.refresh_bindings()

    def action_dismiss_offer(self) -> None:
        dropped = self.query_one(DropsTable).cursor_row
        if dropped is None:
            return
        if dropped.offer is None:
            self._desk.forget(dropped.name)
            return
        self.attempt(self._desk.dismiss(dropped.offer), group="watch")

    def action_take_offer(self) -> None:
        """Its files go into the form; it counts as taken when the form's task is made."""
        offer, form = self._offer, self.form
        if offer is None or offer in form.taken:
            return
        form.taken.append(offer)
        form.device = offer.device
        if not form.name:
            form.name = safe_text(offer.name)
        self.add_paths(tuple(Path(each) for each in offer.firmware))
        self.add_paths(tuple(Path(each) for each in offer.metadata), Part.METADATA)
        self._fill()
        self.set_focus(self.query_one(FilesTable))

    # ---- what may be done

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in CHANGING and self.standing.engine is EngineState.READ_ONLY:
            return False
        match action:
            case "remove" | "move" | "part" | "again" | "copy" | "expect":
                return True if self.form.entries else None
            case "submit_offer" | "take_offer":
                return True if self._offer is not None else None
            case "signs":
                return self._asks_what_is_signed
            case "show_made":
                return bool(self._made)
            case "field":
                return isinstance(self.focused, Input | Button)
        return super().check_action(action, parameters)
