"""Load PKCS#11 modules: the shared libraries through which tokens are used.

Login state and sessions belong to the process, so backends of the same module share it.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pkcs11
from pkcs11._pkcs11 import lib as Library  # noqa: N812 - a class

from sealyard.keys.backends.pkcs11.calls import CallGate
from sealyard.keys.backends.pkcs11.errors import TokenMissingError
from sealyard.model.errors import KeyProviderError, KeyProviderUnavailableError

_OK = 0
_NEEDS_THREADS, _CANNOT_LOCK, _ALREADY_INITIALIZED = 0x9, 0xA, 0x191
_OS_LOCKING = 0x2

_INSTALL_HINT = "Install the module of the token's manufacturer, or correct the option module in the worker settings."


class _FunctionList(ctypes.Structure):
    """The beginning of CK_FUNCTION_LIST."""

    _fields_ = (
        ("version", ctypes.c_ubyte * 2),
        ("initialize", ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)),
        ("finalize", ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)),
    )


class _InitializeArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS."""

    _fields_ = (
        ("mutex_functions", ctypes.c_void_p * 4),
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_void_p),
    )


class _ThreadedLibrary(Library):
    """A module that locks with mutexes of the operating system, so that several threads can call it at once.

    python-pkcs11 calls C_Initialize without arguments, by which an application promises to use one thread: SoftHSM then
    returns wrong objects and fails at random if several threads call it.
    """

    def initialize(self) -> None:
        arguments = _InitializeArguments(flags=_OS_LOCKING)
        code = _get_functions(self.so).contents.initialize(ctypes.byref(arguments))
        if code in (_NEEDS_THREADS, _CANNOT_LOCK):
            raise _LockingUnsupportedError
        if code not in (_OK, _ALREADY_INITIALIZED):
            raise pkcs11.GeneralError(f"C_Initialize returned {code:#x}")

    def finalize(self) -> None:
        code = _get_functions(self.so).contents.finalize(None)
        if code != _OK:
            raise pkcs11.GeneralError(f"C_Finalize returned {code:#x}")


class _LockingUnsupportedError(Exception):
    """The module can only be used by one thread at a time."""


class Pkcs11Module:
    """A loaded and initialized module.

    ``generation`` changes when it is initialized again, which ends all logins and sessions.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.generation = 0
        self.users = 0
        self._gate = CallGate()
        self._library: Library | None = None

    @contextmanager
    def call(self) -> Iterator[None]:
        """Let this thread call the module within the block. Must not be nested."""
        with self._gate.call():
            yield

    def open(self, *, is_serial: bool) -> None:
        """Add a user, and initialize the module for the first one. Raises :class:`KeyProviderError` if it cannot."""
        with self._gate.exclusive():
            if not self.users:
                self._initialize()
            self.users += 1
            self._gate.is_serial |= is_serial or not isinstance(self._library, _ThreadedLibrary)

    def close(self) -> None:
        """Remove a user, and finalize the module after the last one."""
        with self._gate.exclusive():
            self.users -= 1
            if not self.users:
                self._finalize()
                self._gate.is_serial = False

    def restart(self, generation: int) -> None:
        """Finalize and initialize the module unless another thread has done so since ``generation``.

        Raises :class:`pkcs11.PKCS11Error` if the module cannot be initialized.
        """
        with self._gate.exclusive():
            if self.generation == generation:
                self._finalize()
                self.generation += 1
                assert self._library is not None
                self._library.initialize()

    def find_token(self, label: str) -> pkcs11.Token:
        """Return the token. Must be called within :meth:`call`.

        Raises :class:`TokenMissingError` if it is missing, and :class:`KeyProviderError` if several have this label.
        """
        assert self._library is not None
        tokens = []
        for slot in self._library.get_slots(token_present=True):
            with suppress(pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
                tokens.append(slot.get_token())
        matches = [token for token in tokens if token.label == label]
        if len(matches) > 1:
            raise KeyProviderError(f"Several tokens have the label {label}.", "Give each token a label of its own.")
        if not matches:
            raise TokenMissingError(tuple(token.label for token in tokens if token.label))
        return matches[0]

    def _initialize(self) -> None:
        self.generation += 1
        try:
            if self._library is None:
                self._library = self._load()
            else:
                self._library.initialize()
        except pkcs11.PKCS11Error as error:
            # A module reports a missing device or service like wrong settings. No PIN was tried, so that it is
            # harmless to try again, and tasks wait for the device.
            raise KeyProviderUnavailableError(
                f"The PKCS#11 module {self.path} cannot be initialized ({type(error).__name__}).",
                "Check that its token or service is available, and that the options paths and environment in the "
                "worker settings name the files and variables that it needs.",
            ) from error

    def _load(self) -> Library:
        check_module(self.path)
        if _has_one_function_list(self.path):
            with suppress(_LockingUnsupportedError):
                return _ThreadedLibrary(self.path)
        return Library(self.path)

    def _finalize(self) -> None:
        # A module that has lost its device or service may refuse. It can be initialized again nevertheless.
        with suppress(pkcs11.PKCS11Error):
            if self._library is not None:
                self._library.finalize()


_modules: dict[str, Pkcs11Module] = {}
_modules_lock = threading.Lock()


def open_module(path: str, *, is_serial: bool) -> Pkcs11Module:
    """Return the module for the shared library ``path``, to be closed by the caller.

    ``is_serial``: call it from one thread at a time. So are modules that cannot lock, and those of which
    python-pkcs11 has functions that cannot be initialized here, such as the client of ``p11-kit server``. Raises
    :class:`KeyProviderError` if it cannot be loaded, and :class:`KeyProviderUnavailableError` if it cannot be
    initialized.
    """
    with _modules_lock:
        module = _modules.setdefault(path, Pkcs11Module(path))
    module.open(is_serial=is_serial)
    return module


def check_module(path: str) -> None:
    """Raise :class:`KeyProviderError` if ``path`` is not a PKCS#11 module."""
    if not Path(path).is_file():
        raise KeyProviderError(f"The PKCS#11 module {path} does not exist.", _INSTALL_HINT)
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise KeyProviderError(f"The PKCS#11 module {path} cannot be loaded: {error}.", _INSTALL_HINT) from None
    if not hasattr(library, "C_GetFunctionList"):
        raise KeyProviderError(f"{path} is a library, but not a PKCS#11 module.", _INSTALL_HINT)


def _get_functions(path: str) -> ctypes._Pointer[_FunctionList]:
    functions = ctypes.POINTER(_FunctionList)()
    code = ctypes.CDLL(path).C_GetFunctionList(ctypes.byref(functions))
    if code != _OK:
        raise pkcs11.GeneralError(f"C_GetFunctionList returned {code:#x}")
    return functions


def _has_one_function_list(path: str) -> bool:
    """Return whether each caller gets the same functions. Otherwise each has a state of its own."""
    addresses = {ctypes.addressof(_get_functions(path).contents) for _ in range(2)}
    return len(addresses) == 1
