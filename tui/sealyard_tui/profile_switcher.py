"""Switching to the identity of another profile or user in the same workspace."""

from __future__ import annotations

from sealyard.client.config.profiles import Profile
from sealyard.model.access import Action, ResourceType, SubjectKind, resource_type_uri, subject_kind
from sealyard_tui.app_base import BaseApp
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.session.messages import EngineState
from sealyard_tui.session.state import SessionState
from sealyard_tui.terminal.input_queue import OPENING_GROUP


class ProfileSwitcher:
    """Switches the identity of the application, and lets the user choose it."""

    def __init__(self, app: BaseApp) -> None:
        self._app = app

    def switch_to_next(self) -> None:
        self.switch_to(self._app.session.next_profile())

    def pick(self) -> None:
        """Let the user pick a profile, and switch to it."""
        app = self._app
        app.run_worker(app.guard(self._pick()), group=OPENING_GROUP, exit_on_error=False)

    async def _pick(self) -> None:
        """Let the user pick a profile, and switch to it.

        In a local workspace, users without a profile are offered as well, if the current user may view the access
        rules. A server requires a token for each identity, so only profiles are offered there.
        """
        app, session = self._app, self._app.session
        if not app.state.host and app.state.is_allowed(Action.VIEW, resource_type_uri(ResourceType.ACL)):
            access = await (await session.client()).access()
            users = (subject.id for subject in access.subjects if subject_kind(subject.id) is SubjectKind.USER)
            session.add_identities(users)
        profiles = {profile.name: profile for profile in session.available_profiles}
        choices = [(profile.name, f"{profile.name}  {profile.identity}") for profile in profiles.values()]
        name = await app.push_screen_wait(PickDialog("Who are you?", choices, session.profile.name))
        if name is not None and name in profiles:
            self.switch_to(profiles[name])

    def switch_to(self, profile: Profile) -> None:
        """Switch to the identity of ``profile``, unless the session is still starting."""
        app = self._app
        if profile.name != app.session.profile.name and app.state.engine is not EngineState.STARTING:
            app.run_guarded(app, self._switch_to(profile), group="session", exclusive=True)

    async def _switch_to(self, profile: Profile) -> None:
        app = self._app
        await app.download_manager.stop()
        await app.watch_folder.stop()
        app.notifier.reset()
        app.state = SessionState(
            profile=profile.name,
            identity=profile.identity,
            workspace=app.state.workspace,
            demo=app.state.demo,
            separation_of_duties_note=app.state.separation_of_duties_note,
            mode=app.state.mode,
            host=app.state.host,
        )
        await app.session.switch_profile(profile)
        app.identity_changed.publish(app.state)
        await app.session.start(app.post_message)
