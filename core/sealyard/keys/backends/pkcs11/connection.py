"""One login to a token, and a session of it for each thread that uses it."""

from __future__ import annotations

import asyncio
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import pkcs11
from pkcs11.attributes import AttributeMapper, handle_bytes, handle_ulong

from sealyard.keys.backends.pkcs11.errors import (
    LOST_OBJECT_ERRORS,
    PIN_ERRORS,
    TokenMissingError,
    describe_error,
    is_lost_token,
    pin_error,
)
from sealyard.keys.backends.pkcs11.mechanisms import read_mechanisms
from sealyard.keys.backends.pkcs11.module import Pkcs11Module
from sealyard.model.errors import ErrorInfo, KeyProviderError, error_from_info

T = TypeVar("T")


class TokenSession:
    """A session of a logged-in user, used by one thread.

    ``cache`` keeps what was read from the token in this session. ``pin`` is for keys that need a login for each
    signature (CKA_ALWAYS_AUTHENTICATE).
    """

    def __init__(self, login: Login, session: pkcs11.Session) -> None:
        self.generation = login.generation
        self.token = login.token
        self.mechanisms = login.mechanisms
        self.pin = login.pin
        self.session = session
        self.cache: dict[object, Any] = {}

    def check_presence(self) -> None:
        """Raise :class:`TokenMissingError` if the token was removed.

        Searches do not notice it in all modules: they find nothing.
        """
        present_token = self.token.slot.get_token()
        if (present_token.label, present_token.serial) != (self.token.label, self.token.serial):
            raise TokenMissingError((present_token.label,) if present_token.label else ())

    def close(self) -> None:
        with suppress(pkcs11.PKCS11Error):
            self.session.close()


class Login:
    """The login of this process to a token, which ends when ``session`` is closed."""

    def __init__(
        self,
        generation: int,
        token: pkcs11.Token,
        mechanisms: Mapping[int, pkcs11.MechanismInfo],
        session: pkcs11.Session,
        pin: str,
    ) -> None:
        self.generation = generation
        self.token = token
        self.mechanisms = mechanisms
        self.session = session
        self.pin = pin


class TokenConnection:
    """Runs operations in threads, with one session for each of them, and connects again after the token was lost.

    After the token has refused the PIN, nothing is tried again: each attempt could lock the token.
    """

    def __init__(self, module: Pkcs11Module, label: str, pin: str, session_count: int) -> None:
        self._module = module
        self._label = label
        self._pin = pin
        self._executor = ThreadPoolExecutor(session_count, thread_name_prefix="pkcs11")
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._login: Login | None = None
        self._refusal: ErrorInfo | None = None
        self._sessions: dict[int, TokenSession] = {}

    async def run(self, action: str, operation: Callable[[TokenSession], T], *, writes: bool = False) -> T:
        """Run ``operation`` in a thread with a session, which can write to the token if ``writes`` is true.

        ``action``: what it does, for messages, for example ``sign with the key …``. Operations that write run one at a
        time, so that none changes what another one has read. An operation is repeated once after the token was lost.
        Raises :class:`KeyProviderUnavailableError` if it is lost again, and the other errors of
        :class:`sealyard.keys.backend.KeyBackend`.
        """
        loop = asyncio.get_running_loop()
        run = self._run_writing if writes else self._run
        return await loop.run_in_executor(self._executor, run, action, operation)

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _run_writing(self, action: str, operation: Callable[[TokenSession], T]) -> T:
        with self._write_lock:
            return self._run(action, operation, writes=True)

    def _run(self, action: str, operation: Callable[[TokenSession], T], *, writes: bool = False) -> T:
        was_restarted = was_reopened = False
        while True:
            generation = self._module.generation
            try:
                return self._run_once(operation, writes=writes)
            except pkcs11.PKCS11Error as error:
                self._check_pin_error(error)
                if isinstance(error, LOST_OBJECT_ERRORS) and not was_reopened:
                    was_reopened = True
                    self._close_session()
                elif is_lost_token(error) and not was_restarted:
                    was_restarted = True
                    self._restart(action, generation)
                else:
                    raise describe_error(self._label, action, error) from error

    def _restart(self, action: str, generation: int) -> None:
        try:
            self._module.restart(generation)
        except pkcs11.PKCS11Error as error:
            raise describe_error(self._label, action, error) from error

    def _check_pin_error(self, error: pkcs11.PKCS11Error) -> None:
        if isinstance(error, PIN_ERRORS):
            raise self._refuse(pin_error(self._label, error)) from None

    def _refuse(self, error: KeyProviderError) -> KeyProviderError:
        """Return ``error``, which all further operations raise as well."""
        self._refusal = error.to_info()
        return error

    def _run_once(self, operation: Callable[[TokenSession], T], *, writes: bool) -> T:
        with self._module.call():
            login = self._get_login()
            try:
                if writes:
                    with self._open_writing_session(login) as session:
                        return operation(session)
                return operation(self._get_session(login))
            except pkcs11.PKCS11Error as error:
                # Release the frames while the module cannot be restarted: python-pkcs11 ends a failed search when the
                # search is released, in a session whose handle could be that of another thread by then.
                raise error.with_traceback(None) from None

    def _get_login(self) -> Login:
        with self._lock:
            if self._refusal is not None:
                raise error_from_info(self._refusal)
            if self._login is None or self._login.generation != self._module.generation:
                self._login = self._log_in()
            return self._login

    def _log_in(self) -> Login:
        token = self._module.find_token(self._label)
        self._check_token(token)
        mechanisms = read_mechanisms(token.slot)
        try:
            session = token.open(user_pin=self._pin, attribute_mapper=_AttributeMapper())
        except pkcs11.UserAlreadyLoggedIn:
            raise KeyProviderError(
                f"Another section of the worker settings uses the token {self._label}.", "Set up a token only once."
            ) from None
        return Login(self._module.generation, token, mechanisms, session, self._pin)

    def _check_token(self, token: pkcs11.Token) -> None:
        """Raise an error if a login cannot succeed, or if it could lock the token."""
        if token.flags & pkcs11.TokenFlag.USER_PIN_LOCKED:
            raise pkcs11.PinLocked
        if not token.flags & pkcs11.TokenFlag.USER_PIN_INITIALIZED:
            raise pkcs11.UserPinNotInitialized
        if token.flags & pkcs11.TokenFlag.USER_PIN_FINAL_TRY:
            raise self._refuse(
                KeyProviderError(
                    f"The token {self._label} would be locked by one more wrong PIN, so that none is tried.",
                    "Log in to it once with the right PIN, for example with pkcs11-tool, then start Sealyard again.",
                )
            )

    def _get_session(self, login: Login) -> TokenSession:
        thread = threading.get_ident()
        session = self._sessions.get(thread)
        if session is None or session.generation != login.generation:
            session = TokenSession(login, login.token.open(attribute_mapper=_AttributeMapper()))
            self._sessions[thread] = session
        return session

    @contextmanager
    def _open_writing_session(self, login: Login) -> Iterator[TokenSession]:
        session = TokenSession(login, login.token.open(rw=True, attribute_mapper=_AttributeMapper()))
        try:
            yield session
        finally:
            session.close()

    def _close_session(self) -> None:
        session = self._sessions.pop(threading.get_ident(), None)
        if session is not None:
            with self._module.call():
                session.close()

    def _close(self) -> None:
        self._executor.shutdown()
        with self._module.call():
            for session in self._sessions.values():
                if session.generation == self._module.generation:
                    session.close()
            if self._login is not None and self._login.generation == self._module.generation:
                with suppress(pkcs11.PKCS11Error):
                    self._login.session.close()
        self._module.close()


class _AttributeMapper(AttributeMapper):
    """Reads attributes whose values python-pkcs11 does not know, such as key types of manufacturers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_handler(pkcs11.Attribute.KEY_TYPE, *handle_ulong)
        self.register_handler(pkcs11.Attribute.ALLOWED_MECHANISMS, *handle_bytes)
        self.register_handler(pkcs11.Attribute.LABEL, str.encode, _decode_label)


def _decode_label(value: bytes) -> str:
    """Return the label, or an empty string if it cannot be part of a name."""
    try:
        label = value.decode()
    except UnicodeDecodeError:
        return ""
    return "" if any(unicodedata.category(character) == "Cc" for character in label) else label
