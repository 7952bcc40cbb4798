"""Switching to the identity of another profile or user in the same workspace."""

from __future__ import annotations

from sealyard.client.config.profiles import Profile
from sealyard.model.subject_names import format_subject, is_inactive
from sealyard_tui.action_keys import insert_keys
from sealyard_tui.app_base import BaseApp
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.session.messages import EngineState
from sealyard_tui.session.state import SessionState
from sealyard_tui.terminal.input_queue import OPENING_GROUP

NO_USER_HINT = "Press {key[access.add_subject]} under {key[app.access]} Access to add users."
NO_PROFILE_HINT = "Add a profile with `sealyard profile add` or `sealyard login` in a terminal."


class ProfileSwitcher:
    """Switches the identity of the application, and lets the user choose it."""

    def __init__(self, app: BaseApp) -> None:
        self._app = app

    def switch_to_next(self) -> None:
        """Switch to the next profile, or explain that there is no other."""
        self._app.run_guarded(self._app, self._switch_to_next(), group=OPENING_GROUP)

    async def _switch_to_next(self) -> None:
        await self._load_identities()
        profile = self._app.session.next_profile(self._app.state.subject_names)
        if profile.name != self._app.session.profile.name:
            self.switch_to(profile)
            return
        hint = NO_PROFILE_HINT if self._app.state.host else NO_USER_HINT
        self._app.notify(f"No other identity. {insert_keys(self._app, hint)}", severity="warning", markup=False)

    def pick(self) -> None:
        """Let the user pick a profile, and switch to it."""
        app = self._app
        app.run_worker(app.guard(self._pick()), group=OPENING_GROUP, exit_on_error=False)

    async def _pick(self) -> None:
        """Let the user pick a profile, and switch to it.

        The list and its numbers are the same for every identity.
        """
        app, session = self._app, self._app.session
        await self._load_identities()
        current, names = session.profile.name, app.state.subject_names
        profiles = {
            profile.name: profile for profile in session.available_profiles if not is_inactive(profile.identity, names)
        }
        choices = [
            (name, f"{'●' if name == current else ' '} {name}  {format_subject(profile.identity, names)}")
            for name, profile in profiles.items()
        ]
        name = await app.push_screen_wait(PickDialog("Who are you?", choices, current))
        if name is not None and name in profiles:
            self.switch_to(profiles[name])

    async def _load_identities(self) -> None:
        """Load the users of a local workspace, who need no profile. A server requires a token for each identity."""
        if not self._app.state.host:
            self._app.session.add_identities(await (await self._app.session.client()).identities())

    def switch_to(self, profile: Profile) -> None:
        """Switch to the identity of ``profile``, unless the session is still starting."""
        app = self._app
        is_starting = app.state.engine in (EngineState.STARTING, EngineState.UNVERIFIED)
        if profile.name != app.session.profile.name and not is_starting:
            app.run_guarded(app, self._switch_to(profile), group="session", exclusive=True)

    async def _switch_to(self, profile: Profile) -> None:
        app = self._app
        await app.session.switch_profile(profile)
        # Without an await in between: work in the background must not see the state of one identity and the client of
        # another. Services that the earlier identity is about to start queue up before they are stopped below.
        app.state = SessionState(
            profile=profile.name,
            identity=profile.identity,
            workspace=app.state.workspace,
            demo=app.state.demo,
            separation_of_duties_note=app.state.separation_of_duties_note,
            mode=app.state.mode,
            host=app.state.host,
        )
        app.notifier.reset()
        app.identity_changed.publish(app.state)
        await app.download_manager.stop()
        await app.watch_folder.stop()
        await app.session.start(app.post_message)
