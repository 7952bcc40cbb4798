"""Start a key holder with a passphrase from the environment, a systemd credential, or a prompt on the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping

from sealyard.concurrency.ending_signals import end_on_signals
from sealyard.jobs.key_holder import CREDENTIALS_VARIABLE, KeyHolder
from sealyard.keys.passphrase import VARIABLE, needs_prompt, variable_names
from sealyard.model.key_holder_messages import KeyStoreLocation, PassphraseSource
from sealyard.model.zones import Enrollment


def open_key_holder(
    location: KeyStoreLocation,
    *,
    may_prompt: bool,
    tenant: str = "",
    prompt: str = "",
    attempts: int = 1,
    may_recover: bool = False,
    enrollment: Enrollment | None = None,
) -> KeyHolder:
    """Start the key holder of a key store. If it prompts the user, wait for the answer.

    ``may_prompt``: whether it may prompt on the terminal if the passphrase has no other source. See
    :class:`~sealyard.model.key_holder_messages.OpenKeyHolder` for the other parameters. Raises
    :class:`KeyStoreLockedError` if the user enters no passphrase or only wrong ones, and :class:`WorkerError` if the
    process cannot be started.
    """
    if not (may_prompt and needs_prompt(location.key_store, os.environ, tenant)):
        environment = _select_passphrases(os.environ, tenant)
        return KeyHolder.start(
            location, environment=environment, tenant=tenant, may_recover=may_recover, enrollment=enrollment
        )
    key_holder = KeyHolder.start(
        location,
        source=PassphraseSource.TERMINAL,
        tenant=tenant,
        prompt=prompt,
        attempts=attempts,
        may_recover=may_recover,
        enrollment=enrollment,
    )
    with end_on_signals(key_holder.abort):
        key_holder.wait_for_terminal()
    return key_holder


def forget_passphrases(environ: MutableMapping[str, str]) -> None:
    """Remove all passphrases from ``environ``, so that this process passes them to no other program.

    They remain visible in ``/proc/PID/environ`` of this process, if it was started with them.
    """
    for name in [name for name in environ if name.startswith(VARIABLE)]:
        del environ[name]


def _select_passphrases(environ: Mapping[str, str], tenant: str) -> dict[str, str]:
    names = (*variable_names(tenant), CREDENTIALS_VARIABLE)
    return {name: environ[name] for name in names if name in environ}
