"""Confinement of processes that use keys: the kernel restricts what they can do before they accept requests.

See ``core/sealyard/worker/README.md`` for what each measure prevents, and for the reason of their order.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from sealyard.confinement import landlock, namespaces, process, seccomp
from sealyard.confinement.paths import ReachablePaths
from sealyard.confinement.process_memory import forbid_core_dumps, forbid_memory_access
from sealyard.confinement.seccomp import SocketAccess
from sealyard.model.worker_messages import RefusedMeasure


class Confinement:
    """Applies the measures in two steps, and collects those that the kernel refuses.

    A refused measure is never fatal: containers and older kernels lack some of them. It is reported instead.
    """

    def __init__(self) -> None:
        self._refused: list[RefusedMeasure] = []

    @property
    def refused(self) -> tuple[RefusedMeasure, ...]:
        return tuple(self._refused)

    def protect_memory(self) -> None:
        """Prevent that other processes of the same user read the memory of this one.

        Must be called before the first secret is received and before the first thread is started. The user namespace
        comes before the dumpable flag, because a process that is not dumpable cannot write its own id map.
        """
        self._apply("core-limit", forbid_core_dumps)
        self._apply("no-new-privileges", process.forbid_new_privileges)
        self._apply("user-namespace", namespaces.enter_user_namespace)
        self._apply("not-dumpable", forbid_memory_access)

    def end_with_parent(self) -> None:
        """Have the kernel kill the process when its parent ends. Must be called after :meth:`protect_memory`."""
        self._apply("parent-death-signal", process.end_with_parent)

    def restrict(self, paths: ReachablePaths, sockets: SocketAccess = SocketAccess.NONE) -> None:
        """Remove access to the network, to files outside ``paths`` and to system calls that the process never uses.

        Must be called by the only thread, after the event loop was created, which needs a pair of sockets.
        """
        permits_network = sockets is SocketAccess.ANY
        if permits_network:
            self._apply("host-namespaces", namespaces.leave_host)
        else:
            self._apply("network-namespace", namespaces.leave_network)
        self._apply("capabilities", process.drop_capabilities)
        self._apply("landlock", lambda: landlock.restrict_files(paths, permits_network=permits_network))
        self._apply("seccomp", lambda: seccomp.install_filter(sockets))

    def _apply(self, name: str, measure: Callable[[], None]) -> None:
        try:
            if name != "core-limit" and sys.platform != "linux":
                raise ValueError("only available on Linux")
            measure()
        except (OSError, ValueError, AttributeError) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            self._refused.append(RefusedMeasure(name=name, reason=reason))
